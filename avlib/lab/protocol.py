"""The protocol ladder: how much of a published number is the system, and how much the way it was tested."""

import pandas as pd

from avlib import InputError
from avlib.lab.statistics import Systems, intervals

RUNGS = ("random split of clips", "split of actors", "epoch chosen on validation", "5 folds")


def ladder(rungs: Systems, condition: str = "AV", measure: str = "accuracy", **settings) -> pd.DataFrame:
    """One row per rung, as `intervals`, with a column `step`: its value less that of the rung before.

    rungs : predictions of one system under stricter and stricter protocols, by name, such as those of `RUNGS`
    settings : as in `intervals`

    random split of clips : fold_scheme `clips`; the epoch with the best accuracy on the test clips
    split of actors : fold 0 of a scheme by actors; the epoch chosen on the test clips too
    epoch chosen on validation : the same fold, as the workbook trains it
    5 folds : the same, all folds in one table
    For the first two, `avlib.training.fit` gets the test clips as `validation`.

    Rungs are tested on different people, so a step has no test of its own. Fold 0 has four people.
    Raises InputError as `intervals`, and where a rung lacks the condition.
    """
    table = intervals(rungs, measure, [condition], **settings).rename(columns={"system": "rung"})
    missing = [name for name in rungs if name not in set(table["rung"])]
    if missing:
        raise InputError(f"'{missing[0]}' has no predictions in condition {condition}")
    return table.assign(step=table["value"].diff())
