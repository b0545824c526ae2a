"""Rows of a store as batches of tensors on a device."""

import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from avlib import InputError
from avlib.data.folds import split_rows
from avlib.data.ravdess.trials import EMOTIONS, relabel
from avlib.data.store import Store
from avlib.task import Classification, Sentiment, Task

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Scale = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of every channel, shaped to fit a batch


class Clips:
    """Some clips of a store, ready to be batched.

    rows : (N,) positions in the store      labels : (N,) what the task asks for, of each of those rows
    modalities : those that will be read; zeros of the smallest shape stand for the other one, which stays on disk
    scales : by modality, what features are standardised by; a modality that is not in it is left as it is
    On a GPU the arrays are copied to its memory once, frames as uint8 (all of RAVDESS takes 3.25 GB); on a CPU they
    stay on disk, memory-mapped.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        labels: np.ndarray,
        task: Task,
        device: str | torch.device = "cpu",
        modalities: Sequence[str] = ("audio", "video"),
        scales: dict[str, Scale] | None = None,
    ):
        self.store, self.modalities, self.task, self.scales = store, modalities, task, scales or {}
        self.rows, self.device = np.asarray(rows), torch.device(device)
        self.table = store.clips.iloc[self.rows].reset_index(drop=True)
        self.labels = torch.tensor(np.array(labels), dtype=task.dtype)

    @cached_property
    def audio(self) -> np.ndarray | torch.Tensor:
        """The audio of the whole store, or, on a GPU, of these clips."""
        return self._held("audio", self.store.audio)

    @cached_property
    def video(self) -> np.ndarray | torch.Tensor:
        """The video of the whole store, or, on a GPU, of these clips."""
        return self._held("video", self.store.video)

    def _held(self, modality: str, array: np.ndarray) -> np.ndarray | torch.Tensor:
        """The array where it is; on a GPU the rows of these clips, copied there when a batch is first asked for."""
        if modality not in self.modalities:
            array = np.zeros((len(self.store), *[1] * (array.ndim - 1)), array.dtype)
        return rows_of(array, self.rows).to(self.device) if self.device.type == "cuda" else array

    def where(self, kept: pd.Series) -> "Clips":
        """Those clips for which `kept` (N,) is True."""
        kept = np.array(kept)
        return Clips(
            self.store, self.rows[kept], self.labels[kept], self.task, self.device, self.modalities, self.scales
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: torch.Tensor) -> Batch:
        """Audio (B, Ca, Ta), video (B, Tv, 3, S, S) in [0, 1] or (B, Tv, Cv), labels (B,) of `chosen` clips (B,)."""
        if self.device.type == "cuda":
            where = chosen.to(self.device)
            audio, video = self.audio[where], self.video[where]
        else:
            rows = self.rows[chosen.numpy()]
            audio, video = rows_of(self.audio, rows), rows_of(self.video, rows)
        video = as_seen(video)
        audio, video = self._standardised("audio", audio, chosen), self._standardised("video", video, chosen)
        return audio, video, self.labels[chosen].to(self.device)

    def _standardised(self, modality: str, values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The features, with mean 0 and deviation 1 in every channel of the training part; zeros where absent."""
        if modality not in self.scales:
            return values
        mean, deviation = (torch.from_numpy(part).to(self.device) for part in self.scales[modality])
        there = torch.from_numpy(self.table[f"has_{modality}"].to_numpy()[chosen.numpy()])  # True = present
        return (values - mean) / deviation * there.to(self.device)[:, None, None]

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[Batch]:
        """All clips in batches of `size`, in `order` (N,) or as they stand; of one clip that is left over, with it.

        A batch of one clip has no variance, where a clip is one step long, and cannot be normalised in training.
        """
        order = torch.arange(len(self)) if order is None else order
        sizes = [size] * (len(order) // size) + [len(order) % size] * (len(order) % size > 0)
        if len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size + 1]
        for chosen in order.split(sizes):
            yield self[chosen]


def rows_of(array: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """Some rows (B,) of an array, copied. Of one that lies on the disk nothing stays in this process's memory.

    The system still keeps what it has read as long as there is room, so that reading it again costs little.
    """
    copied = torch.from_numpy(array[rows])
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
    return copied


def splits(
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

    classes : 8 or 7 of RAVDESS's emotions; 0 for what the store says of itself
    fold_scheme : as in `avlib.data.ravdess.trials.folds`
    """
    task, labels = task_and_labels(store, classes)
    usable = store.clips[[f"has_{name}" for name in modalities]].any(axis=1).to_numpy()  # True = kept
    if isinstance(task, Classification):
        usable = usable & (labels >= 0)
    rows = {part: rows[usable[rows]] for part, rows in split_rows(store.clips, fold, fold_scheme).items()}
    for part, found in rows.items():
        if not len(found):
            raise InputError(
                f"fold {fold} of fold_scheme '{fold_scheme}' finds no {part} clips with {' or '.join(modalities)} "
                f"in this corpus of {name_actors(store.clips)}: choose another fold or add actors"
            )
    if "copies" in store.clips:
        rows["train"] = np.repeat(rows["train"], store.clips["copies"].iloc[rows["train"]])
    scales = {}
    if store.manifest.get("standardise"):
        there = store.clips.iloc[rows["train"]]
        scales = {name: scale(store, name, rows["train"]) for name in modalities if there[f"has_{name}"].any()}
    return {part: Clips(store, found, labels[found], task, device, modalities, scales) for part, found in rows.items()}


def task_and_labels(store: Store, classes: int = 0) -> tuple[Task, np.ndarray]:
    """What is asked about the clips of a store, and the answer (N,) for each; -1 marks a clip that is left out.

    classes : 8 or 7 of RAVDESS's emotions; 0 for all classes that the store names, or its sentiment
    """
    labels = store.clips["label"].to_numpy()
    if store.manifest.get("task") == "sentiment":
        return Sentiment(), labels
    if "names" in store.manifest:
        return Classification(tuple(store.manifest["names"])), labels
    classes = classes or len(EMOTIONS)
    return Classification(EMOTIONS[-classes:]), relabel(labels, classes)


def scale(store: Store, modality: str, rows: np.ndarray) -> Scale:
    """Mean and standard deviation of every channel over those of `rows` that have the modality, and all their steps.

    A channel that never changes gets the deviation 1.
    """
    there = np.unique(rows[store.clips[f"has_{modality}"].to_numpy()[rows]])
    values = np.asarray(getattr(store, modality)[there], dtype=np.float64)  # audio (n, C, T), video (n, T, C)
    others = (0, 2) if modality == "audio" else (0, 1)
    mean, deviation = (moment(axis=others, keepdims=True) for moment in (values.mean, values.std))
    deviation[deviation < 1e-6 * (1 + np.abs(mean))] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def name_actors(clips: pd.DataFrame) -> str:
    """Who is in the clips, in words: `actors 5 10 16 19`, or how many where there are more than RAVDESS has."""
    names = sorted(set(clips["actor"]))
    return f"actors {' '.join(map(str, names))}" if len(names) <= 24 else f"{len(names)} actors"


def as_seen(video: torch.Tensor) -> torch.Tensor:
    """Stored video as a network takes it: frames (B, Tv, S, S, 3) uint8 to (B, Tv, 3, S, S) in [0, 1].

    Features (B, Tv, C) stay as they are.
    """
    return video.movedim(-1, 2).float() / 255 if video.dtype == torch.uint8 else video


def colours_last(video: torch.Tensor) -> torch.Tensor:
    """The same video (B, Tv, 3, S, S) laid out in memory with the colours last, which convolutions run faster on.

    Features (B, Tv, C) have no colours and stay as they are.
    """
    if video.ndim < 5:
        return video
    B, Tv = video.shape[:2]
    return video.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (B, Tv))
