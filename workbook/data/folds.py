"""Who trains, validates and tests: the fold schemes, and the splits of each fold."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from workbook import InputError

# fold scheme -> how many folds it has
FOLDS = {"paper": 5, "authors": 1, "luna": 5, "loso": 24, "groups": 5, "own": 1, "clips": 5}
OF_CLIPS = ("own", "clips")  # schemes that split clips; the others split actors
log = logging.getLogger(__name__)


def folds(scheme: str = "paper", actors: Iterable = range(1, 25)) -> pd.DataFrame:
    """The split of each actor in each fold: columns fold (from 0), actor, split (train, validation or test).

    paper : 5 folds of 16 training, 4 validation and 4 test actors (section IV), two women and two men in every test set
    authors : one fold, the split of the weights that the authors released; also fold 0 of `paper`
    luna : the 5 folds of Luna-Jimenez et al. (2021); each of the 24 actors is tested once
    loso : leave one speaker out, 24 folds; fold k tests actor k + 1 and validates on the next two, a man and a woman
    groups : 5 folds over any `actors`, each tested once

    Except in `authors` and `loso`, a fold is validated on the next fold's test actors, and the last on the first's.
    Two schemes split clips and are only in `split_rows`: `own`, which comes with a dataset, and `clips`.

    actors : the actor of every clip, a number or a name; only `groups` reads it
    Raises InputError for any other scheme.
    """
    if scheme not in FOLDS or scheme in OF_CLIPS:
        schemes = ", ".join(name for name in FOLDS if name not in OF_CLIPS)
        raise InputError(f"there is no fold scheme '{scheme}' of actors: choose one of {schemes}")
    if scheme == "loso":
        return _rotate({actor: actor - 1 for actor in range(1, 25)}, validation=2)
    if scheme == "groups":
        return _rotate(_share_out(actors, FOLDS["groups"]))
    table = pd.read_csv(Path(__file__).with_name("folds.csv"))
    return table[table["scheme"] == scheme].drop(columns="scheme").reset_index(drop=True)


def _rotate(tested: dict, validation: int = 1) -> pd.DataFrame:
    """Folds in which every actor is tested once and validates the `validation` folds before.

    tested : actor -> the fold that tests it
    """
    count = max(tested.values()) + 1
    splits = ["test", *["validation"] * validation, *["train"] * (count - 1 - validation)]
    rows = [(fold, actor, splits[(own - fold) % count]) for fold in range(count) for actor, own in tested.items()]
    return pd.DataFrame(rows, columns=["fold", "actor", "split"])


def _share_out(actors: Iterable, count: int) -> dict:
    """The fold that tests each actor. Actors with most clips come first, each into the fold with fewest clips."""
    clips = Counter(actors)
    if len(clips) < count:
        reason = f"fold scheme 'groups' needs at least {count} actors, this corpus has {len(clips)}"
        raise InputError(f"{reason}: choose own for films with a column split, or clips, which mixes people")
    sizes, tested = [0] * count, {}
    for actor in sorted(clips, key=lambda actor: (-clips[actor], actor)):
        tested[actor] = sizes.index(min(sizes))
        sizes[tested[actor]] += clips[actor]
    return dict(sorted(tested.items()))


def split_rows(clips: pd.DataFrame, fold: int, scheme: str = "paper") -> dict[str, np.ndarray]:
    """The positions of the rows of `clips` in each split of a fold: {"train", "validation", "test"}.

    No actor is in two splits; scheme `own` leaves that to the dataset. Scheme `clips` breaks it on purpose, and warns:
    it tests each clip in one of 5 random folds, to measure by how much that raises accuracies.

    clips : any table with columns `clip` and `actor`, for scheme `own` also `split`
    Raises InputError where the scheme has no such fold, or where `own` finds no column `split`.
    """
    if scheme in FOLDS and fold not in range(FOLDS[scheme]):
        raise InputError(f"fold is {fold}; {fold_range(scheme)}")
    if scheme == "own":
        if "split" not in clips:
            others = ", ".join(name for name in FOLDS if name != "own")
            raise InputError(
                f"fold scheme 'own' needs a dataset with its own split, such as MOSEI: choose one of {others}"
            )
        split = clips["split"]
    elif scheme == "clips":
        log.warning("fold scheme 'clips': the test has people of the training split, so accuracies are too high")
        names = np.random.default_rng(0).permutation(sorted(clips["clip"]))  # always the same
        tested = {name: place % FOLDS["clips"] for place, name in enumerate(names)}
        split = _split_of(clips["clip"], _rotate(tested), fold)
    else:
        split = _split_of(clips["actor"], folds(scheme, clips["actor"]), fold)
    return {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}


def _split_of(names: pd.Series, table: pd.DataFrame, fold: int) -> pd.Series:
    """The split in a fold of each actor, or clip, by its name."""
    return names.map(table[table["fold"] == fold].set_index("actor")["split"])


def fold_range(scheme: str) -> str:
    """The end of a sentence about a wrong fold: `it must be a whole number from 0 to 4 ...`."""
    last = FOLDS[scheme] - 1
    allowed = f"a whole number from 0 to {last}" if last else "0, the only one"
    return f"it must be {allowed} in fold_scheme '{scheme}'"
