"""A user's own arrays: what they become, what is refused, and the store that is made of them."""

import io
import os
import re
import zipfile
from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
import torch
from test_pickles import Call

import workbook
from workbook import InputError
from workbook.data.datasets import Corpus
from workbook.data.features import read_npz, write_features
from workbook.toy import corpus as toy
from workbook.train.batches import splits

N, CA, TA, CV, TV = 7, 3, 5, 2, 11


def arrays(**changed):
    """Arrays of a good file, some of them changed; None leaves one out."""
    rng = np.random.default_rng(0)
    good = {"audio": rng.standard_normal((N, CA, TA)), "video": rng.standard_normal((N, CV, TV))}
    good |= {"label": np.arange(N) % 3, "group": np.arange(N) // 2}
    return {name: values for name, values in (good | changed).items() if values is not None}


@pytest.fixture
def saved(tmp_path):
    """Saves arrays as a file and returns its path."""

    def save(name="mine.npz", **changed):
        np.savez(tmp_path / name, **arrays(**changed))
        return tmp_path / name

    return save


def test_audio_keeps_its_axes_and_video_has_its_steps_first(saved):
    features, given = read_npz(saved()), arrays()
    assert features.audio.shape == (N, CA, TA) and features.video.shape == (N, TV, CV)
    assert features.audio.dtype == features.video.dtype == np.float32
    np.testing.assert_array_equal(features.audio, given["audio"].astype(np.float32))
    np.testing.assert_array_equal(features.video, given["video"].swapaxes(1, 2).astype(np.float32))
    assert features.standardise and features.problems.empty
    flat = read_npz(saved(audio=given["audio"][:, :, 0], video=given["video"][:, :, 0]))
    assert flat.audio.shape == (N, CA, 1) and flat.video.shape == (N, 1, CV), "two axes are one step"


def test_floats_within_three_are_sentiment(saved):
    features = read_npz(saved(label=np.array([-3, -0.5, 0, 0.25, 3, 1, -1])))
    assert features.task == "sentiment" and features.names == []
    assert list(features.clips["emotion"][:4]) == ["negative", "negative", "neutral", "positive"]


@pytest.mark.parametrize(
    "label, names, codes",
    [
        (np.array([4, 2, 2, 9, 4, 2, 9]), ["2", "4", "9"], [1, 0, 0, 2, 1, 0, 2]),
        (np.array([-1, 1, 1, -1, 1, 1, 1]), ["-1", "1"], [0, 1, 1, 0, 1, 1, 1]),
        (np.array([3.0, 0, 0, 3, 8, 0, 3]), ["0", "3", "8"], [1, 0, 0, 1, 2, 0, 1]),
        (np.array([True, False, False, True, True, True, False]), ["0", "1"], [1, 0, 0, 1, 1, 1, 0]),
        (np.array(list("sadness")), ["a", "d", "e", "n", "s"], [4, 0, 1, 3, 2, 4, 4]),
        (np.array(["10", "9", "9", "-2", "10", "9", "-2"]), ["-2", "9", "10"], [2, 1, 1, 0, 2, 1, 0]),
        (np.array([b"b", b"a", b"b", b"a", b"b", b"a", b"b"]), ["a", "b"], [1, 0, 1, 0, 1, 0, 1]),
    ],
)
def test_integers_text_and_whole_floats_are_classes_in_order(saved, label, names, codes):
    features = read_npz(saved(label=label))
    assert features.task == "classes" and features.names == names
    assert list(features.clips["label"]) == codes
    assert list(features.clips["emotion"]) == [names[code] for code in codes]


def test_groups_are_whole_numbers_or_text_and_clips_get_names(saved):
    assert list(read_npz(saved(group=np.arange(N) * 2.0)).clips["actor"]) == [0, 2, 4, 6, 8, 10, 12]
    features = read_npz(saved(group=np.array(list("abcabca")), clip=np.array([f"film {k}" for k in range(N)])))
    assert list(features.clips["actor"]) == list("abcabca") and features.clips["clip"][4] == "film 4"
    assert read_npz(saved()).clips["clip"].nunique() == N


def test_an_archive_that_is_or_promises_more_than_the_memory_is_not_unpacked(saved, monkeypatch):
    path, header = saved("promise.npz"), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("audio.npy", header.getvalue())
    with pytest.raises(InputError, match=r"cannot be read as an \.npz of numbers and text"):
        read_npz(path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1000))
    with pytest.raises(InputError, match=r"it takes \d\.\d+ kB of memory"):
        read_npz(saved())


@pytest.mark.parametrize("name", ["label", "group", "clip", "has_audio", "audio"])
@pytest.mark.parametrize("values", [np.zeros(N, "f8,i4"), np.array(["2020-02-02"] * N, "M8[D]"), np.ones(N) * 1j])
def test_arrays_of_other_types_are_a_sentence_wherever_they_are(saved, name, values):
    with pytest.raises(InputError, match=f"{name} in .* has shape .* and type .*; it must hold numbers"):
        read_npz(saved(**{name: values}))


def test_values_that_are_not_finite_are_missing_and_counted(saved):
    given = arrays()
    given["audio"][0, 1, 2], given["audio"][3, 0, :3] = np.nan, -np.inf
    given["video"][5, 1, 6], given["video"][6, 0, 0] = np.inf, 1e300  # too large for float32
    features = read_npz(saved(audio=given["audio"], video=given["video"]))
    assert features.facts["missing_audio"] == 4 and features.facts["missing_video"] == 2
    np.testing.assert_allclose(features.facts["missing_audio_by_channel"], np.array([3, 1, 0]) / (N * TA))
    np.testing.assert_array_equal(np.isnan(features.audio), ~np.isfinite(given["audio"]))
    assert np.isnan(features.video[5, 6, 1]) and np.isnan(features.video[6, 0, 0])


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_channels_are_standardised_by_the_values_that_are_there_and_the_others_are_at_their_mean(
    tmp_path, modality, caplog
):
    """Landmarks around 500 pixels, of which a fifth of the frames has no face."""
    rng, label = np.random.default_rng(0), np.arange(60) % 2
    values = 500 + rng.standard_normal((60, 4, 15)) + 2 * label[:, None, None]
    values[np.repeat(rng.random((60, 1, 15)) < 0.2, 4, 1)] = np.nan
    values[:, 3] = np.nan
    other = {"audio": "video", "video": "audio"}[modality]
    arrays = {modality: values, other: rng.standard_normal((60, 3, 15))}
    np.savez(tmp_path / "a.npz", label=label, group=np.arange(60) // 2 % 10, **arrays)
    store = Corpus("features", tmp_path / "a.npz").open_store()
    assert f"of {modality}, 4 of 4 channels lack values (NaN or infinite), at most 100% (channel 3)" in caplog.text
    parts = splits(store, 0, 0, ("audio", "video"), fold_scheme="groups")
    train = values[parts["train"].rows][:, :3]
    mean, deviation = (moment(train, axis=(0, 2), keepdims=True) for moment in (np.nanmean, np.nanstd))
    for clips in parts.values():
        batch = clips[torch.arange(len(clips))][modality == "video"].numpy()
        batch = batch if modality == "audio" else batch.swapaxes(1, 2)
        expected = np.nan_to_num((values[clips.rows][:, :3] - mean) / deviation)
        np.testing.assert_allclose(batch[:, :3], expected, atol=2e-3)
        assert not batch[:, 3].any()


def test_a_modality_marked_as_missing_is_zeros_and_not_counted(saved):
    audio, masks = arrays()["audio"], {"has_audio": np.arange(N) != 2, "has_video": (np.arange(N) != 4).astype(int)}
    audio[2] = np.nan
    features = read_npz(saved(audio=audio, **masks))
    assert (features.clips[[*masks]] == pd.DataFrame(masks)).all(axis=None)
    assert not features.audio[2].any() and not features.video[4].any() and features.video[3].all()
    assert features.facts["missing_audio"] == features.facts["missing_video"] == 0


def test_a_clip_of_zeros_lacks_the_modality_unless_the_file_says_otherwise(saved):
    given = arrays()
    given["audio"][1], given["video"][3] = 0, np.nan
    clips = read_npz(saved(audio=given["audio"], video=given["video"])).clips
    assert (clips["has_audio"] == (clips.index != 1)).all() and (clips["has_video"] == (clips.index != 3)).all()
    assert read_npz(saved(audio=given["audio"], has_audio=np.ones(N))).clips["has_audio"].all()


def test_a_clip_with_neither_modality_is_a_problem_and_costs_no_neighbour(saved):
    given = arrays()
    given["audio"][1] = given["video"][1] = 0
    features = read_npz(saved(audio=given["audio"], video=given["video"]))
    assert list(features.problems["clip"]) == ["clip00001"] and len(features.clips) == N - 1
    assert list(features.clips.index) == list(range(N - 1))
    np.testing.assert_array_equal(features.audio, np.delete(given["audio"], 1, axis=0).astype(np.float32))
    np.testing.assert_array_equal(features.clips["label"], np.delete(given["label"], 1))


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"audio": None, "group": None}, "lacks audio, group: it has video, label"),
        ({"audio": np.ones((N + 1, CA, TA))}, "different lengths.*audio 8, video 7"),
        ({"audio": np.ones(N)}, r"audio in .* has shape \(7,\)"),
        ({"video": np.full((N, 2, 3), "x")}, "type <U1; it must hold numbers, "),
        ({"label": np.linspace(0, 3.5, N)}, "label in .* must hold classes, integers or text, or sentiment, floats"),
        ({"label": np.full(N, np.nan)}, "label in .* must hold classes, integers or text, or sentiment, floats"),
        ({"label": np.array(list("Happpph"))}, "has the labels 'H' and 'h': write a class in one way"),
        ({"label": np.full(N, 5)}, "all clips in .* have the label 5: at least two"),
        ({"clip": np.array(list("abcdefa"))}, "has the name 'a' more than once"),
        ({"has_audio": np.zeros(N), "has_video": np.zeros(N)}, "no clip in .* has audio or video"),
        ({"has_vidoe": np.ones(N)}, "has 'has_vidoe', which is not read: did you mean 'has_video'"),
    ],
)
def test_every_mistake_in_a_file_is_one_sentence(saved, changed, says):
    with pytest.raises(InputError, match=says) as refused:
        read_npz(saved(**changed))
    assert "\n" not in str(refused.value)


def test_a_file_of_another_format_is_one_sentence(saved, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("audio")
    whole = saved().read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "spoilt.npz").write_bytes(whole[:300] + b"spoilt" + whole[306:])  # inside the first array
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("readme.txt", "no arrays")
    for name in ("one.npy", "text.npz", "torn.npz", "spoilt.npz", "other.npz", "missing.npz", "."):
        with pytest.raises(InputError) as refused:
            read_npz(tmp_path / name)
        assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_code_in_a_file_is_not_executed(saved, tmp_path):
    path = saved(group=np.array([Call(os.mkdir, str(tmp_path / "gone off"))] * N, dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_npz(path)
    assert not (tmp_path / "gone off").exists()


def test_a_store_holds_the_arrays_the_clips_and_the_facts(saved, tmp_path):
    audio = arrays()["audio"]
    audio[2, 0, 0] = np.nan
    features = read_npz(saved(audio=audio, has_video=np.arange(N) > 1))
    store = write_features(tmp_path / "stores" / "mine", features, saved(audio=audio))
    np.testing.assert_array_equal(store.audio, features.audio)
    np.testing.assert_array_equal(store.video, features.video)
    assert store.audio.flags.c_contiguous and store.video.flags.c_contiguous
    pd.testing.assert_frame_equal(store.clips, features.clips, check_dtype=False)
    expected = {"task": "classes", "names": ["0", "1", "2"], "standardise": True, "clips": N, "with_audio": N}
    expected |= {"with_video": N - 2, "problems": 0, "missing_audio": 1, "missing_video_by_channel": []}
    assert expected.items() <= store.manifest.items()
    changed = read_npz(saved(audio=audio + 1, has_video=np.arange(N) > 1))
    assert write_features(tmp_path / "stores" / "mine", changed, saved()).fingerprint != store.fingerprint


def test_a_store_that_its_disk_has_no_room_for_is_a_sentence(saved, small_disk, monkeypatch):
    monkeypatch.setattr(workbook, "DATA", small_disk)
    with pytest.raises(InputError, match="cannot be written: its disk has"):
        Corpus("features", saved(audio=np.ones((N, 10**5 // N, 7)))).preprocess()


CLIPS = [toy.plan_clip(0, actor, ("happy", "angry")[actor % 2], 0) for actor in (1, 2)]


def patches(frames):
    """The mean colours (T, 12) of the quarters of each frame (T, H, W, 3), in [0, 1]."""
    count, height, width, _ = frames.shape
    return frames.reshape(count, 2, height // 2, 2, width // 2, 3).mean(axis=(2, 4)).reshape(count, 12) / 255


def test_the_script_of_the_docs_turns_clips_into_a_store_of_features(tmp_path, monkeypatch):
    """It reads what OpenFace writes of toy clips, with the colours of their faces for action units."""
    for folder in ("openface", "sound"):
        (tmp_path / folder).mkdir()
    for clip in CLIPS:
        colours = patches(clip.frames())
        units = pd.DataFrame(colours, columns=[f" AU{unit:02d}_r" for unit in range(12)])  # OpenFace has a space there
        about = {"frame": range(1, len(units) + 1), " face_id": 0, " success": [0] + [1] * (len(units) - 1)}
        units = pd.concat([pd.DataFrame(about), units], axis=1)
        stranger = units[::2].assign(**{" face_id": 1, " AU00_r": 5.0})  # another person, in every second frame
        units = pd.concat([units, stranger]).sort_values("frame", kind="stable").astype(object)
        units.iloc[0, -1] = "-nan(ind)"  # as Microsoft's compiler writes it
        units.assign(**{" AU01_c": 9}).to_csv(tmp_path / "openface" / f"{clip.name}.csv", index=False)
        soundfile.write(tmp_path / "sound" / f"{clip.name}.wav", clip.samples(), 22050)
    table = pd.DataFrame([{"clip": clip.name, "label": clip.emotion, "group": clip.actor} for clip in CLIPS])
    table.to_csv(tmp_path / "clips.csv", index=False)
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", (workbook.ROOT / "docs" / "features.md").read_text(), re.DOTALL)
    exec(script, {})
    store = write_features(tmp_path / "store", read_npz(tmp_path / "mine.npz"), tmp_path / "mine.npz")
    assert store.audio.shape == (2, 10, 156) and store.video.shape == (2, 15, 12)
    assert (
        store.clips[["clip", "actor", "emotion"]].to_numpy().tolist()
        == table[["clip", "group", "label"]].to_numpy().tolist()
    )
    for row, clip in enumerate(CLIPS):
        np.testing.assert_allclose(store.video[row, -1], patches(clip.frames())[-1], rtol=1e-6)
        assert np.isnan(store.video[row, 0]).all()  # no face there
        expected = librosa.feature.mfcc(y=clip.samples(), sr=22050, n_mfcc=10)
        np.testing.assert_allclose(store.audio[row, :, 0], expected[:, 0], atol=0.5)  # 16 bits in between
    assert store.manifest["missing_video"] == 2 * 12 and store.manifest["missing_audio"] == 0
