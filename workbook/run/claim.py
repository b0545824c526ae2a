"""Claims: one process at a time writes to a run folder; all others are refused at once.

The operating system locks a file in the folder, and frees it when the process ends, however it ends. Some network
disks do not show locks to other computers. So the owner also writes a record and renews it every few seconds; other
computers take the folder over after a minute without renewal. filelock's SoftFileLease does not fit: its takeover
needs renameat2, which NFS refuses, so the claim of a killed process would stay for ever.
"""

import _thread
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout

from workbook import InputError
from workbook.files import file_lock, read_json, write_json, writing

FILE = ".claim"  # of the process that writes to the run folder
PIPELINE = ".pipeline"  # of the `avlib run` that executes the run's notebooks, each of which claims the folder itself
SILENCE = 60.0  # seconds without renewal after which a process on another computer counts as dead
BEAT = 5.0  # seconds between renewals
PATIENCE = 0.5  # seconds to wait for a lock: `is_claimed` holds it for a moment


class Claimed(InputError):
    """Another process has the folder; one sentence with that process and its start."""


@contextmanager
def claim(folder: Path, file: str = FILE, on_loss: Callable[[], None] = _thread.interrupt_main) -> Iterator[None]:
    """A block in which the folder belongs to this process; a missing folder is made.

    file : FILE or PIPELINE, two claims that do not exclude each other
    on_loss : is called if this process was silent for too long and another one took the folder
    Raises Claimed where another process has the folder.
    """
    path, ended = folder / file, threading.Event()
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    owner = {"host": platform.node(), "pid": os.getpid(), "since": since, "token": token_hex(8)}
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise Claimed(_refusal(path)) from None
    except OSError:
        pass  # a file system without locks: the record alone has to do
    try:
        if _renewed_by_another(path, lock.is_locked):
            raise Claimed(_refusal(path))
        write_json(path, owner)
        threading.Thread(target=_renew, args=(path, owner, ended, on_loss), daemon=True).start()
        yield
    finally:
        ended.set()
        if read_json(path) == owner:
            with suppress(OSError):  # Windows refuses it while anybody reads; without the lock it is no claim
                path.unlink()
        lock.release()


def is_claimed(folder: Path, file: str = FILE) -> bool:
    """Whether a running process has claimed the folder."""
    path = folder / file
    if not path.exists():
        return False
    try:
        with _lock(path).acquire(timeout=0):
            return _renewed_by_another(path, is_locked=True)
    except Timeout:
        return True
    except OSError:  # a file system without locks, or one that is read-only
        return _renewed_by_another(path, is_locked=False)


def _lock(path: Path) -> FileLock:
    return file_lock(path.with_name(f"{path.name}.lock"), thread_local=False)


def _renewed_by_another(path: Path, is_locked: bool) -> bool:
    """Whether a process that the lock says nothing about has renewed the record lately.

    is_locked : True = this process holds the lock, so no other one on this computer does
    """
    try:
        renewal = path.stat().st_mtime
    except FileNotFoundError:
        return False
    elsewhere = not is_locked or read_json(path).get("host") != platform.node()
    return elsewhere and abs(_time_of_server(path) - renewal) <= SILENCE  # nobody renews in the future


def _time_of_server(path: Path) -> float:
    """This moment by the clock that dates the records; this computer's own may differ."""
    lock = path.with_name(f"{path.name}.lock")
    with suppress(OSError):
        os.utime(lock)
        return lock.stat().st_mtime
    return time.time()


def _renew(path: Path, owner: dict[str, Any], ended: threading.Event, on_loss: Callable[[], None]) -> None:
    """Renews a claim until `ended`; where another process has taken it, calls `on_loss`."""
    while not ended.wait(BEAT):
        if read_json(path) not in (owner, {}):
            return on_loss()
        with suppress(OSError):  # a short failure of the network
            os.utime(path)


def _refusal(path: Path) -> str:
    """Such as `RUN is in use by process 12 on lab3 since 2026-11-23 18:05 UTC: wait until it has ended, or stop it`."""
    owner = {"pid": "?", "host": "another computer", "since": "some time"} | read_json(path)
    by = "process {pid} on {host} since {since}".format_map(owner)
    return f"{path.parent} is in use by {by}: wait until it has ended, or stop it"
