"""Studies: what a network does between a whole clip and a missing modality. Conditions in, tables out; no drawing.

docs/studies.md shows how to call them. `workbook.plots` has a figure for each, such as `plots.study_loss(table)`.
"""

from collections.abc import Callable, Iterable, Sequence
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
    results: Callable[[pd.DataFrame, Sequence], Iterable[dict]]  # a system's predictions, conditions -> rows of results
    line: Callable[[str, pd.DataFrame], str]  # a system's name and its results -> what they show, in words

    def table(self, systems: Systems, conditions: Sequence) -> pd.DataFrame:
        """The results of each system: column system, then those of the study's `results`."""
        return pd.DataFrame(
            {"system": system} | row for system, rows in systems.items() for row in self.results(rows, conditions)
        )

    def sentence(self, table: pd.DataFrame) -> str:
        """What the results show, in Markdown: a paragraph for each system."""
        return "\n\n".join(self.line(system, rows) for system, rows in table.groupby("system", sort=False))


STUDIES: dict[str, Study] = {
    name: Study(title, module.conditions, module.results, module.line)
    for name, title, module in (
        ("loss", "How does accuracy fall while a modality goes?", loss),
        ("surface", "How bad may sound and picture be?", surface),
        ("offset", "How much does it matter that sound and picture are out of step?", offset),
        ("conflict", "Who wins when face and voice contradict each other?", conflict),
        ("calibration", "Does it know when evidence is gone?", calibration),
        ("credit", "Whose credit is it?", credit),
        ("stand_ins", "What to put in place of what is missing?", stand_ins),
    )
}

__all__ = ["STUDIES", "Study", "predictions"]
