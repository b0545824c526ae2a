"""Predictions of RAVDESS's actors that are right as often as a test wants."""

import numpy as np
import pandas as pd

QUICK = {"resamples": 199}
TESTED = {0: (5, 10, 16, 19), 1: (2, 7, 13, 20), 2: (1, 3, 8, 21), 3: (4, 6, 9, 22), 4: (11, 12, 14, 23)}


def predictions(rights, folds=(0,), seed=0, clips=8, conditions=("AV", "A", "V"), score=False):
    """Predictions whose share of right answers, by condition, is near `rights`; each actor has `clips` clips."""
    rng, rows = np.random.default_rng(seed), []
    for fold in folds:
        for actor in TESTED[fold]:
            for clip in range(clips):
                for condition, share in zip(conditions, rights, strict=True):
                    row = {"clip": f"{actor:02d}-{clip}", "actor": actor, "fold": fold, "condition": condition}
                    right = rng.random() < share
                    label = (clip % 3) - 1.0 if score else clip % 2
                    guess = {"value": label if right else -2.0} if score else {"p0": 1.0 * (right == (label == 0))}
                    rows.append(row | {"label": label} | guess)
    table = pd.DataFrame(rows)
    return table if score else table.assign(p1=1 - table["p0"])
