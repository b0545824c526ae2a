"""Studies: what a network does between a whole clip and a missing modality. Conditions in, tables out; no drawing.

docs/studies.md shows how to call them. `workbook.plots` has a figure for each, such as `plots.study_loss(table)`.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

import pandas as pd

from workbook.evaluate.statistics import Systems
from workbook.studies import calibration, conflict, credit, loss, offset, stand_ins, surface
from workbook.studies.kept_predictions import predictions
from workbook.train.batches import Clips


class Study(NamedTuple):
    """A question to networks."""

    title: str
    conditions: Callable[[Clips], list]  # what is tried on these clips
    table: Callable[[Systems, Sequence], pd.DataFrame]  # predictions by system, and the conditions -> results
    line: Callable[[str, pd.DataFrame], str]  # a system's name and its results -> what they show, in words

    def sentence(self, table: pd.DataFrame) -> str:
        """What the results show, in Markdown: a paragraph for each system."""
        return "\n\n".join(self.line(system, rows) for system, rows in table.groupby("system", sort=False))


def _study(title: str, module: ModuleType) -> Study:
    return Study(title, module.conditions, module.table, module.line)


STUDIES: dict[str, Study] = {
    "loss": _study("How does accuracy fall while a modality goes?", loss),
    "surface": _study("How bad may sound and picture be?", surface),
    "offset": _study("How much does it matter that sound and picture are out of step?", offset),
    "conflict": _study("Who wins when face and voice contradict each other?", conflict),
    "calibration": _study("Does it know when evidence is gone?", calibration),
    "credit": _study("Whose credit is it?", credit),
    "stand_ins": _study("What to put in place of what is missing?", stand_ins),
}

__all__ = ["STUDIES", "Study", "predictions"]
