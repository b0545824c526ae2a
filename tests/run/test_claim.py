"""One process at a time in a run folder, tried with real processes."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from workbook import InputError
from workbook.run import claim as claims
from workbook.run.claim import FILE, PIPELINE, claim, is_claimed

HOLD = """
import sys, time
from pathlib import Path
from workbook.run.claim import claim
with claim(Path(sys.argv[1])):
    print('claimed', flush=True)
    time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from workbook import InputError
from workbook.run.claim import claim
print('ready', flush=True)
sys.stdin.readline()
try:
    with claim(Path(sys.argv[1])):
        time.sleep(1)
        print('won')
except InputError as error:
    print(error)
"""


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def busy(tmp_path):
    """A process that has claimed tmp_path / "run"."""
    with python(HOLD, tmp_path / "run") as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def refuses(folder, message="in use by process") -> bool:
    """Whether the folder cannot be claimed, with this message."""
    with pytest.raises(InputError, match=message), claim(folder):
        pytest.fail("two processes in one folder")
    return True


def can_be_claimed(folder) -> bool:
    with claim(folder):
        return json.loads((folder / FILE).read_text())["pid"] == os.getpid()


def of_another_host(folder, seconds_silent):
    """Leaves the claim of a process on another computer, last renewed so many seconds ago."""
    folder.mkdir()
    owner = {"host": "lab3", "pid": 12, "since": "2026-01-02 03:04 UTC", "token": "a"}
    (folder / FILE).write_text(json.dumps(owner))
    os.utime(folder / FILE, (time.time() - seconds_silent,) * 2)


def test_a_second_process_is_told_at_once_who_is_at_work(busy, tmp_path):
    start = time.monotonic()
    assert refuses(tmp_path / "run", f"in use by process {busy.pid} on {platform.node()} since 20")
    assert time.monotonic() - start < 1 and is_claimed(tmp_path / "run")


def test_the_claim_of_a_killed_process_is_free_at_once(busy, tmp_path):
    busy.send_signal(signal.SIGKILL)
    busy.wait()
    assert (tmp_path / "run" / FILE).exists() and not is_claimed(tmp_path / "run")
    assert can_be_claimed(tmp_path / "run")


def test_a_suspended_process_keeps_its_claim_however_long_it_is_silent(busy, tmp_path):
    busy.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / "run" / FILE, (1, 1))
    assert refuses(tmp_path / "run")


def test_a_process_on_another_computer_counts_as_dead_after_a_silence(tmp_path):
    of_another_host(tmp_path / "fresh", claims.SILENCE / 2)
    assert refuses(tmp_path / "fresh", "in use by process 12 on lab3 since 2026-01-02 03:04 UTC")
    of_another_host(tmp_path / "silent", claims.SILENCE + 5)
    assert can_be_claimed(tmp_path / "silent")


def test_a_torn_record_of_an_owner_is_still_a_claim(tmp_path):
    (tmp_path / FILE).write_text('{"since": 3')
    assert refuses(tmp_path)


def test_a_claim_that_is_dated_in_the_future_holds_nobody_up(tmp_path):
    of_another_host(tmp_path / "run", -3600)
    assert not is_claimed(tmp_path / "run") and can_be_claimed(tmp_path / "run")


def test_a_claim_does_not_depend_on_the_clock_of_this_computer(tmp_path, monkeypatch):
    of_another_host(tmp_path / "run", 0)
    monkeypatch.setattr(time, "time", lambda: 10**10)  # centuries fast
    assert refuses(tmp_path / "run", "in use by process 12 on lab3")


def test_where_a_file_system_has_no_locks_a_claim_holds_until_it_is_silent(busy, tmp_path, monkeypatch):
    def without_locks(lock, **settings):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.FileLock, "acquire", without_locks)
    assert refuses(tmp_path / "run", f"in use by process {busy.pid}")
    busy.kill()
    assert is_claimed(tmp_path / "run")
    os.utime(tmp_path / "run" / FILE, (1, 1))
    assert can_be_claimed(tmp_path / "run")


def test_of_processes_that_race_for_a_dead_claim_one_wins(tmp_path):
    of_another_host(tmp_path / "run", claims.SILENCE + 5)
    racers = [python(RACE, tmp_path / "run") for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = sorted(racer.communicate()[0].strip() for racer in racers)
    assert answers[-1] == "won" and all("in use by" in line for line in answers[:-1])
    assert not (tmp_path / "run" / FILE).exists()


def test_a_claim_is_renewed_while_its_process_works(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    with claim(tmp_path):
        os.utime(tmp_path / FILE, (1, 1))
        deadline = time.monotonic() + 10
        while (tmp_path / FILE).stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / FILE).stat().st_mtime < 10


def test_a_claim_that_is_lost_ends_the_work_and_stays_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    lost = threading.Event()
    with claim(tmp_path / "run", PIPELINE, on_loss=lost.set), claim(tmp_path / "run"):
        assert is_claimed(tmp_path / "run", PIPELINE) and is_claimed(tmp_path / "run"), "two kinds of claims"
        (tmp_path / "run" / PIPELINE).write_text((tmp_path / "run" / FILE).read_text())
        assert lost.wait(10)
    assert not is_claimed(tmp_path / "run") and (tmp_path / "run" / PIPELINE).exists()
