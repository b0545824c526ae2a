"""How the maps of a batch of faces lie in memory, and that this memory stays with the process.

These maps are large. Linux's allocator gives every large block back to the system when it is freed. A step then waits
longer for fresh pages, which the system must clear, than for some of its layers.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of settings, from malloc.h
USUAL = {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 1024}  # blocks mapped at most, free bytes on top of the heap
KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}  # no block on its own, and nothing given back


@contextmanager
def memory_kept() -> Iterator[None]:
    """In its block memory that is freed stays with the process; at its end what is free goes back to the system.

    Does nothing where the C library is not that of GNU/Linux.
    """
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        yield
        return
    for setting, value in KEEPING.items():
        library.mallopt(setting, value)
    try:
        yield
    finally:
        for setting, value in USUAL.items():
            library.mallopt(setting, value)
        library.malloc_trim(0)


def channels_last(video: torch.Tensor) -> torch.Tensor:
    """The same frames (B, Tv, 3, S, S) with the colours last in memory: convolutions run faster on them."""
    B, Tv = video.shape[:2]
    return video.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (B, Tv))
