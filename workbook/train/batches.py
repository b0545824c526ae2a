"""Rows of a store as batches of tensors on a device."""

import logging
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from warnings import catch_warnings

import numpy as np
import pandas as pd
import torch

from workbook import InputError
from workbook.data.folds import split_rows
from workbook.data.ravdess import EMOTIONS
from workbook.data.store import Store
from workbook.task import Classification, Sentiment, Task

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # audio, video, labels
log = logging.getLogger(__name__)
Scale = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of every channel, shaped to fit a batch


@dataclass(eq=False)
class Clips:
    """Some clips of a store, ready to be batched.

    rows : (N,) positions in the store      labels : (N,) labels of these rows for the task
    modalities : those to read; of the other one a batch has a single zero per clip
    scales : modality -> mean and deviation that its features are standardised with; others stay unchanged
    The arrays are memory-mapped, and read batch by batch.
    """

    store: Store
    rows: np.ndarray
    labels: torch.Tensor
    task: Task
    device: str | torch.device = "cpu"
    modalities: Sequence[str] = ("audio", "video")
    scales: dict[str, Scale] = field(default_factory=dict)

    def __post_init__(self):
        self.rows, self.device = np.asarray(self.rows), torch.device(self.device)
        self.labels = torch.tensor(np.array(self.labels), dtype=self.task.dtype)
        self.table = self.store.clips.iloc[self.rows].reset_index(drop=True)
        self._on_device: dict[str, torch.Tensor] = {}  # modality -> the stored values of all these clips

    def keep_on_device(self) -> None:
        """Copies the stored values to a GPU, if they fit into half of its free memory (3.25 GB of RAVDESS do)."""
        if self.device.type != "cuda" or self._on_device:
            return
        arrays = {name: getattr(self.store, name) for name in self.modalities}
        needed = sum(array[:1].nbytes * len(self) for array in arrays.values())
        if needed > torch.cuda.mem_get_info(self.device)[0] / 2:
            log.info("the GPU has no room for %.1f GB of clips: each batch is copied when its turn comes", needed / 1e9)
            return
        self._on_device = {name: rows_of(array, self.rows).to(self.device) for name, array in arrays.items()}

    @property
    def has_frames(self) -> bool:
        """Whether video is read and consists of frames, not of features."""
        return "video" in self.modalities and self.store.video.ndim == 5

    @property
    def complete(self) -> bool:
        """Whether every clip has both modalities and both are read."""
        return len(self.modalities) == 2 and bool(self.table.has_audio.all() and self.table.has_video.all())

    @property
    def steps(self) -> dict[str, int]:
        """The number of time steps of each modality; 1 of one that is not read."""
        steps = {"audio": self.store.audio.shape[-1], "video": self.store.video.shape[1]}
        return {name: count if name in self.modalities else 1 for name, count in steps.items()}

    def where(self, kept: pd.Series) -> "Clips":
        """The clips for which `kept` (N,) is True."""
        kept = np.array(kept)
        return replace(self, rows=self.rows[kept], labels=self.labels[kept])

    @property
    def with_both(self) -> "Clips":
        """The clips that have both modalities."""
        return self.where(self.table.has_audio & self.table.has_video)

    def named(self, clip: str) -> "Clips":
        """The clip with this name alone."""
        return self.where(self.table["clip"] == clip)

    def __repr__(self) -> str:
        return f"{len(self)} clips of {name_actors(self.table)}"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: torch.Tensor) -> Batch:
        """Audio (B, Ca, Ta), video (B, Tv, 3, S, S) in [0, 1] or (B, Tv, Cv), labels (B,) of `chosen` clips (B,)."""
        return self.audio_of(chosen), self.video_of(chosen), self.labels[chosen].to(self.device)

    def audio_of(self, chosen: torch.Tensor) -> torch.Tensor:
        """The audio of the chosen clips, (B, Ca, Ta)."""
        return self._standardised("audio", self._read("audio", chosen), chosen)

    def video_of(self, chosen: torch.Tensor) -> torch.Tensor:
        """The video of the chosen clips, (B, Tv, 3, S, S) in [0, 1] or (B, Tv, Cv)."""
        return self._standardised("video", as_input(self._read("video", chosen)), chosen)

    def _read(self, modality: str, chosen: torch.Tensor) -> torch.Tensor:
        """The stored values of the chosen clips; a single zero each for a modality that is not read."""
        if modality not in self.modalities:
            stored = getattr(self.store, modality)
            return torch.zeros((len(chosen), *[1] * (stored.ndim - 1)), device=self.device)
        if self._on_device:
            return self._on_device[modality][chosen.to(self.device)]
        return rows_of(getattr(self.store, modality), self.rows[chosen.numpy()]).to(self.device)

    def _standardised(self, modality: str, values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Features standardised with the moments of the training split; zeros, the mean, for all that is missing."""
        if modality not in self.scales:
            return values
        mean, deviation = (torch.from_numpy(moment).to(self.device) for moment in self.scales[modality])
        present = torch.from_numpy(self.table[f"has_{modality}"].to_numpy()[chosen.numpy()])  # True = present
        return torch.nan_to_num((values - mean) / deviation * present.to(self.device)[:, None, None])

    def chunks(self, size: int, order: torch.Tensor | None = None) -> Sequence[torch.Tensor]:
        """The positions of all clips, `size` at a time, in `order` (N,) or in their own.

        A last batch of one clip joins the one before: batch norm cannot train on one clip with one step.
        """
        order = torch.arange(len(self)) if order is None else order
        sizes = [size] * (len(order) // size) + [len(order) % size] * (len(order) % size > 0)
        if len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size + 1]
        return order.split(sizes)

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[Batch]:
        """All clips in batches, divided as in `chunks`."""
        return (self[chosen] for chosen in self.chunks(size, order))


def rows_of(array: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """A copy of some rows (B,) of an array. Of an array on disk, nothing else stays in this process's memory."""
    copy, file = torch.from_numpy(array[rows]), array.base
    while isinstance(file, np.ndarray):  # of an array in another shape
        file = file.base
    if isinstance(file, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        file.madvise(mmap.MADV_DONTNEED)
    return copy


def splits(
    store: Store,
    fold: int,
    classes: int,
    modalities: Sequence[str],
    device: str = "cpu",
    *,
    fold_scheme: str = "paper",
) -> dict[str, Clips]:
    """The clips of each split of a fold, {"train", "validation", "test"}; no actor is in two of them.

    classes : as in `task_and_labels`      fold_scheme : as in `workbook.data.folds.folds`
    Leaves out clips without any of the `modalities` and, with 7 classes, the neutral ones. Raises InputError where a
    split holds no clip.

    The original code has two rows of a clip that comes as an `01-` and an `02-` file. With protocol `authors` such a
    clip is in the training split twice, so that an epoch is as long as theirs.
    """
    task, labels = task_and_labels(store, classes)
    usable = store.clips[[f"has_{name}" for name in modalities]].any(axis=1).to_numpy()
    if isinstance(task, Classification):
        usable = usable & (labels >= 0)
    rows = {split: rows[usable[rows]] for split, rows in split_rows(store.clips, fold, fold_scheme).items()}
    for split, clips in rows.items():
        if not len(clips):
            raise InputError(
                f"fold {fold} of fold_scheme '{fold_scheme}' finds no {split} clips with {' or '.join(modalities)} "
                f"in this corpus of {name_actors(store.clips)}: choose another fold or add actors"
            )
    if "copies" in store.clips:
        rows["train"] = np.repeat(rows["train"], store.clips["copies"].iloc[rows["train"]])
    scales = {}
    if store.manifest.get("standardise"):
        scales = {name: scale(store, name, rows["train"]) for name in modalities}
    return {
        split: Clips(store, clips, labels[clips], task, device, modalities, scales) for split, clips in rows.items()
    }


def split_table(splits: dict[str, Clips]) -> pd.DataFrame:
    """One row per split: how many clips it has, how many of them have sound and picture, and whose they are."""
    rows = {
        split: (len(clips), clips.table.has_audio.sum(), clips.table.has_video.sum(), name_actors(clips.table))
        for split, clips in splits.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["clips", "with sound", "with picture", "who"])


def task_and_labels(store: Store, classes: int = 0) -> tuple[Task, np.ndarray]:
    """The task of a store, and each clip's label (N,). In classification a negative label means: leave the clip out.

    classes : how many of the store's classes to keep, from the last: 7 of RAVDESS leave neutral out; 0 keeps all
    """
    labels = store.clips["label"].to_numpy()
    if store.manifest.get("task") == "sentiment":
        return Sentiment(), labels
    names = tuple(store.manifest.get("names", EMOTIONS))  # RAVDESS's stores name none
    if not 0 <= classes <= len(names):
        raise InputError(f"there is no task of {classes} classes: the store names {len(names)}")
    return Classification(names[-classes:]), labels - (len(names) - (classes or len(names)))


def scale(store: Store, modality: str, rows: np.ndarray) -> Scale:
    """Mean and standard deviation of every channel over all values of the `rows` that are not missing (NaN).

    A channel that never changes gets the deviation 1, and one without any value in these rows an infinite one.
    """
    present = np.unique(rows[store.clips[f"has_{modality}"].to_numpy()[rows]])
    values = np.asarray(getattr(store, modality)[present], dtype=np.float64)  # audio (n, C, T), video (n, T, C)
    others = (0, 2) if modality == "audio" else (0, 1)
    with catch_warnings(action="ignore", category=RuntimeWarning):  # a channel of NaN
        mean, deviation = (moment(values, axis=others, keepdims=True) for moment in (np.nanmean, np.nanstd))
    deviation[deviation < 1e-6 * (1 + np.abs(mean))] = 1
    mean, deviation = np.nan_to_num(mean), np.nan_to_num(deviation, nan=np.inf)
    return mean.astype(np.float32), deviation.astype(np.float32)


def name_actors(clips: pd.DataFrame) -> str:
    """The actors of some clips, such as `actors 5 10 16 19`; their number where there are more than 24."""
    names = sorted(set(clips["actor"]))
    return f"actors {' '.join(map(str, names))}" if len(names) <= 24 else f"{len(names)} actors"


def as_input(video: torch.Tensor) -> torch.Tensor:
    """Stored video as input of a network: frames (B, Tv, S, S, 3) uint8 to (B, Tv, 3, S, S) in [0, 1].

    Features (B, Tv, C) float32 stay unchanged.
    """
    return video.movedim(-1, 2) / 255 if video.dtype == torch.uint8 else video
