"""Out of step: the sound comes earlier or later than the picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbook.data.window import WINDOW
from workbook.evaluate.conditions import Condition, Shift
from workbook.studies.estimates import Row, by_condition
from workbook.train.batches import Clips

LARGEST = 1.5  # seconds, to either side
STEPS = 6  # between none and the largest


def conditions(clips: Clips) -> list[Condition]:
    """The sound of another moment: from 1.5 s earlier to 1.5 s later; of features the same shares of the clip."""
    largest, unit = (LARGEST, "s") if "audio_path" in clips.table else (LARGEST / WINDOW, "of the clip")
    return [Shift(float(by), unit) for by in np.round(np.linspace(-largest, largest, 2 * STEPS + 1), 3)]


def results(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> list[Row]:
    """Accuracy (%) by the time `by` that the sound is early, as in `Shift`: above 0 it comes before its picture.

    unit : of `by`
    """
    return by_condition(predictions, {shift.name: {"by": shift.by, "unit": shift.unit} for shift in conditions})


def authors_lag(clips: Clips) -> float:
    """The mean seconds by which the authors' sound is early; NaN in a corpus without seconds.

    Their sound is the middle 3.6 s of a clip, but their picture the first 3.6 s; see `place_window`.
    """
    if "duration" not in clips.table:
        return float("nan")
    return float(((clips.table["duration"] - WINDOW).clip(lower=0) / 2).mean())


def line(system: str, rows: pd.DataFrame) -> str:
    """How far accuracy falls, and where."""
    curve = rows.set_index("by")["value"]
    worst = curve.idxmin()
    how = f"{abs(worst):g} {rows['unit'].iloc[0]} {'early' if worst > 0 else 'late'}" if worst else "in step"
    ends = f"**{curve[0.0]:.0f} %** in step, at worst **{curve.min():.0f} %** with the sound {how}"
    return f"{ends}: the accuracy of {system}."
