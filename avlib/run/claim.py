"""Claims: one process at a time writes to a run folder; all others are refused at once.

A claim is a file in the folder, so it also works in a folder that several computers share. Its process renews it every
few seconds. If the process has died, another one may take the claim over: at once on the same computer, on another
computer after a minute without renewal.
"""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil

from avlib import InputError

FILE = ".claim"
SILENCE = 60.0  # seconds without renewal after which a process on another computer counts as dead
BEAT = 5.0  # seconds between renewals


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """A block in which the folder belongs to this process; a missing folder is made.

    Raises InputError where another process has the folder, and where it cannot be written. Interrupts this process if
    it was silent for too long and another one took the folder.
    """
    owner, ended, lost = _this_process(), threading.Event(), threading.Event()
    try:
        _take(folder, owner)
        threading.Thread(target=_renew, args=(folder, owner, ended, lost), daemon=True).start()
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            told = f"{folder} was taken over {_by(_read(folder)[0])}"
            raise InputError(f"{told}, since this process was silent for too long") from None
        raise
    finally:
        ended.set()
        if _read(folder)[0] == owner:
            (folder / FILE).unlink(missing_ok=True)


def refuse_claimed(folder: Path) -> None:
    """Raises InputError where a running process has claimed the folder, with that process and its start."""
    owner, silent = _read(folder)
    if _lives(owner, silent):
        raise InputError(_refusal(folder, owner))


def is_claimed(folder: Path) -> bool:
    """Whether a running process has claimed the folder."""
    return _lives(*_read(folder))


def _this_process() -> dict[str, Any]:
    """The content of a claim by this process."""
    return {
        "host": platform.node(),
        "processes": _process_space(),
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "token": token_hex(8),
    }


def _process_space() -> int:
    """The number of this container's space of process ids, which a host's name does not tell; 0 where unknown."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _take(folder: Path, owner: dict[str, Any]) -> None:
    """Claims the folder; InputError where another process has it, and where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _create(folder, owner):
            _remove_dead(folder)
    except OSError as error:
        told = f"{folder} cannot be written ({error.strerror})"
        raise InputError(f"{told}: give another outputs_root, or a copy of the run") from None


def _create(folder: Path, owner: dict[str, Any]) -> bool:
    """Writes the claim and returns True; False where there is one already."""
    try:
        with open(folder / FILE, "x", encoding="utf-8") as file:
            json.dump(owner, file)
    except FileExistsError:
        return False
    return True


def _remove_dead(folder: Path) -> None:
    """Removes the claim of a dead process; InputError where its process is running.

    The claim is renamed first. If that was the new claim of a faster process, it is put back.
    """
    aside = folder / f"{FILE}-{token_hex(8)}"
    aside.touch()
    now = aside.stat().st_mtime  # by the clock of the file server, which also dates the claim
    dead = _read(folder, now=now)
    try:
        if _lives(*dead):
            raise InputError(_refusal(folder, dead[0]))
        if dead[0] is not None:
            os.rename(folder / FILE, aside)
            if _read(folder, aside.name, now) != dead:  # renewed, or the claim of another process
                os.link(aside, folder / FILE)
        for stray in folder.glob(f"{FILE}-*"):  # of a process that was killed in this function
            if now - stray.stat().st_mtime > SILENCE:
                stray.unlink()
    except (FileNotFoundError, FileExistsError):
        pass  # another process was faster
    finally:
        aside.unlink(missing_ok=True)


def _renew(folder: Path, owner: dict[str, Any], ended: threading.Event, lost: threading.Event) -> None:
    """Renews a claim until `ended`; where another process has taken it, sets `lost` and interrupts the main thread."""
    while not ended.wait(BEAT):
        found, _ = _read(folder)
        if found == owner:
            with suppress(OSError):  # a short failure of the network
                os.utime(folder / FILE)
        elif found is not None:
            lost.set()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            return


def _read(folder: Path, name: str = FILE, now: float | None = None) -> tuple[dict[str, Any] | None, float]:
    """The owner of a claim and the seconds since it was renewed; None and 0 where there is no claim.

    An owner that cannot be read is {}.
    """
    path = folder / name
    try:
        with open(path, encoding="utf-8") as file:  # opening makes a network file system read from its server
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime
    except (OSError, UnicodeDecodeError):
        if not os.path.lexists(path):
            return None, 0
        text, renewed = "", os.lstat(path).st_mtime
    try:
        owner = json.loads(text)
    except ValueError:
        owner = {}
    whole = isinstance(owner, dict) and owner.keys() >= {"host", "pid", "born", "since"}
    return (owner if whole else {}), (now or time.time()) - renewed


def _lives(owner: dict[str, Any] | None, silent: float) -> bool:
    """Whether there is a claim and its process, as far as this computer can tell, is running."""
    if owner is None:
        return False
    if (owner.get("host"), owner.get("processes")) == (platform.node(), _process_space()):
        try:
            process = psutil.Process(owner["pid"])
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if abs(process.create_time() - owner["born"]) < 2:
                return True  # even if silent for long: it may be suspended
        except psutil.NoSuchProcess:
            return False
    return silent <= SILENCE


def _by(owner: dict[str, Any] | None) -> str:
    """The owner of a folder, such as `by process 12 on lab3 since 2026-11-23 18:05 UTC`."""
    if not owner:
        return "by another process"
    return f"by process {owner['pid']} on {owner['host']} since {owner['since']}"


def _refusal(folder: Path, owner: dict[str, Any] | None) -> str:
    return f"{folder} is in use {_by(owner)}: wait until it has ended, or stop it"
