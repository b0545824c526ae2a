"""Toy datasets with a known truth: `corpus` and `speaker` draw faces and voices, the others are features.

Importing this package adds them to `DATASETS`.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from workbook.data.datasets import BY_ACTOR, DATASETS, Dataset
from workbook.data.features import read_npz
from workbook.data.pickles import PICKLES, read_pickle
from workbook.data.ravdess import EMOTIONS, find_trials

SMALL = {"image_size": 64, "frames": 6}  # of drawn clips

log = logging.getLogger(__name__)


def _later(module: str, name: str) -> Callable:
    """A function whose module is imported at its first call: it needs libraries that a store does not."""
    return lambda *arguments: getattr(import_module(module), name)(*arguments)


def _maker(what: str, make: Callable, last: str = "") -> Callable:
    """A function that makes a dataset at its root, unless a complete one is there.

    last : the file of the root that `make` writes last; "" = the root is a file itself
    """

    def make_missing(root: Path) -> None:
        if not (root / last).exists():
            log.info("making %s in %s", what, root)
            make(root)

    return make_missing


def _file_in(name: str) -> Callable:
    """A function that returns the path of a file: the given one, or that of this name in the given folder."""
    return lambda path: path if path.suffix == Path(name).suffix else path / name


TOYS = {
    "toy": Dataset(
        title="toy corpus",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups", "clips"),
        names=EMOTIONS,
        classes=(8, 7),
        defaults=SMALL | {"epochs": 14, "batch_size": 16, "learning_rate": 0.06, "frame_epochs": 4},
        make=_maker(
            "the toy corpus (some minutes, once)", _later("workbook.toy.corpus", "make_corpus"), "truth.parquet"
        ),
        truth=_later("workbook.toy.corpus", "truth"),
        reachable=_later("workbook.toy.corpus", "reachable"),
        frame_labels=_later("workbook.toy.corpus", "frame_labels"),
    ),
    "toy_speaker": Dataset(
        title="toy speakers",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups"),
        protocols=("mult", "paper"),
        names=EMOTIONS,
        classes=(8,),
        defaults=SMALL
        | {"epochs": 12, "batch_size": 24, "learning_rate": 0.001, "pretrained": "frames", "frame_epochs": 3},
        make=_maker(
            "the toy speakers (a minute or two, once)", _later("workbook.toy.speaker", "make_corpus"), "truth.parquet"
        ),
        truth=_later("workbook.toy.speaker", "truth"),
        reachable=_later("workbook.toy.speaker", "reachable"),
        frame_labels=_later("workbook.toy.speaker", "frame_labels"),
    ),
    "toy_speaker_features": Dataset(
        title="toy speakers' features",
        kind="features",
        read=read_npz,
        fold_schemes=(*BY_ACTOR, "groups"),
        protocols=("mult", "paper"),
        defaults={"epochs": 6},
        locate=_file_in("toy_speaker.npz"),
        make=_maker("the toy speakers' features", _later("workbook.toy.speaker_features", "make_file")),
        truth=_later("workbook.toy.speaker_features", "truth"),
        reachable=_later("workbook.toy.speaker", "reachable"),
    ),
    "toy_mosei": Dataset(
        title="toy MOSEI",
        kind="features",
        read=read_pickle,
        fold_schemes=("own", "groups"),
        protocols=("mult", "paper"),
        defaults={"epochs": 12},
        locate=_file_in(PICKLES[0]),
        make=_maker("the toy MOSEI", _later("workbook.toy.mosei", "make_pickle")),
        truth=_later("workbook.toy.mosei", "truth"),
        reachable=_later("workbook.toy.mosei", "reachable"),
    ),
}

REAL = DATASETS.copy()
DATASETS.clear()
DATASETS.update(TOYS | REAL)  # toys first in every listing
