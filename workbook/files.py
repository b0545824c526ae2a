"""Atomic writes, folders that one process at a time makes, and full disks."""

import errno
import glob
import hashlib
import json
import logging
import multiprocessing
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from workbook import InputError

if TYPE_CHECKING:
    import pandas as pd

UNGUARDED = (
    "the processes that prepare clips cannot start: a script that makes a corpus or a store has to be a file and to do "
    "it under `if __name__ == '__main__':`"
)

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

log = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place if the block ends well and is removed if not.

    The file's mode follows the umask, whatever the library gives it. The next write to the folder removes the
    leftovers of killed ones. A link at `path` is replaced, not followed.
    Raises InputError where the disk is full, and where `path` is a folder, a pipe or a device.
    """
    start = f".tmp-{platform.node()}-"
    temporary = path.with_name(f"{start}{os.getpid()}-{token_hex(4)}{path.suffix}")
    try:
        with writing(path):
            refuse_irregular(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent, start)
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            if temporary.stat().st_mode != mode:  # safetensors' files are their owner's alone
                os.chmod(temporary, mode)
            _replace(path, temporary)
    except BaseException:
        with suppress(OSError), open(temporary, "r+b", opener=without_links) as file:
            file.truncate(0)  # gives its room back even while the error of a library holds it open
        with suppress(OSError):  # where it could not be made, there is nothing to remove
            temporary.unlink()
        raise


def _replace(path: Path, temporary: Path) -> None:
    """Puts a file in the place of another. Windows refuses that while anybody reads it: tried for a second."""
    for _ in range(20):
        with suppress(PermissionError):
            return os.replace(temporary, path)
        time.sleep(0.05)
    os.replace(temporary, path)


def _remove_leftovers(folder: Path, start: str) -> None:
    """Removes the temporary files of a folder whose process on this machine is gone."""
    import psutil  # training on a machine with few libraries needs it for nothing else

    for file in folder.glob(f"{glob.escape(start)}*"):
        process = file.name.removeprefix(start).partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            with suppress(OSError):
                file.unlink()


def without_links(path: str | Path, flags: int) -> int:
    """An opener for `open` that refuses a link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def refuse_irregular(path: Path) -> None:
    """Raises InputError where `path` is a folder, a pipe or a device, which no file may replace."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be written: it is {'a folder' if path.is_dir() else 'no regular file'}")


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | str | None]) -> None:
    """Raises InputError for an output that is an input, a link, no regular file, or named twice; None is left out.

    inputs : files, and folders, which stand for the files in them
    """
    taken = {}
    for path in map(Path, filter(None, inputs)):
        files = [path, *(path.iterdir() if path.is_dir() else ())]
        taken |= dict.fromkeys(map(_identity, files), "is an input of this command")
    for path in filter(None, outputs):
        refuse_irregular(path)
        reason = "is a link" if path.is_symlink() else taken.get(_identity(path))
        if reason:
            raise InputError(f"{path} {reason}: give another file for this output")
        taken[_identity(path)] = "is another output, too"


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of the same file have in common."""
    with suppress(OSError):
        return path.stat().st_dev, path.stat().st_ino
    return os.path.realpath(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes to `path`. Raises InputError where its disk is full or it may not be written."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # torch and others have errors of their own for a full disk
        code, text = getattr(error, "errno", None), str(error).lower()
        if code in (errno.EROFS, errno.EACCES):
            raise InputError(f"{path} cannot be written: {error.strerror}") from error
        if code in FULL or "no space left" in text or (code is None and free_bytes(path) < 2**16):
            raise InputError(f"{path} cannot be written: its disk has {as_bytes(free_bytes(path))} free") from error
        raise


def free_bytes(path: Path) -> int:
    """The bytes that are free on the disk of a path, which may not be there yet."""
    there = next(parent for parent in [path.absolute(), *path.absolute().parents] if os.path.exists(parent))
    return shutil.disk_usage(there).free


def checksum(path: Path | str) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; {} where it is missing or torn, or holds something else than names and values."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8, whole or not at all."""
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Writes `data` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_table(path: Path | str, table: "pd.DataFrame") -> None:
    """Writes a table without its index, whole or not at all, as .parquet or .csv by the suffix."""
    path = Path(path)
    assert path.suffix in (".parquet", ".csv"), f"a table ends in .parquet or .csv, not {path.suffix!r}"
    write = table.to_parquet if path.suffix == ".parquet" else table.to_csv
    with atomic_write(path) as temporary:
        write(temporary, index=False)


def as_bytes(count: float) -> str:
    """A number of bytes for people, such as `13.6 GB`."""
    power = min(len(f"{count:.0f}") - 1, 11) // 3
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """A block with this path that one process at a time enters; others wait.

    The lock is a hidden file beside `path`. Where a disk has no locks, or is read-only, nobody waits.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED)  # a process of a pool that, instead of working, runs the user's script once more
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        Path(lock.lock_file).touch()  # raises where no file can be made, such as in /proc: there is nobody to wait for
        log.info("another process is at work on %s: waiting for it", path)
        lock.acquire()
    except OSError as error:
        log.info("%s cannot be locked: %s", path, error.strerror)
    try:
        yield
    finally:
        lock.release()


def file_lock(path: Path, **settings: Any) -> FileLock:
    """The lock of a file. Raises InputError where that is a link or no regular file, which would exclude nobody.

    settings : of FileLock
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} is a link or no regular file, so it is no lock: remove it")
    return FileLock(path, fallback_to_soft=False, **settings)


def path_text(path: Path | str) -> str:
    """A path as text that any file format takes: bytes that are not UTF-8 become `\\xe9` and the like."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def path_of(text: Path | str) -> Path:
    """The path that a text of `path_text` stands for."""
    plain = os.fspath(text)
    if "\\x" not in plain or os.path.lexists(plain):
        return Path(plain)
    path = re.sub(rb"\\x([89a-f][0-9a-f])", lambda match: bytes.fromhex(match[1].decode()), os.fsencode(plain))
    return Path(os.fsdecode(path))
