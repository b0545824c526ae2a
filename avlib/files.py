"""Files that appear whole or not at all, and folders that one process at a time works on."""

import fcntl
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avlib import InputError

UNGUARDED = (
    "the processes that prepare clips cannot start: a script that makes a corpus or a store has to be a file and to do "
    "it under `if __name__ == '__main__':`"
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place if the block ends well and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Waits until no other process is in such a block with this folder: of several that would make it, one does.

    Raises InputError in a process that one in such a block has started, and that runs its script once more: it would
    wait for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(UNGUARDED)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
