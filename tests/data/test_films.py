"""Films of one's own: a folder with a table of clips, from the table to an epoch of training."""

import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile
from PIL import Image

import workbook
from avlib import build_model
from workbook import InputError
from workbook.data.audio import features_of, mfcc, samples_of
from workbook.data.columns import class_names, people
from workbook.data.datasets import Corpus
from workbook.data.films import read_films
from workbook.data.media import read_audio, read_frames
from workbook.data.prepare import prepare_clip
from workbook.data.window import SAMPLE_RATE, WINDOW, WINDOW_SAMPLES
from workbook.run.parameters import Parameters
from workbook.run.run_folder import network_settings
from workbook.toy import corpus as toy
from workbook.train.batches import splits
from workbook.train.training import fit

HEADER = "file,audio,person,label,start,end,split\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three drawn people: Ada's film, Ben's film and sound, Cleo's sound alone; and Dan's, which is not there."""
    folder = tmp_path_factory.mktemp("films")
    for actor, emotion, name in ((1, "happy", "ada"), (2, "angry", "ben"), (3, "angry", "cleo")):
        clip = toy.plan_clip(0, actor, emotion, 0)
        clip.write(folder)
        clip.path(folder, "mp4").rename(folder / f"{name}.mp4")
        clip.path(folder, "wav").rename(folder / f"{name}.wav")
    (folder / "clips.csv").write_text(
        "\ufeff"
        + HEADER
        + "ada.mp4, , Ada, glad, 0, 2.1, train\n"
        + "ada.mp4, , Ada, cross, 2.1, , train\n"
        + "ben.mp4, ben.wav, Ben, cross, , , validation\n"
        + "cleo.wav, , Cleo, glad, , , test\n"
        + "dan.mp4, , Dan, glad, , , test\n",
        encoding="utf-8",
    )
    return folder


def test_films_of_ones_own_are_a_dataset_like_any_other(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "DATA", tmp_path / "data")
    config = Parameters(dataset="films", data_root=str(folder), fold_scheme="own", image_size=64, frames=3)
    assert config.classes == 0 and Parameters(dataset="films", data_root=str(folder)).fold_scheme == "groups"
    config.corpus.preprocess(workers=1, progress=False)
    store = config.corpus.open_store()

    clips = store.clips.set_index("clip")
    assert list(clips.index) == ["ada@0", "ada@2.1", "ben", "cleo"] and store.manifest["names"] == ["cross", "glad"]
    assert clips["label"].to_dict() == {"ada@0": 1, "ada@2.1": 0, "ben": 0, "cleo": 1}
    assert clips["has_audio"].all() and clips["has_video"].tolist() == [True, True, True, False]
    assert clips["audio_path"].map(lambda path: path[-7:]).tolist() == ["ada.mp4", "ada.mp4", "ben.wav", "leo.wav"]
    assert clips.loc["ada@0", "duration"] == pytest.approx(2.1) and clips.loc["ada@2.1", "window_start"] == 2.1
    cleared = features_of(store, samples_of(store, 0, later=3.0))  # Ada's first clip ends 2.1 s after its window begins
    np.testing.assert_array_equal(cleared, mfcc(np.zeros(WINDOW_SAMPLES, np.float32)))
    (problem,) = store.problems.to_dict("records")
    assert (problem["clip"], problem["path"]) == ("dan", str(folder / "dan.mp4"))
    assert problem["modality"] == "audio and video"

    parts = splits(store, 0, config.classes, ("audio", "video"), fold_scheme=config.fold_scheme)
    assert {name: list(part.table["clip"]) for name, part in parts.items()} == {
        "train": ["ada@0", "ada@2.1"],
        "validation": ["ben"],
        "test": ["cleo"],
    }
    net = build_model(**network_settings(config, store))
    given = {"dropout": "softhard", "batch_size": 2, "learning_rate": 0.01, "seed": 1, "epochs": 1}
    (row,) = fit(net, parts["train"], parts["validation"], tmp_path, **given)
    assert np.isfinite(row["train_loss"]) and net.classifier.out_features == 2


def test_the_window_lies_inside_the_span_of_a_clip_and_nothing_of_its_neighbours_is_in_it(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", 0.1 * rng.standard_normal(10 * SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / "clips.csv").write_text(
        "file,person,label,start,end\nlong.wav,1,a,1,9\nlong.wav,1,b,4,6\nlong.wav,2,b,8,60\n"
    )
    trials, problems = read_films(tmp_path)
    assert problems.empty and trials["actor"].tolist() == [1, 1, 2]
    made = [prepare_clip(trial, 3, 64, "paper") for trial in trials.to_dict("records")]
    assert [prepared.record["window_start"] for prepared in made] == pytest.approx([5 - WINDOW / 2, 4, 8])
    assert [prepared.record["duration"] for prepared in made] == pytest.approx([8, 2, 2])
    samples = read_audio(tmp_path / "long.wav")
    for prepared, (start, end) in zip(made, [(5 - WINDOW / 2, 5 + WINDOW / 2), (4, 6), (8, 10)], strict=True):
        part = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        part = np.pad(part, (0, round(WINDOW * SAMPLE_RATE) - len(part)))
        np.testing.assert_allclose(prepared.audio, mfcc(part), rtol=1e-4, atol=1e-3)


def test_labels_have_the_order_of_their_values_if_all_are_numbers():
    for names in (["-2", "-1"], ["2.0", "10.0"], ["-0.5", "1e1"], ["10", "9", "x"]):
        assert class_names("clips.csv", names[::-1]) == names


def test_people_are_whole_numbers_or_names_and_a_name_in_two_spellings_is_warned_about(caplog):
    assert people("clips.csv", ["01", "1", "2.0"]) == [1, 1, 2] and not caplog.text
    assert people("clips.csv", ["9" * 17, "9" * 16 + "8"]) == ["9" * 17, "9" * 16 + "8"]
    assert people("clips.csv", ["Ada", "ADA", "1"]) == ["Ada", "ADA", "1"]
    assert "has the people 'Ada' and 'ADA': they count as two" in caplog.text


PLAIN = "file,person,label\na.wav,1,x\nd/é.wav,2,y\n"
TIMES = "file;person;label;start\na.wav;1;x;0,25\nd/é.wav;2;y;0,5\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace("\n", ",,\n").encode(),
        (PLAIN.replace("x", "x,").replace("y", "y,") + ",,\n,,,\n").encode(),
        PLAIN.replace("d/", "d\\").encode(),
        normalize("NFD", PLAIN).encode(),
        (",file,person,label\n0,a.wav,1.0,x\n1,d/é.wav,2.0,y\n").encode(),
        TIMES.encode(),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_table_is_read_as_excel_and_pandas_write_it(tmp_path, content, form):
    (tmp_path / "d").mkdir()
    (tmp_path / "a.wav").touch(), (tmp_path / "d" / normalize(form, "é.wav")).touch()
    (tmp_path / "clips.csv").write_bytes(content)
    trials, problems = read_films(tmp_path)
    assert problems.empty and trials["actor"].tolist() == [1, 2] and trials["emotion"].tolist() == ["x", "y"]
    assert [Path(path).exists() for path in trials["audio_path"]] == [True, True]
    assert trials["start"].tolist() == ([0.25, 0.5] if content == TIMES.encode() else [0, 0])


def test_a_clip_beyond_the_end_of_its_file_says_so(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.ones(2 * SAMPLE_RATE), SAMPLE_RATE)
    trial = {"clip": "a", "video_path": "", "audio_path": str(tmp_path / "a.wav"), "start": 12.5, "end": 16.0}
    (problem,) = prepare_clip(trial, 4, 32, "paper").problems
    assert problem["reason"] == "the clip begins at 12.5 s, but its files end at 2.00 s"


def test_an_image_is_a_clip_without_sound_and_its_face_is_looked_for_unless_it_is_cropped(folder, tmp_path):
    (frame,) = read_frames(folder / "ada.mp4", np.array([1.0]))
    Image.fromarray(frame).save(tmp_path / "photo.png")
    turned = Image.fromarray(np.rot90(frame))
    turned.getexif()[0x0112] = 6  # a camera's note: turn it clockwise
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    Image.fromarray(frame[:48, :48]).convert("L").save(tmp_path / "grey.PNG")
    Image.fromarray(frame[:48, :48]).save(tmp_path / "nobody.bmp")
    (tmp_path / "torn.png").write_bytes((tmp_path / "photo.png").read_bytes()[:999])
    (tmp_path / "clips.csv").write_text(
        "file,person,label,cropped,audio,clip\n"
        "photo.png,1,glad,,,photo\n"
        "turned.png,1,glad,no,,turned\n"
        "grey.PNG,2,cross,yes,,grey\n"
        "nobody.bmp,2,cross,,,nobody\n"
        "torn.png,3,cross,yes,,torn\n"
        f"photo.png,1,glad,,{folder / 'ben.wav'},heard\n"
        f"{folder / 'ada.mp4'},1,cross,yes,,whole\n"
    )
    trials, problems = read_films(tmp_path)
    assert problems.empty and (trials["audio_path"] != "").tolist() == [False] * 5 + [True] * 2
    made = {trial["clip"]: prepare_clip(trial, 3, 48, "paper") for trial in trials.to_dict("records")}
    photo, grey, heard = made["photo"], made["grey"], made["heard"]
    assert photo.audio is None and not photo.problems and photo.record["duration"] == WINDOW
    assert (photo.video == photo.video[0]).all() and photo.video.any()
    np.testing.assert_array_equal(made["turned"].video, photo.video)
    np.testing.assert_array_equal(grey.video[2], np.asarray(Image.open(tmp_path / "grey.PNG").convert("RGB")))
    assert heard.audio is not None and heard.record["window_start"] > 0
    np.testing.assert_array_equal(heard.video, photo.video)
    assert np.isnan(made["whole"].record["face_confidence"]) and np.isnan(grey.record["face_confidence"])
    for name, reason in (("nobody", "no face found in any of the 1 frames"), ("torn", "cannot be read as an image")):
        (problem,) = made[name].problems
        assert problem["modality"] == "video" and reason in problem["reason"]


def test_the_script_of_the_docs_lists_voices_and_faces_to_train_and_films_to_test(tmp_path, monkeypatch):
    sources = [(actor, source) for actor in (1, 5, 9) for source in ("01.mp4", "02.mp4", "03.wav")]
    files = [f"ravdess/Actor_{a:02}/{s[:2]}-01-{2 if a == 5 else 6:02}-01-01-01-{a:02}{s[2:]}" for a, s in sources]
    files += [f"faces/{split}/fear/{number:05}.png" for split in ("train", "test") for number in range(6)]
    for path in (tmp_path / "data/real" / file for file in files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    page = (workbook.ROOT / "docs/real_people.md").read_text(encoding="utf-8")
    exec(re.search(r"^```python\n(.*?)^```", page, re.M | re.S)[1], {})
    trials, problems = read_films(tmp_path / "data/real")
    trials = trials.sort_values("clip").set_index("clip")
    assert problems.empty and [*trials.index[:6]] == [f"faces/test/fear/{number:05}" for number in range(6)]
    assert trials["split"].tolist() == ["validation", *["train"] * 4, "validation", "validation", "test", "train"]
    assert trials["emotion"].tolist() == ["fearful"] * 7 + ["neutral", "fearful"]
    assert trials["cropped"].tolist() == [True] * 6 + [False] * 3
    assert (trials["video_path"] != "").tolist() == [True] * 6 + [False, True, False]
    assert (trials["audio_path"] != "").tolist() == [False] * 6 + [True] * 3
    pairs, problems = read_films(tmp_path / "data/real_pairs")
    assert problems.empty and pairs["split"].tolist() == ["test", *trials["split"][:6]]
    assert (pairs[["video_path", "audio_path"]] != "").all(axis=None)
    heard = pairs[pairs["split"] != "test"]["audio_path"].map(lambda path: int(path[-6:-4]))
    assert heard.tolist() == [1 if split == "validation" else 9 for split in trials["split"][:6]]


def test_clips_are_prepared_anew_once_they_are_called_cropped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "DATA", tmp_path / "data")
    (frame,) = read_frames(folder / "ada.mp4", np.array([1.0]))
    for name in "ab":
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    table, corpus = "file,person,label,cropped\na.png,1,x,{}\nb.png,2,y,no\n", Corpus("films", tmp_path, 3, 64)
    stores = []
    for word in ("no", "yes"):
        (tmp_path / "clips.csv").write_text(table.format(word))
        stores.append(np.array(corpus.preprocess(workers=1, progress=False).video))
    assert (stores[0][0] == stores[0][1]).all() and (stores[0][1] == stores[1][1]).all()
    assert (stores[1][0] != stores[1][1]).any()


ROW = "a.wav,,1,x,,,train\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"clips\.csv cannot be read as a table: .*No such file"),
        ("", r"lacks file, person, label: it has nothing"),
        ('file,person,label\n"a,b\n', r"cannot be read as a table"),
        (b"file,person,label\na.wav,Jos\xe9,x\n", r"save it as CSV in UTF-8"),
        ("file,person,label\na.wav,1,x,a note\n", r"line 2 of .* has more cells than the first: quote a cell that"),
        ("file,person,label\n\na.wav,1,x\n,,\nb.wav,,y\n", r"line 5 of .*clips\.csv has no person"),
        ("file,person,label\na.wav,1,Happy\nb.wav,2,happy\n", r"has the labels 'Happy' and 'happy': write a class in"),
        ("file,person,label,ends\na.wav,1,x,2\n", r"has 'ends', which is not read: did you mean 'end'"),
        ("file,person,label,label\na.wav,1,x,y\n", r"has two columns 'label'"),
        ("file,person,label\na.wav,1,x\na.wav,2,y\n", r"line 3 of .* has the name of an earlier clip"),
        (HEADER + ROW + "a.wav,,1,y,3,2,test\n", r"line 3 of .* ends before it starts"),
        (HEADER + ROW + "a.wav,,1,y,one,2,test\n", r"line 3 of .* has no number of seconds as its start"),
        (HEADER + ROW + "a.wav,,1,y,1,inf,test\n", r"line 3 of .* has no number of seconds as its end"),
        (HEADER + ROW + "a.wav,,1,y,1,2,dev\n", r"line 3 of .* has another split than train, validation, test"),
        ("file,person,label,cropped\na.wav,1,x,1\n", r"line 2 of .* has another word as cropped than yes or no"),
        ("file,person,label\na.wav,1,x\nz.wav,1,y\n", r"lists 1 clips .* with labels \['x'\]: at least two labels"),
    ],
)
def test_every_mistake_in_a_table_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "a.wav").touch(), (tmp_path / "b.wav").touch()
    if text is not None:
        (tmp_path / "clips.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=sentence) as refused:
        read_films(tmp_path)
    assert "\n" not in str(refused.value)
