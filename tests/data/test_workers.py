"""What breaks while clips are prepared costs no other clip: processes, drives, disks, odd files."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from happenings import MISHAPS, prepare_with_mishaps, prepare_without_drive
from test_media import tone

import workbook
from workbook import InputError
from workbook.data import prepare
from workbook.data.build import build_store
from workbook.data.datasets import Corpus
from workbook.data.ravdess import find_trials
from workbook.data.window import SAMPLE_RATE
from workbook.files import free_bytes, path_of

MARKED = "01-01-01-01-01-03"  # the clip in which something happens
SETTINGS = {"frames": 2, "image_size": 8, "workers": 1, "progress": False}


def write_voices(folder, count=4):
    """Clips of sound alone."""
    folder.mkdir()
    for actor in range(1, count + 1):
        soundfile.write(folder / f"03-01-01-01-01-01-{actor:02d}.wav", tone(110 * actor, 1), SAMPLE_RATE)
    return folder


@pytest.fixture
def voices(tmp_path):
    return write_voices(tmp_path / "voices")


def build(path, root, **settings):
    return build_store(path, *find_trials(root), **SETTINGS | settings)


def test_a_clip_that_ends_its_process_costs_no_neighbour_and_one_killed_once_nothing(tmp_path, monkeypatch):
    root = write_voices(tmp_path / "voices", 9)
    expected = build(tmp_path / "expected", root)
    monkeypatch.setattr(prepare, "prepare_clip", prepare_with_mishaps)
    monkeypatch.setattr(prepare, "SECONDS", 2)
    store = build(tmp_path / "store", root, workers=2)
    rows = [row for row in range(9) if row + 1 not in MISHAPS or row + 1 == 8]
    assert list(store.clips["clip"]) == list(expected.clips["clip"][rows]) and len(store.problems) == 5
    np.testing.assert_array_equal(store.audio, expected.audio[rows])
    reasons = {2: "crashes the decoder", 3: "crashes the decoder", 5: "takes more than 2 s"}
    reasons |= {6: "takes more than 4 GB of memory", 7: "takes more memory than there is"}
    names = {f"01-01-01-01-01-{actor:02d}": f"the clip {reason}: it is left out" for actor, reason in reasons.items()}
    assert store.problems.set_index("clip")["reason"].to_dict() == names


def test_a_drive_that_goes_away_costs_no_clip(voices, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InputError, match="is no longer there: run it again when"):
        patch.setattr(prepare, "prepare_clip", prepare_without_drive)
        build(tmp_path / "store", voices)
    (tmp_path / "away").rename(voices)
    store = build(tmp_path / "store", voices)
    assert len(store) == 4 and store.problems.empty


def test_a_damaged_sample_is_a_problem_that_names_the_clip(voices, tmp_path):
    samples = tone(220, 1)
    samples[5000] = -7.5e37
    soundfile.write(voices / f"03-{MARKED}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    store = build(tmp_path / "store", voices)
    (problem,) = store.problems.to_dict("records")
    assert problem["clip"] == MARKED and "damaged samples, up to 7.5e+37" in problem["reason"]
    assert len(store) == 3 and np.isfinite(store.audio).all()


def test_names_that_are_not_utf_8_are_read_like_any_other(voices, tmp_path):
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Jos\xe9"))
    voices.rename(strange)
    (strange / f"03-{MARKED}.wav").write_text("no sound")
    store = build(tmp_path / "store", strange)
    assert len(store) == 3 and store.clips["audio_path"].str.contains(r"/Jos\xe9/", regex=False).all()
    assert all(path_of(path).is_file() for path in store.clips["audio_path"])
    assert r"Jos\xe9" in store.problems["path"][0] and list(store.problems["clip"]) == [MARKED]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_a_problem_and_nobody_waits_for_it(voices, tmp_path, kind):
    place = voices / f"03-{MARKED}.wav"
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"device": "/dev/zero", "folder": tmp_path, "nothing": tmp_path / "nowhere"}[kind])
    store = build(tmp_path / "store", voices)
    assert len(store) == 3 and list(store.problems["clip"]) == [MARKED] * (kind != "folder")
    if kind in ("pipe", "device"):
        assert "is not a file but a folder, a pipe or a device" in store.problems["reason"][0]


def test_a_disk_that_fills_up_is_a_sentence_and_once_there_is_room_it_goes_on(voices, small_disk):
    (small_disk / "other").write_bytes(bytes(free_bytes(small_disk) - 50_000))
    with pytest.raises(InputError, match=r"store cannot be written: its disk has"):
        build(small_disk / "store", voices, image_size=99)
    (small_disk / "other").unlink()
    assert len(build(small_disk / "store", voices, image_size=99)) == 4


def test_a_whole_store_on_a_read_only_disk_is_opened(voices, small_disk, monkeypatch):
    monkeypatch.setattr(workbook, "DATA", small_disk)
    corpus = Corpus("ravdess", voices, frames=2, image_size=8)
    made = corpus.preprocess(workers=1, progress=False)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert corpus.preprocess().fingerprint == corpus.open_store().fingerprint == made.fingerprint
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        Corpus("ravdess", voices, frames=3, image_size=8).preprocess()
