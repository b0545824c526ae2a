"""Files that appear completely or not at all, folders with a lock, full disks, names that are not UTF-8."""

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from workbook import InputError
from workbook.files import atomic_write, check_outputs, folder_lock, free_bytes, path_of, path_text, write_text, writing
from workbook.run.claim import claim, is_claimed

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


def test_a_folder_that_is_read_only_is_a_sentence(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for folder in (small_disk, small_disk / "run"):
        with pytest.raises(InputError, match=r"/\.claim cannot be written: Read-only file system"), claim(folder):
            pass


def test_an_error_on_a_drive_that_is_away_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: False)  # as on Windows, where a drive may be away
    with pytest.raises(FileNotFoundError, match="no such drive"), writing(Path("runs")):
        raise FileNotFoundError(errno.ENOENT, "no such drive", "Z:")


def test_a_file_that_somebody_reads_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """Windows refuses to replace a file that is open."""
    refusals, replace = [PermissionError(), PermissionError()], os.replace

    def replace_later(source, target):
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_later)
    write_text(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "new" and len([*tmp_path.iterdir()]) == 1


def test_a_path_comes_back_from_its_text(tmp_path):
    for name in (b"plain", b"Jos\xe9 \xff", "José".encode(), rb"a\xe9b"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.touch()
        assert path_of(path_text(path)) == path
        path_text(path).encode()


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


MAKERS = {
    "link": lambda path, target: path.symlink_to(target),
    "dangling link": lambda path, target: path.symlink_to(target.with_name("nothing")),
    "pipe": lambda path, target: os.mkfifo(path),
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no folder that takes no file")
def test_a_folder_that_takes_no_file_is_refused_and_not_waited_for():
    with pytest.raises(FileNotFoundError), folder_lock(Path("/proc/page")):
        pytest.fail("nothing can be locked there")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_is_no_file_is_no_lock_and_its_target_stays(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    target, run = Path("precious"), Path("run")
    target.write_text("all I have"), run.mkdir()
    os.utime(target, (1, 1))
    make(Path(".store.lock"), target), make(run / ".claim.lock", Path("../precious"))
    with pytest.raises(InputError, match="no lock"), folder_lock(Path("store")):
        pass
    with pytest.raises(InputError, match="no lock"), claim(run):
        pass
    assert target.read_text() == "all I have" and target.stat().st_mtime == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "precious", "run"]


def test_temporary_names_cannot_be_foreseen_and_are_never_followed(tmp_path, monkeypatch):
    names = set()
    for _ in range(3):
        with atomic_write(tmp_path / "run.json") as temporary:
            names.add(temporary.name)
    assert len(names) == 3
    (tmp_path / "precious").write_text("all I have")
    monkeypatch.setattr("workbook.files.token_hex", lambda _: "foreseen")
    with atomic_write(tmp_path / "run.json") as temporary:
        temporary.write_text("new")
    temporary.symlink_to("precious")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "run.json") as path:
        path.write_text("an attack")
    assert (tmp_path / "precious").read_text() == "all I have" and (tmp_path / "run.json").read_text() == "new"


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "precious").write_text("all I have")
    (tmp_path / "run.json").symlink_to("precious")
    with atomic_write(tmp_path / "run.json") as temporary:
        temporary.write_text("new")
    assert not (tmp_path / "run.json").is_symlink() and (tmp_path / "precious").read_text() == "all I have"


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "out")
    with (
        pytest.raises(InputError, match="out cannot be written: it is no regular file"),
        atomic_write(tmp_path / "out"),
    ):
        pytest.fail("the block is not entered")
    with pytest.raises(InputError, match="cannot be written: it is a folder"):
        check_outputs([tmp_path], [])
    assert (tmp_path / "out").is_fifo() and os.listdir(tmp_path) == ["out"]


def test_an_output_is_no_input_no_link_and_named_once(tmp_path):
    clip, run = tmp_path / "me.wav", tmp_path / "run"
    clip.touch(), run.mkdir(), (run / "run.json").touch()
    (tmp_path / "same.wav").hardlink_to(clip), (tmp_path / "link.html").symlink_to("elsewhere")
    (tmp_path / "folder").symlink_to(run)
    bad = {
        (clip,): "is an input",
        (tmp_path / "same.wav",): "is an input",
        (None, run / "run.json"): "is an input",
        (tmp_path / "folder" / "run.json",): "is an input",
        (tmp_path / "link.html",): "is a link",
        (tmp_path / "a.html", tmp_path / "run" / ".." / "a.html"): "is another output",
        (run,): "it is a folder",
    }
    for outputs, sentence in bad.items():
        with pytest.raises(InputError, match=sentence):
            check_outputs(outputs, [clip, "", None, run])
    check_outputs([tmp_path / "a.html", run / "new.json", None], [clip, "", run])
