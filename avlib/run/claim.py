"""Claims: one process at a time writes into a run folder, and every other one is told so at once.

A claim is a file in the folder, so it also holds in a folder that several computers share. Its process renews it every
few seconds. The claim of a process that has died is taken over: at once on the same computer, and after a minute
without renewal on another one.
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
    """The folder, made where it is missing, belongs to this process until the block ends.

    Raises InputError where another process has it, and where nothing can be written. A process that was silent for so
    long that another one took its folder is interrupted.
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
    """Nothing, where the folder is free; InputError, who has it and since when, where a living process has it."""
    owner, silent = _read(folder)
    if _lives(owner, silent):
        raise InputError(_refusal(folder, owner))


def is_claimed(folder: Path) -> bool:
    """Whether a living process has claimed the folder."""
    return _lives(*_read(folder))


def _this_process() -> dict[str, Any]:
    """What a claim says of its owner."""
    return {
        "host": platform.node(),
        "processes": _process_space(),
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "token": token_hex(8),
    }


def _process_space() -> int:
    """A number that differs between containers that share a host's name but not its process ids; 0 where none does."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _take(folder: Path, owner: dict[str, Any]) -> None:
    """Claims the folder; InputError where another process has it, and where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _create(folder, owner):
            _remove_dead(folder)
    except OSError as error:
        told = f"{folder} cannot be written ({error.strerror})"
        raise InputError(f"{told}: give another outputs_root, or a copy of the run") from None


def _create(folder: Path, owner: dict[str, Any]) -> bool:
    """Whether the claim could be made; False where there is one."""
    try:
        with open(folder / FILE, "x", encoding="utf-8") as file:
            json.dump(owner, file)
    except FileExistsError:
        return False
    return True


def _remove_dead(folder: Path) -> None:
    """Removes the claim of a dead process; InputError where its process lives.

    It is renamed first. If another process was faster and its new claim was caught, that claim is put back.
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
        for stray in folder.glob(f"{FILE}-*"):  # of a process that was killed in here
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
            with suppress(OSError):  # a network that is away for a moment
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
        with open(path, encoding="utf-8") as file:  # opened, so that a network file system asks its server
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
    """Whether there is a claim, and its process still runs as far as can be known here."""
    if owner is None:
        return False
    if (owner.get("host"), owner.get("processes")) == (platform.node(), _process_space()):
        try:
            process = psutil.Process(owner["pid"])
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if abs(process.create_time() - owner["born"]) < 2:
                return True  # however long it is silent: it may be suspended
        except psutil.NoSuchProcess:
            return False
    return silent <= SILENCE


def _by(owner: dict[str, Any] | None) -> str:
    """The owner of a folder in words, such as `by process 12 on lab3 since 2026-11-23 18:05 UTC`."""
    if not owner:
        return "by another process"
    return f"by process {owner['pid']} on {owner['host']} since {owner['since']}"


def _refusal(folder: Path, owner: dict[str, Any] | None) -> str:
    return f"{folder} is in use {_by(owner)}: wait until it has ended, or stop it"
