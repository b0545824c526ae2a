"""Stores of random clips, of any number and size."""

from pathlib import Path

import numpy as np
import pandas as pd

from workbook.data.ravdess import EMOTIONS
from workbook.data.store import Store
from workbook.task import Classification
from workbook.train.batches import Clips

CLASSES, STEPS = len(EMOTIONS), 156


def synthetic_store(clips: int, frames: int, image_size: int, folder: Path | None = None) -> Store:
    """Random faces and MFCCs: in memory, or, where a folder is given, on the disk and memory-mapped."""
    rng = np.random.default_rng(0)
    video = _empty(folder, "faces", (clips, frames, image_size, image_size, 3), np.uint8)
    audio = _empty(folder, "mfcc", (clips, 10, STEPS), np.float32)
    for row in range(clips):
        video[row] = rng.integers(0, 256, video.shape[1:], np.uint8)
        audio[row] = rng.standard_normal(audio.shape[1:], np.float32)
    if folder:
        video, audio = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("faces", "mfcc"))
    table = pd.DataFrame({"clip": np.arange(clips).astype(str), "actor": 1, "label": np.arange(clips) % CLASSES})
    table = table.assign(has_audio=True, has_video=True)
    return Store(folder or Path(), table, video, audio, pd.DataFrame(), {"fingerprint": "synthetic"})


def all_clips(store: Store, device: str = "cpu") -> Clips:
    """Every clip of a store, ready to be batched."""
    return Clips(store, np.arange(len(store)), store.clips["label"].to_numpy(), Classification(EMOTIONS), device)


def _empty(folder: Path | None, name: str, shape: tuple[int, ...], dtype) -> np.ndarray:
    if folder is None:
        return np.empty(shape, dtype)
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
