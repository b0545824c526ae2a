"""Whose fault it is that a clip cannot be read: the file's, which is noted, or the machine's, which passes."""

import av
import numpy as np
import soundfile

from workbook import InputError
from workbook.files import PASSING, path_of

WORDS = (  # of libraries that have no error of their own for it
    *("allocate memory", "bad_alloc", "malloc", "start new thread", "failed to map segment", "too many open files"),
)
SYSTEM_ERROR = 2  # libsndfile's number for it
MEMORY = 4 * 2**30  # bytes that preparing one clip may take, with all libraries; it takes 0.6 GB for a clip of seconds


class Fault(Exception):
    """The machine could not read a clip this time: it is neither prepared nor a problem, and is tried again.

    code : how the process ended that was at it; None where it did not end
    spent : True = the process is not to be used again: a library may be half loaded
    """

    def __init__(self, reason: str, code: int | None = None, spent: bool = False):
        super().__init__(reason, code, spent)
        self.code, self.spent = code, spent

    def __str__(self) -> str:
        return self.args[0]


def fault(error: BaseException, path: str) -> Fault | None:
    """The machine's fault behind an error in reading a file; None where it is the file's.

    Decoders say of damaged files, too, that memory or reading failed. So they are believed only where the file cannot
    be read from end to end, or memory is short.
    """
    chain = [*_chain(error)]
    named = [link for link in chain if _names_machine(link)]
    if not named:
        return None
    last = named[-1]
    if isinstance(last, av.FFmpegError | soundfile.SoundFileError) or not isinstance(last, OSError | ImportError):
        last = _reading_error(path) or (None if _has_memory() else last)
    return last and Fault(_sentence(last), spent=not isinstance(last, OSError))


def _chain(error: BaseException | None):
    """An error and those that led to it; what an InputError does not name as its cause did not."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if isinstance(error, InputError) else error.__context__)


def _names_machine(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError | ImportError)
        or getattr(error, "errno", None) in PASSING
        or (isinstance(error, soundfile.LibsndfileError) and error.code == SYSTEM_ERROR)
        or any(word in str(error).lower() for word in WORDS)
    )


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is too little memory"
    return getattr(error, "strerror", None) or f"{type(error).__name__}, {error}"


def _reading_error(path: str) -> OSError | None:
    """What the system says where a file cannot be read from end to end; None where it can."""
    try:
        with open(path_of(path), "rb") as file:
            while file.read(2**20):
                pass
    except OSError as error:
        return error if error.errno in PASSING else None
    return None


def _has_memory() -> bool:
    """Whether the system would give this process the memory that a clip may take."""
    try:
        np.empty(MEMORY, np.uint8)  # nothing of it is touched
    except MemoryError:
        return False
    return True
