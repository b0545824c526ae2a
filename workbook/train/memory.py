"""Memory for large maps: channels last, kept by the process between steps, and a sentence where a GPU has no more.

Linux's allocator returns every freed large block to the system. A step then waits long for new pages.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workbook import InputError

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of settings, from malloc.h
USUAL = {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 1024}  # most mapped blocks, free bytes at the end of the heap
FULL = "the memory of the GPU is full: give a smaller batch_size, or fewer --jobs for each GPU"
KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}  # map no block, return nothing
blocks = 0  # that are open


@contextmanager
def memory_kept() -> Iterator[None]:
    """A block in which the process keeps the memory that it frees; the outermost one returns it to the system.

    Keeps nothing with another C library than GNU's. Raises InputError where the memory of a GPU does not suffice.
    """
    global blocks
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:  # macOS, Windows
        library = None
    for setting, value in KEEPING.items() if library else ():
        library.mallopt(setting, value)
    blocks += 1
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(f"{FULL} ({str(error).partition('. ')[0]})") from None
    finally:
        blocks -= 1
        if library and not blocks:
            for setting, value in USUAL.items():
                library.mallopt(setting, value)
            library.malloc_trim(0)


def channels_last(video: torch.Tensor) -> torch.Tensor:
    """The same frames (B, Tv, 3, S, S), with the colours last in memory: convolutions are faster."""
    B, Tv = video.shape[:2]
    return video.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (B, Tv))
