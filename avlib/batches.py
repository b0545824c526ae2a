"""Rows of a store as batches of tensors on a device."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from avlib import InputError
from avlib.data.ravdess import relabel, split
from avlib.data.store import Store

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Clips:
    """Some clips of a store, ready to be batched.

    rows : (N,) positions in the store      labels : (N,) class of each of those rows
    modalities : those that will be read; zeros of the smallest shape stand for the other one, which stays on disk
    On a GPU the uint8 frames are copied to its memory once (all of RAVDESS takes 3.25 GB); on a CPU they stay on disk,
    memory-mapped.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        labels: np.ndarray,
        device: str | torch.device = "cpu",
        modalities: Sequence[str] = ("audio", "video"),
    ):
        self.store, self.modalities = store, modalities
        self.rows, self.device = np.asarray(rows), torch.device(device)
        self.table = store.clips.iloc[self.rows].reset_index(drop=True)
        self.labels = torch.tensor(np.array(labels), dtype=torch.long)

    @cached_property
    def audio(self) -> np.ndarray | torch.Tensor:
        """MFCCs of the whole store, or, on a GPU, of these clips."""
        return self._held(self.store.audio if "audio" in self.modalities else np.zeros((len(self.store), 10, 1), "f4"))

    @cached_property
    def video(self) -> np.ndarray | torch.Tensor:
        """Frames of the whole store, or, on a GPU, of these clips."""
        return self._held(
            self.store.video if "video" in self.modalities else np.zeros((len(self.store), 1, 1, 1, 3), "u1")
        )

    def _held(self, array: np.ndarray) -> np.ndarray | torch.Tensor:
        """The array where it is; on a GPU the rows of these clips, copied there when a batch is first asked for."""
        return torch.from_numpy(array[self.rows]).to(self.device) if self.device.type == "cuda" else array

    def where(self, kept: pd.Series) -> "Clips":
        """Those clips for which `kept` (N,) is True."""
        kept = np.array(kept)
        return Clips(self.store, self.rows[kept], self.labels[kept], self.device, self.modalities)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: torch.Tensor) -> Batch:
        """Audio (B, 10, Ta), video (B, Tv, 3, S, S) in [0, 1] and labels (B,) of the clips `chosen` (B,)."""
        if self.device.type == "cuda":
            where = chosen.to(self.device)
            audio, frames = self.audio[where], self.video[where]
        else:
            rows = self.rows[chosen.numpy()]
            audio, frames = torch.from_numpy(self.audio[rows]), torch.from_numpy(self.video[rows])
        video = frames.movedim(-1, 2).float() / 255
        return audio, video, self.labels[chosen].to(self.device)

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[Batch]:
        """All clips in batches of `size`, in `order` (N,) or as they stand."""
        order = torch.arange(len(self)) if order is None else order
        for chosen in order.split(size):
            yield self[chosen]


def parts(
    store: Store,
    fold: int,
    classes: int,
    modalities: Sequence[str],
    device: str = "cpu",
    *,
    fold_scheme: str = "paper",
) -> dict[str, Clips]:
    """The clips of each part of a fold, {"train", "validation", "test"}, no actor in two of them.

    Left out are clips without any of the `modalities` and, with 7 classes, the neutral ones. Raises InputError where a
    part holds no clip.

    A store of protocol `authors` says of which clips the original code has two rows, one of the `01-` and one of the
    `02-` file: these are twice in the training part, so that an epoch is as long as theirs. In the other parts every
    clip counts once: to double all of them changes no loss and no accuracy.

    fold_scheme : as in `avlib.data.ravdess.folds`
    """
    labels = relabel(store.clips["label"], classes)
    usable = store.clips[[f"has_{name}" for name in modalities]].any(axis=1).to_numpy() & (labels >= 0)  # True = kept
    rows = {part: rows[usable[rows]] for part, rows in split(store.clips, fold, fold_scheme).items()}
    for part, found in rows.items():
        if not len(found):
            raise InputError(
                f"fold {fold} of fold_scheme '{fold_scheme}' finds no {part} clips with {' or '.join(modalities)} "
                f"in this corpus of actors {sorted(set(store.clips['actor']))}: choose another fold or add actors"
            )
    if "copies" in store.clips:
        rows["train"] = np.repeat(rows["train"], store.clips["copies"].iloc[rows["train"]])
    return {part: Clips(store, found, labels[found], device, modalities) for part, found in rows.items()}


def colours_last(video: torch.Tensor) -> torch.Tensor:
    """The same video (B, Tv, 3, S, S) laid out in memory with the colours last, which convolutions run faster on."""
    B, Tv = video.shape[:2]
    return video.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (B, Tv))
