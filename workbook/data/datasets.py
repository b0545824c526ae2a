"""One record per dataset with all facts about it, and the way from a dataset's name to its store.

A new dataset is a record in `DATASETS` and a function that reads its files: docs/extending.md has an example. The toy
datasets join the table when `workbook.toy` is imported.

A dataset of clips is a folder of films and sounds; making its store takes minutes to hours. A dataset of features is a
file of arrays; its store takes seconds and is made when it is needed, and again when the file has changed.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import pandas as pd

import workbook
from workbook import InputError
from workbook.data.build import build_store
from workbook.data.features import is_current, read_npz, write_features
from workbook.data.films import read_films
from workbook.data.pickles import PICKLES, read_pickle
from workbook.data.ravdess import EMOTIONS, find_trials
from workbook.data.store import Store, read_json
from workbook.files import folder_lock

log = logging.getLogger(__name__)

# The values of `Dataset.needs` and their checks.
ROOTS = {"folder": Path.is_dir, "file": Path.is_file, "file or folder": Path.exists}

# Clips: section IV of the paper, and the batch size of the authors' opts.py. Features have no frames; the rest is from
# MULT's code, which section IV.2 follows.
USUAL = {
    "clips": {
        "epochs": 100,
        "batch_size": 8,
        "learning_rate": 0.04,
        "image_size": 224,
        "frames": 15,
        "pretrained": "none",
        "frame_epochs": 10,
    },
    "features": {
        "epochs": 40,
        "batch_size": 24,
        "learning_rate": 0.001,
        "image_size": 0,
        "frames": 0,
        "pretrained": "none",
        "frame_epochs": 0,
    },
}


@dataclass(frozen=True)
class Dataset:
    """All facts about a dataset. Its `root` is the folder of its clips, or the file of its features."""

    title: str  # in figures and messages
    kind: Literal["clips", "features"]
    read: Callable  # clips: (root, protocol) -> (trials, problems) as `find_trials`; features: root -> Features
    fold_schemes: tuple[str, ...] = ("groups",)  # those that fit; the first is the default
    protocols: tuple[str, ...] = ("paper", "mult")  # those that fit; the first is the default
    names: tuple[str, ...] = ()  # of the classes; () = its files name them, or it has scores
    classes: tuple[int, ...] = ()  # allowed numbers of classes, counted from the last of `names`; the first is default
    defaults: dict[str, Any] = field(default_factory=dict)  # of other parameters, where they differ from USUAL
    needs: str = ""  # what data_root must be, one of ROOTS; "" = a missing dataset is made
    source: str = ""  # where to get it: the end of a sentence
    locate: Callable = lambda path: path  # data_root -> root
    make: Callable | None = None  # root -> None; makes the dataset where it is missing
    truth: Callable | None = None  # root -> the known truth of each clip, a table with a column `clip`
    reachable: Callable | None = None  # number of classes -> {condition: {measure: its best possible value}}
    frame_labels: Callable | None = None  # (root, clips of a store, frames) -> (N, frames) str: what each frame shows
    paper_folds: str = ""  # the fold scheme of the paper's numbers

    def __post_init__(self):
        first = {"classes": (*self.classes, 0)[0], "fold_scheme": self.fold_schemes[0], "protocol": self.protocols[0]}
        object.__setattr__(self, "defaults", USUAL[self.kind] | first | self.defaults)

    def check_root(self, path: Path) -> None:
        """Raises InputError where data_root is not what the dataset needs."""
        if self.needs and not ROOTS[self.needs](path):
            raise InputError(
                f"data_root is {path}, which is no {self.needs}; give the one that holds {self.title} "
                f"(a relative path starts at {workbook.ROOT}){self.source and '; '}{self.source}"
            )


def _pickle(path: Path) -> Path:
    """The pickle at `path`, or the only one with a known name in that folder."""
    found = [path / name for name in PICKLES if (path / name).exists()]
    if len(found) > 1:
        raise InputError(f"{path} holds {', '.join(file.name for file in found)}: give one of these files as data_root")
    if not found and not path.is_file() and path.suffix != ".pkl":
        raise InputError(f"{path} holds no pickle of MOSEI or MOSI ({', '.join(PICKLES)}): see docs/features.md")
    return found[0] if found else path


def _npz(path: Path) -> Path:
    """The .npz at `path`; the user must give one."""
    if path.suffix != ".npz":
        raise InputError("dataset 'features' is a file of your own: give the path of an .npz as data_root")
    return path


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
        locate=_pickle,
        paper_folds="own",
    ),
    "features": Dataset(
        title="features of your own",
        kind="features",
        read=read_npz,
        fold_schemes=("groups", *BY_ACTOR, "clips"),
        protocols=("mult", "paper"),
        needs="file",
        source="docs/features.md says what such a file holds",
        locate=_npz,
    ),
}


def ensure_store(dataset: str, data_root: Path | str | None = None, **settings) -> Store:
    """The store of a dataset, ready to be read.

    An existing store of clips is opened without a look at the corpus. A missing one is made for the toy corpus; for
    real clips InputError gives the command that makes it. A store of features is made where it is missing or its file
    has changed.

    settings : as in `store_path`
    """
    path, source = store_path(dataset, data_root, **settings), DATASETS[dataset]
    if source.kind == "clips" and path.exists():
        return Store.open(path)
    if source.kind == "clips" and not source.make:
        given = {"dataset": dataset, "data_root": corpus_root(dataset, data_root)} | settings
        raise InputError(
            f"there is no store of {dataset} with {settings['frames']} frames of {settings['image_size']} pixels at "
            f"{path}; make it with: papermill notebooks/preprocess.ipynb outputs/preprocess.ipynb "
            + " ".join(f"-p {name} {quote(str(value))}" for name, value in given.items())
        )
    return preprocess(dataset, data_root, **settings)


def preprocess(
    dataset: str,
    data_root: Path | str | None = None,
    *,
    workers: int | None = None,
    prepare: Callable | None = None,
    progress: bool = True,
    **settings,
) -> Store:
    """The store of a dataset: made, continued after an interruption, or only opened where its files have not changed.

    workers : processes that prepare clips, by default one per core        prepare : as in `build_store`
    settings : as in `store_path`
    Raises InputError where the corpus is missing and cannot be made.
    """
    path, source = store_path(dataset, data_root, **settings), DATASETS[dataset]
    root = ensure_corpus(dataset, data_root)
    with folder_lock(path):
        if source.kind == "clips":
            trials, problems = source.read(root, protocol=settings.get("protocol", "paper"))
            names = list(source.names or trials.sort_values("label")["emotion"].unique())
            making = {"workers": workers, "prepare": prepare, "progress": progress}
            return build_store(path, trials, problems, names=names, **making, **settings)
        if is_current(path, root):
            return Store.open(path)
        log.info("making the store %s of the features in %s", path, root)
        return write_features(path, source.read(root), root)


def current_fingerprint(dataset: str, data_root: Path | str | None = None, **settings) -> str | None:
    """The fingerprint of a dataset's store; None where there is no store, "" where its file has changed since.

    settings : as in `store_path`
    """
    path = store_path(dataset, data_root, **settings)
    fingerprint = read_json(path / "manifest.json").get("fingerprint")
    changed = DATASETS[dataset].kind == "features" and not is_current(path, corpus_root(dataset, data_root))
    return "" if fingerprint and changed else fingerprint


def find_clips(
    dataset: str, data_root: Path | str | None = None, protocol: str = "paper"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials and the problems of a dataset of clips, as `find_trials` returns them. InputError for features."""
    source = DATASETS[dataset]
    if source.kind == "features":
        raise InputError(f"{dataset} comes as features and needs no preparation: train.ipynb makes its store")
    return source.read(ensure_corpus(dataset, data_root), protocol=protocol)


def ensure_corpus(dataset: str, data_root: Path | str | None = None) -> Path:
    """The folder or file of a dataset; a missing toy dataset is made."""
    root, make = corpus_root(dataset, data_root), DATASETS[dataset].make
    if make:
        with folder_lock(root):
            make(root)
    return root


def store_path(
    dataset: str,
    data_root: Path | str | None = None,
    *,
    frames: int | None = None,
    image_size: int | None = None,
    protocol: str = "paper",
    audio_features: str = "mfcc",
) -> Path:
    """The folder of a store: one per file of features, or per corpus and these four settings.

    frames, image_size, protocol, audio_features : as in `build_store`, for clips only
    """
    root = corpus_root(dataset, data_root)
    if DATASETS[dataset].kind == "features":
        return workbook.DATA / "stores" / f"{dataset}-{_tag(f'{root}')}"
    origin = f"{root} {protocol}" + (f" {audio_features}" if audio_features != "mfcc" else "")
    return workbook.DATA / "stores" / f"{dataset}-{frames}x{image_size}-{_tag(origin)}"


def _tag(origin: str) -> str:
    return hashlib.sha256(os.fsencode(origin)).hexdigest()[:6]


def corpus_root(dataset: str, data_root: Path | str | None = None) -> Path:
    """The folder of clips or the file of features of a dataset, at `data_root` or data/<dataset>.

    Raises InputError for an unknown dataset, and where no file, or more than one, fits.
    """
    if dataset not in DATASETS:
        raise InputError(f"there is no dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    path = (Path(data_root).expanduser() if data_root else workbook.DATA / dataset).resolve()
    return DATASETS[dataset].locate(path)


def truth(dataset: str, data_root: Path | str | None = None) -> pd.DataFrame | None:
    """The known truth of each clip of a toy dataset, indexed by its name; None for a real dataset."""
    known = DATASETS[dataset].truth
    return known(corpus_root(dataset, data_root)).set_index("clip", drop=False) if known else None
