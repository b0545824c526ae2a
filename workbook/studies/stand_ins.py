"""What to put in place of what is missing: zeros, silence, the mean, noise, the last step held, another clip's."""

from collections.abc import Sequence

import pandas as pd

from workbook.evaluate.baselines import TIME
from workbook.evaluate.conditions import FILLS, Condition, Gone, Intact
from workbook.evaluate.statistics import Systems
from workbook.studies.calibration import CONFIDENCE
from workbook.studies.study import Study, accuracy, joined, of, results
from workbook.train.batches import Clips

SHARES = (0.5, 1.0)  # of a modality: its second half, and all of it


def conditions(clips: Clips) -> list[Condition]:
    """Nothing gone, then each stand-in for the second half of either modality, and for all of it.

    With all of it gone there is no step to hold, and a single step has no half. Silence is for the sound of clips.
    """
    found = [Gone(modality, share, "end", fill) for modality in TIME for share in SHARES for fill in FILLS]
    silent = "audio_path" in clips.table
    found = [one for one in found if one.fill != "silence" or (silent and one.modality == "audio")]
    return [Intact(), *(one for one in found if one.changes(clips) and not (one.fill == "held" and one.share == 1))]


def table(systems: Systems, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Accuracy and confidence (%) by modality, share (%) and fill; fill is "" where nothing is gone."""
    rows = []
    for name, system in systems.items():
        wanted = {"accuracy": accuracy(system)} | ({} if "value" in system else {"confidence": CONFIDENCE})
        for condition in conditions:
            about = {"modality": "", "share": 0.0, "fill": ""}
            if isinstance(condition, Gone):
                about = {"modality": condition.modality, "share": 100 * condition.share, "fill": condition.fill}
            rows += results({name: system}, [condition], wanted, **about)
    return pd.DataFrame(rows)


def sentence(table: pd.DataFrame) -> str:
    """The best and the worst stand-in for all of each modality: a line for each system."""
    lines = []
    for system, own in of(table, measure="accuracy", share=100.0).groupby("system", sort=False):
        parts = []
        for modality, rows in own.groupby("modality", sort=False):
            fills = rows.set_index("fill")["value"]
            best, worst = fills.idxmax(), fills.idxmin()
            parts.append(
                f"in place of {modality}, {best} is best ({fills[best]:.0f} %), {worst} worst ({fills[worst]:.0f} %)"
            )
        lines.append(f"{system}: {joined(parts)}.")
    return "\n".join(lines)


STUDY = Study("What to put in place of what is missing?", conditions, table, sentence)
