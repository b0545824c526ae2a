"""From the name of a dataset to its store: where the files lie, and who makes what is missing.

There are two kinds. A dataset of clips is a folder of films and sounds, and its store takes minutes to hours. A dataset
of features is a file of arrays, and its store takes seconds: it is made on the way, and anew when the file has changed.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import pandas as pd

import avlib
from avlib import InputError
from avlib.data.clips.build import build_store
from avlib.data.features.mosei import PICKLES, read_pickle
from avlib.data.features.npz import is_current, read_npz, write_store
from avlib.data.ravdess.trials import find_trials
from avlib.data.store import Store
from avlib.data.toy import mosei as toy_mosei
from avlib.files import folder_lock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipDataset:
    """How a folder of films and sounds is read, and made where it can be."""

    find: Callable  # (root, protocol=) -> (trials, problems)
    make: Callable | None  # root -> None; None for a dataset that only its owners can give

    def locate(self, path: Path) -> Path:
        """The folder that is meant by a path: any is."""
        return path

    def build(self, path: Path, root: Path, *, protocol: str, **how) -> Store:
        """The store at `path` of the clips in `root`, unless it is there and up to date."""
        trials, problems = self.find(root, protocol=protocol)
        return build_store(path, trials, problems, protocol=protocol, **how)


@dataclass(frozen=True)
class FeatureDataset:
    """Which file of arrays is meant by a path, how it is read, and made where it can be."""

    locate: Callable  # path -> file
    read: Callable  # file -> Features
    make: Callable | None  # file -> None; None for a dataset that only its owners can give

    def build(self, path: Path, file: Path, **_) -> Store:
        """The store at `path` of the features in `file`, unless it is there and up to date."""
        if is_current(path, file):
            return Store.open(path)
        log.info("making the store %s of the features in %s", path, file)
        return write_store(path, self.read(file), file)


def _make_toy(root: Path) -> None:
    """Draws the toy corpus into a folder, unless a whole one is there."""
    from avlib.data.toy import corpus as toy  # brings the libraries that write media, which reading a store needs not

    if not (root / "truth.parquet").exists():
        log.info("making the toy corpus in %s: some minutes, once", root)
        toy.make_corpus(root)


def _make_toy_mosei(file: Path) -> None:
    """Draws the toy MOSEI, unless it is there."""
    if not file.exists():
        log.info("making the toy MOSEI in %s", file)
        toy_mosei.make_pickle(file)


def _toy_pickle(path: Path) -> Path:
    return path if path.suffix == ".pkl" else path / PICKLES[0]


def _pickle(path: Path) -> Path:
    """The pickle at `path`, or the only one of a known name in that folder."""
    found = [path / name for name in PICKLES if (path / name).exists()]
    if len(found) > 1:
        raise InputError(f"{path} holds {', '.join(file.name for file in found)}: give one of these files as data_root")
    if not found and not path.is_file() and path.suffix != ".pkl":
        raise InputError(f"{path} holds no pickle of MOSEI or MOSI ({', '.join(PICKLES)}): see docs/features.md")
    return found[0] if found else path


def _npz(path: Path) -> Path:
    """The .npz at `path`; there is none by default."""
    if path.suffix != ".npz":
        raise InputError("dataset 'features' is a file of your own: give the path of an .npz as data_root")
    return path


DATASETS = {
    "toy": ClipDataset(find=find_trials, make=_make_toy),
    "ravdess": ClipDataset(find=find_trials, make=None),
    "toy_mosei": FeatureDataset(locate=_toy_pickle, read=read_pickle, make=_make_toy_mosei),
    "mosei": FeatureDataset(locate=_pickle, read=read_pickle, make=None),
    "features": FeatureDataset(locate=_npz, read=read_npz, make=None),
}
FEATURES = tuple(name for name, source in DATASETS.items() if isinstance(source, FeatureDataset))


def truth(dataset: str, data_root: Path | str | None = None) -> pd.DataFrame | None:
    """What is known of each clip of a toy corpus, by its name, as its own module has it; None of a real one."""
    if dataset == "toy":
        from avlib.data.toy.corpus import truth as known
    elif dataset == "toy_mosei":
        from avlib.data.toy.mosei import truth as known
    else:
        return None
    return known(corpus_root(dataset, data_root)).set_index("clip", drop=False)


def ensure_store(
    dataset: str,
    data_root: Path | str | None = None,
    *,
    frames: int | None = None,
    image_size: int | None = None,
    protocol: str = "paper",
    audio_features: str = "mfcc",
) -> Store:
    """The store of a dataset, ready to be read.

    A store of clips is opened as it is: the corpus is not looked at again. A missing one of the toy corpus is made, the
    corpus too; a missing one of real clips raises InputError with the command that makes it. A store of features is
    made where it is missing, or where its file has changed.

    frames, image_size, protocol, audio_features : of clips; features come as they are
    """
    settings = dict(frames=frames, image_size=image_size, protocol=protocol, audio_features=audio_features)
    path = store_path(dataset, data_root, **settings)
    if dataset not in FEATURES and path.exists():
        return Store.open(path)
    if dataset not in FEATURES and not DATASETS[dataset].make:
        given = {"dataset": dataset, "data_root": corpus_root(dataset, data_root)} | settings
        raise InputError(
            f"there is no store of {dataset} with {frames} frames of {image_size} pixels at {path}; make it with: "
            "papermill notebooks/preprocess.ipynb outputs/preprocess.ipynb "
            + " ".join(f"-p {name} {quote(str(value))}" for name, value in given.items())
        )
    return preprocess(dataset, data_root, **settings)


def preprocess(
    dataset: str,
    data_root: Path | str | None = None,
    *,
    frames: int | None = None,
    image_size: int | None = None,
    protocol: str = "paper",
    audio_features: str = "mfcc",
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """The store of a dataset, made from its files, brought to its end, or opened where nothing has changed since.

    Raises InputError where the corpus is missing and cannot be made.
    """
    settings = dict(frames=frames, image_size=image_size, protocol=protocol, audio_features=audio_features)
    path = store_path(dataset, data_root, **settings)
    root = ensure_corpus(dataset, data_root)
    with folder_lock(path.parent):
        return DATASETS[dataset].build(path, root, **settings, workers=workers, progress=progress)


def ensure_corpus(dataset: str, data_root: Path | str | None = None) -> Path:
    """The folder, or the file, of a dataset; that of a toy dataset is made where it is missing."""
    root, source = corpus_root(dataset, data_root), DATASETS[dataset]
    if source.make:
        with folder_lock(avlib.DATA / "stores"):
            source.make(root)
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
    """Where the store of a dataset lies: one folder for each file of features, or each corpus and all four settings."""
    root = corpus_root(dataset, data_root)
    if dataset in FEATURES:
        return avlib.DATA / "stores" / f"{dataset}-{_tag(f'{root}')}"
    origin = f"{root} {protocol}" + (f" {audio_features}" if audio_features != "mfcc" else "")
    return avlib.DATA / "stores" / f"{dataset}-{frames}x{image_size}-{_tag(origin)}"


def _tag(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()[:6]


def corpus_root(dataset: str, data_root: Path | str | None = None) -> Path:
    """Where a dataset lies, `data_root` or data/<dataset>: a folder of clips, or a file of features.

    Raises InputError for an unknown dataset, and where no file is meant, or more than one.
    """
    if dataset not in DATASETS:
        raise InputError(f"there is no dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    path = (Path(data_root).expanduser() if data_root else avlib.DATA / dataset).resolve()
    return DATASETS[dataset].locate(path)
