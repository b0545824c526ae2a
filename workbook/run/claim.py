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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil

from workbook import InputError
from workbook.files import FULL, as_bytes, free_bytes

FILE = ".claim"  # of the process that writes to the run folder
PIPELINE = ".pipeline"  # of the `avlib run` that executes the run's notebooks, each of which claims the folder itself
SILENCE = 60.0  # seconds without renewal after which a process on another computer counts as dead
BEAT = 5.0  # seconds between renewals


class Claimed(InputError):
    """Another process has the folder; one sentence with that process and its start."""


@contextmanager
def claim(folder: Path, file: str = FILE, on_loss: Callable[[], None] | None = None) -> Iterator[None]:
    """A block in which the folder belongs to this process; a missing folder is made.

    file : FILE or PIPELINE, two claims that do not exclude each other
    on_loss : is called if this process was silent for too long and another one took the folder; None interrupts the
        main thread
    Raises Claimed where another process has the folder, and InputError where it cannot be written.
    """
    owner, ended, lost = _this_process(), threading.Event(), threading.Event()
    path = folder / file
    try:
        _take(path, owner)
        told = on_loss or _interrupt
        threading.Thread(target=_renew, args=(path, owner, ended, lost, told), daemon=True).start()
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            told = f"{folder} was taken over {_by(_read(path)[0])}"
            raise InputError(f"{told}, since this process was silent for too long") from None
        raise
    finally:
        ended.set()
        if _read(path)[0] == owner:
            path.unlink(missing_ok=True)


def refuse_claimed(folder: Path) -> None:
    """Raises Claimed where a running process has claimed the folder, with that process and its start."""
    owner, silent = _read(folder / FILE)
    if _lives(owner, silent):
        raise Claimed(_refusal(folder, owner))


def is_claimed(folder: Path, file: str = FILE) -> bool:
    """Whether a running process has claimed the folder."""
    return _lives(*_read(folder / file))


def _interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


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


def _take(path: Path, owner: dict[str, Any]) -> None:
    """Writes the claim; Claimed where another process has the folder, InputError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _create(path, owner):
            _remove_dead(path)
    except OSError as error:
        if error.errno in FULL:
            free = as_bytes(free_bytes(path))
            raise InputError(f"{path.parent} cannot be written: its disk has {free} free") from None
        told = f"{path.parent} cannot be written ({error.strerror})"
        raise InputError(f"{told}: give another outputs_root, or a copy of the run") from None


def _create(path: Path, owner: dict[str, Any]) -> bool:
    """Writes the claim and returns True; False where there is one already."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            try:
                json.dump(owner, file)
                file.flush()
            except OSError:
                path.unlink()  # others would wait for a claim without an owner
                raise
    except FileExistsError:
        return False
    return True


def _remove_dead(path: Path) -> None:
    """Removes the claim of a dead process; Claimed where its process is running.

    The claim is renamed first. If that was the new claim of a faster process, it is put back.
    """
    aside = path.with_name(f"{path.name}-{token_hex(8)}")
    aside.touch()
    now = aside.stat().st_mtime  # by the clock of the file server, which also dates the claim
    dead = _read(path, now)
    try:
        if _lives(*dead):
            raise Claimed(_refusal(path.parent, dead[0]))
        if dead[0] is not None:
            os.rename(path, aside)
            if _read(aside, now) != dead:  # renewed, or the claim of another process
                os.link(aside, path)
        for stray in path.parent.glob(f"{path.name}-*"):  # of a process that was killed in this function
            if now - stray.stat().st_mtime > SILENCE:
                stray.unlink()
    except (FileNotFoundError, FileExistsError):
        pass  # another process was faster
    finally:
        aside.unlink(missing_ok=True)


def _renew(
    path: Path, owner: dict[str, Any], ended: threading.Event, lost: threading.Event, on_loss: Callable[[], None]
) -> None:
    """Renews a claim until `ended`; where another process has taken it, sets `lost` and calls `on_loss`."""
    while not ended.wait(BEAT):
        found, _ = _read(path)
        if found == owner:
            with suppress(OSError):  # a short failure of the network
                os.utime(path)
        elif found is not None:
            lost.set()
            on_loss()
            return


def _read(path: Path, now: float | None = None) -> tuple[dict[str, Any] | None, float]:
    """The owner of a claim and the seconds since it was renewed; None and 0 where there is no claim.

    An owner that cannot be read is {}.
    """
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
