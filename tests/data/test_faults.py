"""Faults of the machine: what passes leaves no trace in a store, and a disk that is full or read-only is a sentence."""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from happenings import MISHAPS, prepare_with_mishaps, prepare_without_drive
from safetensors.torch import save_file
from test_media import tone

import workbook
from workbook import InputError
from workbook.data import workers
from workbook.data.build import build_store
from workbook.data.datasets import Corpus
from workbook.data.ravdess import find_trials
from workbook.data.store import Store
from workbook.data.window import SAMPLE_RATE
from workbook.files import as_bytes, atomic_write, folder_lock, free_bytes, path_of, path_text
from workbook.run.claim import claim, is_claimed

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


@pytest.fixture(scope="module")
def mishaps(tmp_path_factory):
    """Two stores of nine voices: one made without mishaps, one while six of the clips meet with something."""
    root = write_voices(tmp_path_factory.mktemp("mishaps") / "voices", 9)
    expected = build(root.parent / "expected", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "prepare_clip", prepare_with_mishaps)
        patch.setattr(workers, "SECONDS", 2)
        return expected, build(root.parent / "store", root, workers=2)


def test_a_clip_that_ends_its_process_costs_no_neighbour_and_one_whose_process_was_killed_once_nothing(mishaps):
    expected, store = mishaps
    rows = [row for row in range(9) if row + 1 not in MISHAPS or row + 1 == 8]
    assert list(store.clips["clip"]) == list(expected.clips["clip"][rows]) and len(store.problems) == 5
    np.testing.assert_array_equal(store.audio, expected.audio[rows])


@pytest.mark.parametrize(
    "actor, says",
    [
        (2, "crashes the decoder"),
        (3, "crashes the decoder"),
        (5, "takes more than 2 s"),
        (6, "takes more than 4 GB of memory"),
        (7, "takes more memory than there is"),
    ],
)
def test_a_clip_that_ends_its_process_even_when_it_is_alone_is_a_problem(mishaps, actor, says):
    problems = mishaps[1].problems.set_index("clip")["reason"]
    assert problems[f"01-01-01-01-01-{actor:02d}"] == f"the clip {says}: it is left out"


def test_a_drive_that_goes_away_costs_no_clip(voices, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InputError, match="is no longer there: run it again when"):
        patch.setattr(workers, "prepare_clip", prepare_without_drive)
        build(tmp_path / "store", voices)
    (tmp_path / "away").rename(voices)
    store = build(tmp_path / "store", voices)
    assert len(store) == 4 and store.problems.empty


def test_a_link_that_leads_nowhere_is_a_problem(voices, tmp_path):
    (voices / "03-01-01-01-01-01-05.wav").symlink_to(tmp_path / "nowhere.wav")
    (voices / "03-01-01-01-01-01-06.wav").symlink_to("03-01-01-01-01-01-06.wav")
    store = build(tmp_path / "store", voices)
    assert len(store) == 4 and list(store.problems["clip"]) == ["01-01-01-01-01-05", "01-01-01-01-01-06"]


# damaged sounds and odd names in a corpus


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


def test_a_path_comes_back_from_its_text(tmp_path):
    for name in (b"plain", b"Jos\xe9 \xff", "José".encode(), rb"a\xe9b"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.touch()
        assert path_of(path_text(path)) == path
        path_text(path).encode()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_a_problem_and_nobody_waits_for_it(voices, tmp_path, kind):
    place = voices / f"03-{MARKED}.wav"
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"device": "/dev/zero", "folder": tmp_path}[kind])
    store = build(tmp_path / "store", voices)
    assert len(store) == 3
    assert kind == "folder" or "is not a file but a folder, a pipe or a device" in store.problems["reason"].iloc[0]


# the disk


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, which a function makes read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_fills_up_is_a_sentence_and_once_there_is_room_it_goes_on(voices, small_disk):
    (small_disk / "other").write_bytes(bytes(free_bytes(small_disk) - 50_000))
    with pytest.raises(InputError, match=r"store cannot be written: its disk has"):
        build(small_disk / "store", voices, image_size=99)
    (small_disk / "other").unlink()
    assert len(build(small_disk / "store", voices, image_size=99)) == 4


WRITERS = {
    "text": lambda path: path.write_text("x" * 10**7),
    "parquet": lambda path: pd.DataFrame({"x": np.random.default_rng(0).random(10**6)}).to_parquet(path),
    "torch": lambda path: torch.save(torch.rand(10**6), path),
    "safetensors": lambda path: save_file({"x": torch.rand(10**6)}, path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_library_says_the_same_of_a_full_disk_and_the_old_file_stays(small_disk, writer):
    (small_disk / "file.pt").write_text("old")
    says = r"file.pt cannot be written: its disk has .* free"
    with pytest.raises(InputError, match=says), atomic_write(small_disk / "file.pt") as temporary:
        WRITERS[writer](temporary)
    assert [file.name for file in small_disk.iterdir()] == ["file.pt"] and (small_disk / "file.pt").read_text() == "old"


def test_a_write_that_does_not_fit_gives_its_room_back_before_its_error_is_handled(small_disk):
    with pytest.raises(InputError) as refused, atomic_write(small_disk / "file.pt") as temporary:
        WRITERS["torch"](temporary)
    assert refused.value.__cause__, "torch's error, which holds the file open"
    with atomic_write(small_disk / "run.json") as temporary:
        temporary.write_text("x" * 10**6)


def test_a_claim_on_a_full_disk_is_a_sentence_and_leaves_nothing_for_others_to_wait_for(small_disk):
    (small_disk / "other").write_bytes(bytes(free_bytes(small_disk)))
    with pytest.raises(InputError, match=r"claim cannot be written: its disk has 0 b"), claim(small_disk / "run"):
        pass
    assert not is_claimed(small_disk / "run")


def test_a_whole_store_on_a_read_only_disk_is_opened(voices, small_disk, monkeypatch):
    monkeypatch.setattr(workbook, "DATA", small_disk)
    corpus = Corpus("ravdess", voices, frames=2, image_size=8)
    made = corpus.preprocess(workers=1, progress=False)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert corpus.preprocess().fingerprint == corpus.open_store().fingerprint == made.fingerprint
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        Corpus("ravdess", voices, frames=3, image_size=8).preprocess()


@pytest.mark.parametrize("size, says", [(7, "7 bytes"), (13_600_000_000, "13.6 GB"), (999_999, "1e+03 kB")])
def test_bytes_are_said_in_a_unit_that_can_be_read(size, says):
    assert as_bytes(size) == says


# one write, one lock


def test_a_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        old = os.umask(mask)
        try:
            with atomic_write(tmp_path / "model.safetensors") as temporary:
                save_file({"x": torch.zeros(3)}, temporary)
        finally:
            os.umask(old)
        assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode


WRITE = """
import sys, time
from pathlib import Path
from workbook.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    time.sleep(99)
"""


def begin_to_write(path):
    """A process in the middle of a write."""
    process = subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def test_what_a_killed_write_leaves_is_gone_after_the_next_and_what_is_being_written_stays(tmp_path):
    path = tmp_path / "model[1].txt"
    dead, alive = begin_to_write(path), begin_to_write(path)
    dead.kill(), dead.wait()
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
    names = {file.name for file in tmp_path.iterdir()}
    assert len(names) == 2 and path.name in names and any(str(alive.pid) in name for name in names)
    alive.kill(), alive.wait()
    assert path.read_text() == "whole"


LOCK = """
import sys, time
from pathlib import Path
from workbook.files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_lock_holds_up_its_own_store_only_and_says_so(tmp_path, caplog):
    command = [sys.executable, "-c", LOCK, tmp_path / "stores" / "long", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, caplog.at_level(logging.INFO):
        assert process.stdout.readline() == "locked\n"
        with folder_lock(tmp_path / "stores" / "short"):
            assert process.poll() is None and "waiting" not in caplog.text
        with folder_lock(tmp_path / "stores" / "long"):
            assert process.wait() == 0
        assert "another process is at work on" in caplog.text


# a damaged store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return build(folder / "store", write_voices(folder / "voices")).path


@pytest.fixture
def store(made, tmp_path):
    """The folder of a store of four clips, to be damaged."""
    return shutil.copytree(made, tmp_path / "store")


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def relabel(file):
    clips = pd.read_parquet(file)
    clips.assign(label=(clips["label"] + 1) % 8).to_parquet(file, index=False)


def drop_row(file):
    pd.read_parquet(file).iloc[1:].to_parquet(file, index=False)


def change_type(file):
    np.save(file, np.load(file).astype(np.float64))


def drop_axis(file):
    np.save(file, np.load(file)[0])


@pytest.mark.parametrize(
    "name, damage, says",
    [
        ("clips.parquet", cut, "clips.parquet"),
        ("problems.parquet", cut, ""),
        ("faces.npy", cut, ""),
        ("mfcc.npy", cut, ""),
        ("clips.parquet", relabel, "clips.parquet is not as it was written"),
        ("clips.parquet", drop_row, "clips.parquet is not as it was written"),
        ("mfcc.npy", change_type, "audio has shape .* and type float64"),
        ("mfcc.npy", drop_axis, "audio has shape .* for 4 clips"),
        ("manifest.json", cut, ""),
    ],
)
def test_a_damaged_store_is_a_sentence_that_says_what_to_do(store, name, damage, says):
    damage(store / name)
    with pytest.raises(InputError) as refused:
        Store.open(store)
    assert str(store) in str(refused.value) and "\n" not in str(refused.value)
    assert "delete this folder and have it made again" in str(refused.value)


def test_a_link_to_a_store_is_as_good_as_the_store(store, tmp_path):
    (tmp_path / "link").symlink_to(store)
    assert len(Store.open(tmp_path / "link")) == 4
    shutil.rmtree(store)
    with pytest.raises(InputError, match="is not a store"):
        Store.open(tmp_path / "link")


@pytest.mark.parametrize("name", ["x" * 300, "loop/store", "file/store"], ids=["long", "circle", "file"])
def test_a_store_at_a_path_that_cannot_be_is_a_sentence(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a store"):
        Store.open(tmp_path / name)
    with pytest.raises(InputError, match="cannot be written"), folder_lock(tmp_path / name):
        pass
    with pytest.raises(InputError, match="cannot be written"), atomic_write(tmp_path / name):
        pass


# the fuzzer


def crash_or_raise(path):
    time.sleep(0.1)
    if path.read_bytes() == b"good":
        return True
    if path.name.startswith("0-"):
        os._exit(3)
    raise KeyError("no sentence")


def test_the_fuzzer_makes_the_same_mutants_again_and_counts_crashes_and_tracebacks(tmp_path, capsys):
    content = bytes(range(256)) * 9
    mutants = [fuzz.mutant(content, np.random.default_rng([0, number])) for number in range(50)]
    assert mutants == [fuzz.mutant(content, np.random.default_rng([0, number])) for number in range(50)]
    assert len({*mutants}) > 40 and sum(mutant != content for mutant in mutants) > 40
    (tmp_path / "a.txt").write_bytes(b"good")
    outcomes = fuzz.fuzz("text", tmp_path / "a.txt", crash_or_raise, seed=0, count=3, folder=tmp_path)
    assert outcomes["else"] >= 2 and "number 0: the process ended" in capsys.readouterr().out
