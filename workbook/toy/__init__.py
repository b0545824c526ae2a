"""Toy datasets with a known truth: `corpus` and `speaker` draw faces and voices, the others are features.

Importing this package adds them to `DATASETS`. The truth of each clip is in a table in the dataset's folder, or beside
its file: clip, actor; face_start, face_end, voice_start, voice_end, duration : the spans of the cues, and the length of
the clip, in seconds (files of features: as shares of the clip, in [0, 1]); face_shows, voice_shows : False where
nothing differs in the span; and columns that the makers of the datasets describe (`truth`, `truth_row`, `make_pickle`).
"""

from collections.abc import Callable
from importlib import import_module

from workbook.data.datasets import BY_ACTOR, DATASETS, Dataset
from workbook.data.features import read_npz
from workbook.data.pickles import PICKLES, read_pickle
from workbook.data.ravdess import EMOTIONS, find_trials

SMALL = {"image_size": 64, "frames": 6}  # of drawn clips
MULT = {"batch_size": 24, "learning_rate": 0.001}  # the training of features


def _lazy(module: str, name: str) -> Callable:
    """A function of a module here that its first call imports: it needs libraries that a store does not."""
    return lambda *arguments: getattr(import_module(f"workbook.toy.{module}"), name)(*arguments)


TOYS = {
    "toy": Dataset(
        title="toy corpus",
        kind="clips",
        read=find_trials,
        fold_schemes=(*BY_ACTOR, "groups", "clips"),
        names=EMOTIONS,
        classes=(8, 7),
        defaults=SMALL | {"epochs": 14, "batch_size": 16, "learning_rate": 0.06, "frame_epochs": 4},
        make=_lazy("corpus", "make_corpus"),
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
        make=_lazy("speaker", "make_corpus"),
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
        make=_lazy("speaker_features", "make_file"),
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
        make=_lazy("mosei", "make_pickle"),
        reachable=_lazy("mosei", "reachable"),
    ),
}

REAL = DATASETS.copy()
DATASETS.clear()
DATASETS.update(TOYS | REAL)  # toys first in every listing
