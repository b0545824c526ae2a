"""Batches from a memory-mapped store: how many per second, and the memory as the store grows."""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.synthetic import all_clips, synthetic_store
from benchmarks.timing import memory

GROWTH, BATCH = (1, 2, 4), 8


def measure(options) -> dict:
    """A shuffled pass over stores of growing length: batches per second, own memory, memory of the file.

    `own MB` is the most memory that the process took in addition: it should not grow. `file MB` are pages of the store
    that the system keeps while it has room.
    """
    size, least = options.image_size or 224, options.clips or 64
    batch, rows = options.batch or BATCH, {}
    for growth in GROWTH:
        with tempfile.TemporaryDirectory() as folder:
            clips = all_clips(synthetic_store(growth * least, options.frames, size, Path(folder)), options.device)
            rows[growth * least] = one_pass(clips, batch)
    return {"settings": {"batch": batch, "frames": options.frames, "image_size": size}, "stores": rows}


def one_pass(clips, batch: int) -> dict[str, float]:
    """All clips once, shuffled."""
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
    own, file = memory("RssAnon"), memory("RssFile")
    most, begin = own, time.perf_counter()
    for _ in clips.batches(batch, order):
        most = max(most, memory("RssAnon"))
    seconds = time.perf_counter() - begin
    batches = -(-len(clips) // batch)
    return {"batches per second": batches / seconds, "own MB": most - own, "file MB": memory("RssFile") - file}
