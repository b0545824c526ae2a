"""From the name of a dataset to its store: where the files lie, and who makes what is missing."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import avlib
from avlib import InputError
from avlib.data.ravdess import find_trials
from avlib.data.store import Store, build_store
from avlib.files import alone

log = logging.getLogger(__name__)


def _make_toy(root: Path) -> None:
    """Draws the toy corpus into a folder, unless a whole one is there."""
    from avlib.data import toy  # brings the libraries that write media, which reading a store needs not

    if not (root / "truth.parquet").exists():
        log.info("making the toy corpus in %s: some minutes, once", root)
        toy.make_corpus(root)


@dataclass(frozen=True)
class Dataset:
    """How a dataset is read, and made where it can be."""

    find: Callable  # (root, protocol=) -> (trials, problems)
    make: Callable | None  # root -> None; None for a dataset that only its owners can give


DATASETS = {
    "toy": Dataset(find=find_trials, make=_make_toy),
    "ravdess": Dataset(find=find_trials, make=None),
}


def ensure_store(
    dataset: str, data_root: Path | str | None = None, *, frames: int, image_size: int, protocol: str = "paper"
) -> Store:
    """The store of a dataset, opened as it is: the corpus is not looked at again.

    A missing store of the toy corpus is made, the corpus too. A missing store of real data raises InputError with the
    command that makes it.
    """
    path = store_path(dataset, data_root, frames=frames, image_size=image_size, protocol=protocol)
    if path.exists():
        return Store.open(path)
    if not DATASETS[dataset].make:
        raise InputError(
            f"there is no store of {dataset} with {frames} frames of {image_size} pixels at {path}; make it with: "
            f"papermill notebooks/preprocess.ipynb outputs/preprocess.ipynb -p dataset {dataset} "
            f"-p data_root {corpus_root(dataset, data_root)} -p frames {frames} -p image_size {image_size} "
            f"-p protocol {protocol}"
        )
    log.info("there is no store of %s yet: making %s", dataset, path)
    return preprocess(dataset, data_root, frames=frames, image_size=image_size, protocol=protocol)


def preprocess(
    dataset: str,
    data_root: Path | str | None = None,
    *,
    frames: int,
    image_size: int,
    protocol: str = "paper",
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """The store of a dataset, made from its files, brought to its end, or opened where nothing has changed since.

    Raises InputError where the corpus is missing and cannot be made.
    """
    path = store_path(dataset, data_root, frames=frames, image_size=image_size, protocol=protocol)
    root = ensure_corpus(dataset, data_root)
    with alone(path.parent):
        trials, problems = DATASETS[dataset].find(root, protocol=protocol)
        settings = {"frames": frames, "image_size": image_size, "protocol": protocol}
        return build_store(path, trials, problems, **settings, workers=workers, progress=progress)


def ensure_corpus(dataset: str, data_root: Path | str | None = None) -> Path:
    """The folder of a dataset's files; the toy corpus is drawn there where it is missing."""
    root, source = corpus_root(dataset, data_root), DATASETS[dataset]
    if source.make:
        with alone(avlib.DATA / "stores"):
            source.make(root)
    return root


def store_path(
    dataset: str, data_root: Path | str | None = None, *, frames: int, image_size: int, protocol: str = "paper"
) -> Path:
    """Where the store of a dataset lies: one folder for each corpus folder, frames, image size and protocol."""
    origin = f"{corpus_root(dataset, data_root)} {protocol}"
    tag = hashlib.sha256(origin.encode()).hexdigest()[:6]
    return avlib.DATA / "stores" / f"{dataset}-{frames}x{image_size}-{tag}"


def corpus_root(dataset: str, data_root: Path | str | None = None) -> Path:
    """The folder of a dataset's files: `data_root`, or data/<dataset>. Raises InputError for an unknown dataset."""
    if dataset not in DATASETS:
        raise InputError(f"there is no dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    return (Path(data_root).expanduser() if data_root else avlib.DATA / dataset).resolve()
