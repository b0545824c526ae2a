"""The protocol ladder: how much of a published number is the system, and how much the way it was tested."""

import pandas as pd

from workbook.evaluate.statistics import Systems, intervals

RUNGS = ("random split of clips", "split of actors", "epoch chosen on validation", "all folds")


def ladder(rungs: Systems, condition: str = "AV", metric: str = "accuracy") -> pd.DataFrame:
    """One row per rung, as `intervals`, with a column `step`: its value less that of the rung before.

    rungs : predictions of one system under stricter and stricter protocols, by name, such as those of RUNGS

    random split of clips : fold_scheme `clips`; the epoch with the best accuracy on the test clips
    split of actors : a fold of a scheme by actors; the epoch chosen on the test clips too
    epoch chosen on validation : the same fold, as the workbook trains it
    all folds : the same, all folds in one table
    `workbook.run.small_runs` makes them of a run.

    Rungs are tested on different people, so a step has no test of its own. A single fold has few people and one
    network. The first step changes two things: the people, and how many clips there are to train on.
    Raises InputError as `intervals`.
    """
    table = intervals(rungs, metric, [condition]).rename(columns={"system": "rung"})
    return table.assign(step=table["value"].diff())


def in_words(table: pd.DataFrame) -> str:
    """What a ladder shows, in Markdown."""
    first, last = table.iloc[0], table.iloc[-1]
    steps = [f"{row.rung} {row.step:+.1f}" for row in table.iloc[1:].itertuples()]
    ends = f"{first['value']:.1f} % with {first['rung']}, {last['value']:.1f} % with {last['rung']}"
    lost = first["value"] - last["value"]
    share = f"**{max(lost, 0):.1f} points** come from the protocol"
    times = "once" if table["seeds"].max() == 1 else f"{table['seeds'].max()} times"
    return f"{share}: {ends} ({', '.join(steps)}). It is one system, trained {times}: others may differ."
