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
from workbook.toy.truth import read_truth, truth_path

SMALL = {"image_size": 64, "frames": 6}  # of drawn clips
MULT = {"batch_size": 24, "learning_rate": 0.001}  # the training of features

log = logging.getLogger(__name__)


def _lazy(module: str, name: str) -> Callable:
    """A function of a module here that its first call imports: it needs libraries that a store does not."""
    return lambda *arguments: getattr(import_module(f"workbook.toy.{module}"), name)(*arguments)


def _maker(title: str, module: str, name: str) -> Callable:
    """A function that makes a dataset and its truth at its root, unless both are there."""

    def make_missing(root: Path) -> None:
        if not (root.exists() and truth_path(root).exists()):
            log.info("making %s in %s", title, root)
            _lazy(module, name)(root)

    return make_missing


TOYS = {
    "toy": Dataset(
        title="toy corpus",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups", "clips"),
        names=EMOTIONS,
        classes=(8, 7),
        defaults=SMALL | {"epochs": 14, "batch_size": 16, "learning_rate": 0.06, "frame_epochs": 4},
        make=_maker("the toy corpus (some minutes, once)", "corpus", "make_corpus"),
        truth=read_truth,
        reachable=_lazy("corpus", "reachable"),
        frame_labels=_lazy("corpus", "frame_labels"),
    ),
    "toy_speaker": Dataset(
        title="toy speakers",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups"),
        protocols=("mult", "paper"),
        names=EMOTIONS,
        classes=(8,),
        defaults=SMALL | MULT | {"epochs": 12, "pretrained": "frames", "frame_epochs": 3},
        make=_maker("the toy speakers (a minute or two, once)", "speaker", "make_corpus"),
        truth=read_truth,
        reachable=_lazy("speaker", "reachable"),
        frame_labels=_lazy("speaker", "frame_labels"),
    ),
    "toy_speaker_features": Dataset(
        title="toy speakers' features",
        kind="features",
        read=read_npz,
        fold_schemes=(*BY_ACTOR, "groups"),
        protocols=("mult", "paper"),
        defaults={"epochs": 6},
        files=("toy_speaker.npz",),
        make=_maker("the toy speakers' features", "speaker_features", "make_file"),
        truth=read_truth,
        reachable=_lazy("speaker", "reachable"),
    ),
    "toy_mosei": Dataset(
        title="toy MOSEI",
        kind="features",
        read=read_pickle,
        fold_schemes=("own", "groups"),
        protocols=("mult", "paper"),
        defaults={"epochs": 12},
        files=PICKLES[:1],
        make=_maker("the toy MOSEI", "mosei", "make_pickle"),
        truth=read_truth,
        reachable=_lazy("mosei", "reachable"),
    ),
}

REAL = DATASETS.copy()
DATASETS.clear()
DATASETS.update(TOYS | REAL)  # toys first in every listing
