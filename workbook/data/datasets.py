"""One record per dataset with all facts about it, and a dataset at its place on disk: its clips, truth and store.

A new dataset is a record in `DATASETS` and a function that reads its files: docs/extending.md has an example. The toy
datasets join the table when `workbook.toy` is imported.

A dataset of clips is a folder of films and sounds; making its store takes minutes to hours. A dataset of features is a
file of arrays; its store takes seconds and is made when it is needed, and again when the file has changed.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

import workbook
from workbook import InputError
from workbook.data import build, features
from workbook.data.films import read_films
from workbook.data.pickles import PICKLES, read_pickle
from workbook.data.ravdess import EMOTIONS, find_trials
from workbook.data.store import Store
from workbook.files import folder_lock, read_json
from workbook.text import papermill_command

log = logging.getLogger(__name__)

# The values of `Dataset.needs` and their checks.
ROOTS = {"folder": Path.is_dir, "file": Path.is_file, "file or folder": Path.exists}

# Clips: section IV of the paper, and the batch size of the authors' opts.py. Features: MULT's code, which section IV.2
# follows; they have no frames.
USUAL = {
    "clips": {"epochs": 100, "batch_size": 8, "learning_rate": 0.04, "pretrained": "none"}
    | {"image_size": 224, "frames": 15, "frame_epochs": 10},
    "features": {"epochs": 40, "batch_size": 24, "learning_rate": 0.001, "pretrained": "none"}
    | {"image_size": 0, "frames": 0, "frame_epochs": 0},
}


@dataclass(frozen=True)
class Dataset:
    """All facts about a dataset. Its `root` is the folder of its clips, or the file of its features."""

    title: str  # in figures and messages
    kind: Literal["clips", "features"]
    read: Callable  # clips: (root, protocol) -> (trials, problems) as `find_trials`; features: root -> Features
    fold_schemes: tuple[str, ...] = ("groups",)  # that suit it; the first is the default
    protocols: tuple[str, ...] = ("paper", "mult")  # that suit it; the first is the default
    names: tuple[str, ...] = ()  # of the classes; () = its files name them, or it has scores
    classes: tuple[int, ...] = ()  # allowed numbers of classes, counted from the last of `names`; the first is default
    defaults: dict[str, Any] = field(default_factory=dict)  # of other parameters, where they differ from USUAL
    needs: str = ""  # what data_root must be, one of ROOTS; "" = a missing dataset is made
    source: str = ""  # where to get it: the end of a sentence
    files: tuple[str, ...] = ()  # names of its file, where data_root may be the folder that holds it
    make: Callable | None = None  # root -> None; makes a dataset with a known truth, and writes this to `truth_path`
    reachable: Callable | None = None  # number of classes -> {condition: {measure: its best possible value}}
    frame_labels: Callable | None = None  # (root, clips of a store, frames) -> (N, frames) str: what each frame shows
    paper_folds: str = ""  # the fold scheme of the paper's numbers
    is_acted: bool = False  # True = actors show emotions that they were asked for

    def __post_init__(self):
        first = {"classes": (*self.classes, 0)[0], "fold_scheme": self.fold_schemes[0], "protocol": self.protocols[0]}
        object.__setattr__(self, "defaults", USUAL[self.kind] | first | self.defaults)

    def check_root(self, path: Path) -> None:
        """Raises InputError where data_root is not what the dataset needs."""
        if self.needs and not ROOTS[self.needs](path):
            raise InputError(
                f"data_root is {path}, which is no {self.needs}; give the one that holds {self.title} "
                f"(a relative path starts at {workbook.ROOT}); {self.source}"
            )

    def locate(self, path: Path) -> Path:
        """The root at data_root: `path`, or the only one of `files` in that folder. Raises InputError without it."""
        if not self.files or path.is_file() or path.suffix == Path(self.files[0]).suffix:
            return path
        names = [name for name in self.files if self.make or (path / name).exists()]
        if len(names) != 1:
            raise InputError(
                f"{path} holds {len(names)} of the files {', '.join(self.files)}: give one of them as data_root"
            )
        return path / names[0]


BY_ACTOR = ("paper", "authors", "luna", "loso")  # fold schemes of RAVDESS's 24 actors

DATASETS = {
    "ravdess": Dataset(
        title="RAVDESS",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups", "clips"),
        protocols=("paper", "authors", "mult"),
        names=EMOTIONS,
        classes=(8, 7),
        needs="folder",
        source="`avlib download ravdess` fetches it",
        paper_folds="paper",
        is_acted=True,
    ),
    "films": Dataset(
        title="films of your own",
        kind="clips",
        read=read_films,
        fold_schemes=("groups", "own", "clips"),
        needs="folder",
        source="docs/data.md says what such a folder holds",
    ),
    "mosei": Dataset(
        title="CMU-MOSEI",
        kind="features",
        read=read_pickle,
        fold_schemes=("own", "groups"),
        protocols=("mult", "paper"),
        needs="file or folder",
        source="docs/features.md says where it is found",
        files=PICKLES,
        paper_folds="own",
    ),
    "features": Dataset(
        title="features of your own",
        kind="features",
        read=features.read_npz,
        fold_schemes=("groups", *BY_ACTOR, "clips"),
        protocols=("mult", "paper"),
        needs="file",
        source="docs/features.md says what such a file holds",
    ),
}


@dataclass(frozen=True)
class Corpus:
    """A dataset at its place on disk, with the settings of its store.

    A file of features has one store; a folder of clips has one for each combination of the four settings.
    """

    dataset: str  # a name in DATASETS
    data_root: Path | str | None = None  # the dataset's folder or file; "" or None = data/<dataset>
    frames: int = 0  # of a clip; this and the other settings are as in `build_store`, for clips only
    image_size: int = 0  # pixels
    audio_features: str = "mfcc"
    protocol: str = "paper"

    @property
    def record(self) -> Dataset:
        """All facts about the dataset."""
        return DATASETS[self.dataset]

    @property
    def _place(self) -> Path:
        return (Path(self.data_root).expanduser() if self.data_root else workbook.DATA / self.dataset).resolve()

    @property
    def root(self) -> Path:
        """The folder of clips or the file of features. Raises InputError where not exactly one file fits."""
        return self.record.locate(self._place)

    @property
    def store_path(self) -> Path:
        """The folder of the store, whether it exists or not."""
        name, origin = self.dataset, f"{self.root}"
        if self.record.kind == "clips":
            name += f"-{self.frames}x{self.image_size}"
            origin += f" {self.protocol}" + f" {self.audio_features}" * (self.audio_features != "mfcc")
        return workbook.DATA / "stores" / f"{name}-{hashlib.sha256(os.fsencode(origin)).hexdigest()[:6]}"

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the store; None where there is no store, "" where its file has changed since."""
        fingerprint = read_json(self.store_path / "manifest.json").get("fingerprint")
        return fingerprint and (fingerprint if self.is_current else "")

    @property
    def is_current(self) -> bool:
        """Whether the store was made of the files as they are now; also True where these are away, and of toy clips."""
        is_toy = self.record.kind == "clips" and self.record.make
        if is_toy or not self.root.exists():
            return True
        plan = read_json(self.store_path / "manifest.json").get("plan")
        if self.record.kind == "features":
            return plan == features.plan_of(self.root)
        return plan == build.plan_of(*self.find_clips(), self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        """The settings of a store of clips, as `build_store` has them."""
        return {name: getattr(self, name) for name in ("frames", "image_size", "protocol", "audio_features")}

    def truth(self) -> pd.DataFrame | None:
        """The known truth of each clip of a toy dataset, indexed by its name; None for a real dataset."""
        return read_truth(self.root).set_index("clip", drop=False) if self.record.make else None

    def find_clips(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The trials and the problems of a dataset of clips, as `find_trials` returns them. InputError for features."""
        if self.record.kind == "features":
            raise InputError(f"{self.dataset} comes as features and needs no preparation: train.ipynb makes its store")
        self._make()
        self.record.check_root(self._place)
        return self.record.read(self.root, protocol=self.protocol)

    def open_store(self) -> Store:
        """The store, ready to be read.

        Stores of features and of the toy corpora are made where they are missing or not current. For real clips,
        InputError gives the command that does it.
        """
        is_made = self.store_path.exists()
        if self.record.kind == "clips" and is_made and self.is_current:
            return Store.open(self.store_path)
        if self.record.kind == "features" or self.record.make:
            return self.preprocess()
        self.record.check_root(self._place)
        reason = f"there is no store of {self.dataset} with {self.frames} frames of {self.image_size} pixels"
        if is_made:
            reason = f"the clips in {self.root} have changed since their store was made"
        command = papermill_command("preprocess", asdict(self) | {"data_root": self.root})
        raise InputError(f"{reason} at {self.store_path}; make it{' again' * is_made} with: {command}")

    def preprocess(self, workers: int | None = None, prepare: Callable | None = None, progress: bool = True) -> Store:
        """The store: made, continued after an interruption, or only opened where its files have not changed.

        workers : processes that prepare clips, by default one per core        prepare : as in `build_store`
        Raises InputError where the dataset is missing and cannot be made.
        """
        with folder_lock(self.store_path):
            if self.record.kind == "clips":
                trials, problems = self.find_clips()
                names = list(self.record.names or trials.sort_values("label")["emotion"].unique())
                options = {"names": names, "workers": workers, "prepare": prepare, "progress": progress}
                return build.build_store(self.store_path, trials, problems, **self._settings, **options)
            self._make()
            if self.store_path.exists() and self.is_current:
                store = Store.open(self.store_path)
            else:
                self.record.check_root(self._place)
                log.info("making the store %s of the features in %s", self.store_path, self.root)
                store = features.write_features(self.store_path, self.record.read(self.root), self.root)
            for sentence in features.missing_values(store):
                log.warning("%s: %s", self.root, sentence)
            return store

    def _make(self) -> None:
        """Makes a toy dataset that is missing."""
        if self.record.make:
            with folder_lock(self.root):
                if not (self.root.exists() and truth_path(self.root).exists()):
                    log.info("making the %s in %s", self.record.title, self.root)
                    self.record.make(self.root)


def truth_path(root: Path) -> Path:
    """Where the truth of a toy dataset is; root : its folder of clips, or its file of features."""
    return root / "truth.parquet" if root.is_dir() else root.with_suffix(".truth.parquet")


def read_truth(root: Path) -> pd.DataFrame:
    """The truth of a toy dataset, one row per clip: see `workbook.toy`."""
    return pd.read_parquet(truth_path(root))


def count_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """How many trials each emotion has, and how many of them have sound and picture.

    trials : as `Corpus.find_clips`
    """
    table = trials.assign(sound=trials["audio_path"] != "", picture=trials["video_path"] != "", trials=1)
    return table.groupby("emotion", sort=False)[["trials", "sound", "picture"]].sum()
