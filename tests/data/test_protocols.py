"""Where the authors' code differs from the paper: its lag, its colours, its doubled rows, and the files it leaves."""

from dataclasses import replace

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from test_media import write_video

from workbook import InputError
from workbook.data.build import build_store
from workbook.data.media import open_video, read_audio, read_frames
from workbook.data.prepare import prepare_clip
from workbook.data.ravdess import find_trials
from workbook.data.store import Store
from workbook.data.window import SAMPLE_RATE, WINDOW, cut_window, place_window
from workbook.toy import corpus as toy
from workbook.train.batches import splits

CLIP = "01-03-01-01-01-{actor:02d}"


def touch(root, *names):
    for name in names:
        (root / name).touch()
    return root


def build(path, root):
    trials, problems = find_trials(root, protocol="authors")
    return build_store(path, trials, problems, protocol="authors", workers=1, progress=False)


def check(store, root, count):
    """So many clips are in the store as the files in `root` have them."""
    assert len(store) == count and store.problems.empty
    for row, clip in enumerate(store.clips["clip"]):
        np.testing.assert_array_equal(store.video[row], np.load(root / f"01-{clip}_facecroppad.npy"))
        sound, _ = librosa.load(root / f"03-{clip}_croppad.wav", sr=22050)
        np.testing.assert_allclose(store.audio[row], librosa.feature.mfcc(y=sound, sr=22050, n_mfcc=10), atol=1e-3)


def test_what_the_authors_scripts_have_left_goes_into_a_store_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    for emotion, shown in ((3, 15), (5, 13)):
        clip = f"01-{emotion:02d}-01-01-01-05"
        faces = rng.integers(1, 256, (15, 224, 224, 3), dtype=np.uint8)
        faces[shown:] = 0
        sound = (0.1 * rng.standard_normal(79380)).astype(np.float32)
        np.save(tmp_path / f"01-{clip}_facecroppad.npy", faces)
        soundfile.write(tmp_path / f"03-{clip}_croppad.wav", sound, SAMPLE_RATE)
    store = build(tmp_path / "store", tmp_path)
    check(store, tmp_path, 2)
    assert (store.clips["window_start"] == 0).all() and store.clips["duration"].tolist() == [3.6, 3.6]


def test_their_files_are_preferred_by_their_protocol_and_passed_over_by_the_papers(tmp_path):
    clip = CLIP.format(actor=5)
    ours, theirs = (f"01-{clip}.mp4", f"03-{clip}.wav"), (f"01-{clip}_facecroppad.npy", f"03-{clip}_croppad.wav")
    touch(tmp_path, *ours, *theirs)
    for protocol, names in (("paper", ours), ("authors", theirs)):
        trials, problems = find_trials(tmp_path, protocol=protocol)
        assert problems.empty and len(trials) == 1
        assert (trials["video_path"][0], trials["audio_path"][0]) == tuple(str(tmp_path / name) for name in names)


def test_an_array_that_is_not_theirs_is_refused(tmp_path):
    path = tmp_path / f"01-{CLIP.format(actor=5)}_facecroppad.npy"
    path.touch()
    with pytest.raises(InputError, match=f"{path.name} is empty"):
        open_video(path)
    shape, code = (15, 224, 224, 3), np.array([{"code": "in a pickle"}])
    says = {"all zero": np.zeros(shape, np.uint8), "faces: float64": np.ones(shape), "cannot be read as an array": code}
    for sentence, content in says.items():
        np.save(path, content, allow_pickle=True)
        with pytest.raises(InputError, match=f"{path.name}.*{sentence}"):
            open_video(path)


@pytest.mark.shared
def test_the_real_ones_go_into_a_store_as_they_are(shared, tmp_path):
    root = shared / "ravdess_authors_preprocessed"
    check(build(tmp_path / "store", root), root, 17)


@pytest.mark.parametrize("seconds", [3.2, 4.4, 5.0])
def test_a_clap_is_seen_and_heard_together_and_in_the_authors_code_apart_by_the_lag(tmp_path, seconds):
    """A film of D seconds whose picture flashes at the moment of its clap: the lag is (D - 3.6)/2, and none if shorter.

    At 30 frames per second: they count 108 frames for 3.6 s, whatever the rate.
    """
    fps, clap = 30, 2.0
    pictures = np.full((round(seconds * fps), 32, 48, 3), 20, np.uint8)
    pictures[round(clap * fps) :][:3] = 250
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    sound[round(clap * SAMPLE_RATE)] = 0.9
    soundfile.write(tmp_path / "a.wav", sound, SAMPLE_RATE)
    path = write_video(tmp_path / "a.mp4", pictures, fps=fps)

    def lag(protocol):
        """How much later in its window the flash comes than the clap, in seconds."""
        samples = read_audio(tmp_path / "a.wav")
        window = place_window(protocol, len(samples), open_video(path).picture, 90)
        heard = np.abs(cut_window(samples, window.audio_start)).argmax() / SAMPLE_RATE
        seen = (read_frames(path, window.frame_times).mean(axis=(1, 2, 3)) > 100).argmax() / 90 * WINDOW
        return seen - heard

    assert lag("paper") == pytest.approx(0, abs=0.08)
    assert lag("authors") == pytest.approx(max(0, seconds - WINDOW) / 2, abs=0.08)


def test_faces_are_red_green_blue_and_in_the_authors_code_blue_green_red(tmp_path):
    clip = toy.plan_clip(0, 3, "happy", 0)  # of at most 3.6 s, so that both protocols look at its beginning
    clip.write(tmp_path)
    trial = {"clip": "c", "audio_path": "", "video_path": str(clip.path(tmp_path, "mp4"))}
    ours, theirs = (prepare_clip(trial, 15, 64, protocol).video.astype(float) for protocol in ("paper", "authors"))
    ours, theirs = (faces[faces.any(axis=(1, 2, 3))].mean(axis=(0, 1, 2)) for faces in (ours, theirs))
    assert ours[0] > ours[2] + 10, "skin is red rather than blue"
    np.testing.assert_allclose(theirs[::-1], ours, atol=8)


@pytest.mark.parametrize(("protocol", "colours"), [("paper", "rgb"), ("authors", "bgr")])
def test_figures_show_faces_of_both_protocols_in_their_colours(protocol, colours, tmp_path):
    faces = np.arange(3, dtype=np.uint8) + np.zeros((1, 1, 2, 2, 1), np.uint8)
    manifest = {"plan": {"settings": {"protocol": protocol}}}
    store = Store(tmp_path, pd.DataFrame(index=[0]), faces, np.zeros((1, 10, 156)), pd.DataFrame(), manifest)
    assert "".join(colours[place] for place in store.video[0, 0, 0, 0, store.rgb]) == "rgb"


def test_a_picture_that_is_there_twice_counts_twice_in_the_authors_protocol(tmp_path):
    one, two, three, four = (CLIP.format(actor=actor) for actor in (1, 2, 3, 4))
    touch(tmp_path, f"01-{one}.mp4", f"02-{one}.mp4", f"03-{one}.wav", f"02-{two}.mp4", f"03-{three}.wav")
    touch(tmp_path, f"01-{four}_facecroppad.npy", f"02-{four}_facecroppad.npy", f"01-{four}.mp4")
    trials, problems = find_trials(tmp_path, protocol="authors")
    assert problems.empty and trials["copies"].tolist() == [2, 1, 1, 2]
    assert "copies" not in find_trials(tmp_path)[0]


def test_training_clips_with_two_copies_are_doubled_and_no_others(tiny_store):
    copies = np.tile([2, 1], 24)
    clips = tiny_store.clips.assign(copies=copies, actor=np.repeat([1, 2, 3, 4, 5, 11], 8))
    authors = Store(tiny_store.path, clips, tiny_store.video, tiny_store.audio, pd.DataFrame(), {})
    single = replace(authors, clips=clips.drop(columns="copies"))
    doubled, once = (splits(store, 0, 8, ("audio", "video")) for store in (authors, single))
    counts = doubled["train"].table["clip"].value_counts()
    assert counts.to_dict() == dict(zip(clips["clip"][:32], copies[:32], strict=True))
    assert doubled["train"].labels.tolist() == doubled["train"].table["label"].tolist()
    assert len(once["train"]) == 32
    for part in ("validation", "test"):
        np.testing.assert_array_equal(doubled[part].rows, once[part].rows)
