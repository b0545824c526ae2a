"""What breaks while clips are prepared costs no other clip: bad inputs, processes, drives, disks, odd files."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from happenings import MISHAPS, prepare_with_mishaps, prepare_without_drive
from test_media import tone, write_video

import workbook
from workbook import InputError
from workbook.data import prepare
from workbook.data.build import build_store
from workbook.data.datasets import Corpus
from workbook.data.ravdess import find_trials
from workbook.data.window import SAMPLE_RATE
from workbook.files import free_bytes, path_of
from workbook.toy import corpus as toy

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


def clip(number):
    """The six fields of the name of the number-th clip of this corpus."""
    return f"01-03-01-01-01-{number:02d}"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The store of a corpus with good clips 1 and 24 and the bad ones between them."""
    root = tmp_path_factory.mktemp("corpus")
    good = toy.plan_clip(0, 1, "happy", 0)
    good.write(root)
    film, sound = good.path(root, "mp4"), good.path(root, "wav")

    def place(source, number, modality):
        shutil.copy(source, root / f"{modality}-{clip(number)}{source.suffix}")

    place(film, 24, "01"), place(sound, 24, "03")

    # 2: the film is cut in the middle        3: no picture track        4: an empty film, alone
    (root / f"01-{clip(2)}.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2]), place(sound, 2, "03")
    write_video(root / f"01-{clip(3)}.mp4", None, tone(440, 3))
    (root / f"01-{clip(4)}.mp4").touch()
    # 5: text called wav, beside a good film        6: a letter in the name        7: one frame
    (root / f"03-{clip(5)}.wav").write_text("I am text\n" * 999), place(film, 5, "01")
    shutil.copy(sound, root / "03-01-0x-01-01-01-06.wav")
    write_video(root / f"01-{clip(7)}.mp4", np.full((1, 96, 96, 3), 99, np.uint8)), place(sound, 7, "03")
    # 8: a film without a sound track, 18: one with digital silence        9: a film of no face
    pictures = good.frames()
    write_video(root / f"01-{clip(8)}.mp4", pictures, fps=toy.FPS)
    write_video(root / f"01-{clip(18)}.mp4", pictures, np.zeros(3 * SAMPLE_RATE), fps=toy.FPS)
    write_video(root / f"01-{clip(9)}.mp4", np.full((45, 96, 96, 3), 99, np.uint8), tone(440, 3), fps=15)
    # 10: stereo at 96 kHz        11: 0.3 s        12: 20 s        13: in a folder that cannot be read
    soundfile.write(root / f"03-{clip(10)}.wav", np.stack([tone(440, 4, 96_000)] * 2, 1), 96_000)
    write_video(root / f"01-{clip(11)}.mp4", pictures[: round(0.3 * toy.FPS)], tone(440, 0.3), fps=toy.FPS)
    long = np.concatenate([pictures] * 9)[: 20 * toy.FPS]
    write_video(root / f"01-{clip(12)}.mp4", long, tone(440, 20), fps=toy.FPS)
    (root / "locked").mkdir()
    shutil.copy(sound, root / "locked" / f"03-{clip(13)}.wav")

    scandir = os.scandir

    def refuse_locked(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refuse_locked)
        found = find_trials(root)
    return build_store(tmp_path_factory.mktemp("stores") / "bad", *found, **SETTINGS | {"frames": 7, "image_size": 32})


def row_of(planted, number):
    (row,) = np.flatnonzero(planted.clips["clip"] == clip(number))
    return row


# number: (sound is there, picture is there, what the problem says; None where it is no problem)
OUTCOMES = {
    2: (True, False, "cut short"),
    3: (True, False, "has no picture track"),
    5: (False, True, "cannot be read as wav"),
    7: (True, False, "too short"),
    8: (False, True, "has no sound track"),
    18: (False, True, "is silent"),
    9: (True, False, "no face found in any"),
    10: (True, False, None),
    11: (True, True, None),
    12: (True, True, None),
    1: (True, True, None),
    24: (True, True, None),
}


@pytest.mark.parametrize("number", OUTCOMES)
def test_what_can_be_used_of_a_clip_stays_and_the_rest_is_said(planted, number):
    has_audio, has_video, says = OUTCOMES[number]
    row = row_of(planted, number)
    assert (planted.clips["has_audio"][row], planted.clips["has_video"][row]) == (has_audio, has_video)
    assert planted.audio[row].any() == has_audio and planted.video[row].any() == has_video
    problems = planted.problems[planted.problems["clip"] == clip(number)]
    assert len(problems) == (says is not None)
    for problem in problems.to_dict("records"):
        assert says in problem["reason"] and clip(number) in problem["path"]
        assert problem["modality"] == ("audio" if not has_audio else "video")


def test_there_is_no_row_and_no_problem_beyond_the_planted_and_good_neighbours_are_equal(planted):
    assert sorted(planted.clips["actor"]) == sorted(OUTCOMES)
    kept = [clip(number) for number, (*_, says) in OUTCOMES.items() if says is not None]
    others = planted.problems[~planted.problems["clip"].isin(kept)]
    assert len(planted.problems) == len(kept) + 3
    for says, name in {"Permission denied": "", "empty (0 bytes)": clip(4), "emotion field": ""}.items():
        assert others["clip"][others["reason"].str.contains(says, regex=False)].tolist() == [name]
    first, last = row_of(planted, 1), row_of(planted, 24)
    np.testing.assert_array_equal(planted.video[first], planted.video[last])
    np.testing.assert_array_equal(planted.audio[first], planted.audio[last])


def test_a_clip_of_a_fraction_of_a_second_is_padded_and_a_long_one_is_cut_in_its_middle(planted):
    short, long = row_of(planted, 11), row_of(planted, 12)
    assert planted.clips["window_start"][short] == 0
    assert [bool(frame.any()) for frame in planted.video[short]] == [True] + [False] * 6
    assert planted.clips["duration"][long] == pytest.approx(20, abs=0.1)
    assert planted.clips["window_start"][long] == pytest.approx(8.2, abs=0.05)
    assert all(frame.any() for frame in planted.video[long])
