"""Is attention needed, or merely used? A system beside the same one trained with even attention."""

import pandas as pd

from workbook.evaluate.statistics import differences, intervals
from workbook.run.record import read_predictions
from workbook.run.reopen import TrainedRun


def trained_both_ways(run: TrainedRun) -> dict[str, pd.DataFrame]:
    """Predictions of the run's system with learnt and with even attention, of the folds and seeds that both have.

    Empty where there are none. The runs with even attention lie beside the run's own, as `avlib run` puts them.
    """
    folders = {}
    for name, even in {"learnt": False, "even": True}.items():
        config = run.parameters.model_copy(update={"even_attention": even})
        system = run.folder.parents[1] / config.folder.parent.name
        folders[name] = {path.parent.name: path.parent for path in sorted(system.glob("*/predictions.parquet"))}
    shared = {name: int(name.rpartition("-seed")[2]) for name in folders["learnt"] if name in folders["even"]}
    return {
        side: pd.concat([read_predictions(own[name]).assign(seed=seed) for name, seed in shared.items()])
        for side, own in folders.items()
        if shared
    }


def even_sentence(run: TrainedRun) -> str:
    """What learnt attention adds in AV to a training with even attention, in Markdown; else how to train one."""
    sides = trained_both_ways(run)
    if not sides:
        return "No run beside this one was trained with even attention: train it with `-p even_attention true`."
    values = intervals(sides, conditions=["AV"]).set_index("system")["value"]
    row = differences(sides, conditions=["AV"]).iloc[0]
    reach = f" ({row.low:+.1f} to {row.high:+.1f})" if pd.notna(row.low) else ""
    trainings = sides["even"][["fold", "seed"]].drop_duplicates()
    return (
        f"**{row.difference:+.1f} points**{reach} by learnt attention: {values['learnt']:.1f} % are right with it, "
        f"{values['even']:.1f} % after training with even attention ({len(trainings)} of each)."
    )
