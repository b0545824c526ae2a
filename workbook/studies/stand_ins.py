"""What to put in place of what is missing: zeros, silence, the mean, noise, the last step held, another clip's."""

from collections.abc import Sequence

import pandas as pd

from workbook.evaluate.baselines import TIME
from workbook.evaluate.conditions import FILLS, Condition, Gone, Intact
from workbook.studies.estimates import CONFIDENCE, Row, by_condition, select
from workbook.train.batches import Clips

SHARES = (0.5, 1.0)  # of a modality: its second half, and all of it


def conditions(clips: Clips) -> list[Condition]:
    """Nothing gone, then each stand-in for the second half of either modality, and for all of it.

    With all of it gone there is no step to hold, and a single step has no half. Silence is for the sound of clips.
    """
    tries = [Gone(modality, share, "end", fill) for modality in TIME for share in SHARES for fill in FILLS]
    tries = [gone for gone in tries if gone.changes(clips) and not (gone.fill == "held" and gone.share == 1)]
    silent = "audio_path" in clips.table
    return [Intact(), *(gone for gone in tries if gone.fill != "silence" or (silent and gone.modality == "audio"))]


def results(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> list[Row]:
    """Accuracy and confidence (%) by modality, share (%) and fill; fill is "" where nothing is gone."""
    about = {condition.name: {"modality": "", "share": 0.0, "fill": ""} for condition in conditions}
    for gone in (condition for condition in conditions if isinstance(condition, Gone)):
        about[gone.name] = {"modality": gone.modality, "share": 100 * gone.share, "fill": gone.fill}
    return by_condition(predictions, about, CONFIDENCE)


def line(system: str, rows: pd.DataFrame) -> str:
    """The best and the worst stand-in for all of each modality."""
    parts = []
    for modality, scores in select(rows, measure="accuracy", share=100.0).groupby("modality", sort=False):
        fills = scores.set_index("fill")["value"]
        best, worst = fills.idxmax(), fills.idxmin()
        ends = f"**{fills[best]:.0f} %** with {best}, {fills[worst]:.0f} % with {worst}"
        parts.append(f"{ends} in place of {modality}")
    return f"{' and '.join(parts)}: the best and the worst stand-ins for {system}."
