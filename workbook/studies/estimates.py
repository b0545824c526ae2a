"""What the tables of all studies share: a measure in each condition, with its interval.

A table of results has a row per system, condition and measure: system, condition, what the study varies (such as
modality and share), measure, value, low, high, actors, clips. low and high are a 95 % interval of folds, or of the
actors of a single fold, as in `workbook.evaluate.statistics`. Values are in percent, or points of percent, unless the
study says otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.evaluate.conditions import Condition
from workbook.evaluate.metrics import PROBABILITIES, Metric, mean_of, metrics_of
from workbook.evaluate.statistics import Systems, estimate, with_seeds
from workbook.train.batches import Clips


def estimates(about: dict[str, Any], rows: pd.DataFrame, metrics: dict[str, Metric]) -> list[dict[str, Any]]:
    """A row of results for each metric: what it is about, measure, value, low, high, actors, clips.

    rows : columns clip, actor, perhaps fold and seed, and what the metrics read      metrics : by measure
    """
    sizes = {"actors": rows["actor"].nunique(), "clips": rows["clip"].nunique()}
    return [about | {"measure": name} | estimate([rows], metric) | sizes for name, metric in metrics.items()]


def results(
    systems: Systems,
    conditions: Sequence[Condition],
    about: Callable[[Condition], dict[str, Any]] = lambda condition: {},
    of_classes: dict[str, Metric] | None = None,
) -> Iterator[dict[str, Any]]:
    """A row of results per system, condition and metric; none for a condition that a system lacks.

    about : from a condition to more columns      of_classes : metrics beside accuracy, which sentiment does not have
    """
    for system, table in systems.items():
        metrics = {"accuracy": metrics_of(table)["accuracy"]} | ({} if "value" in table else of_classes or {})
        for condition in conditions:
            rows = table[table["condition"] == condition.name]
            if len(rows):
                yield from estimates({"system": system, "condition": condition.name, **about(condition)}, rows, metrics)


def share_of(column: str) -> Metric:
    """The mean over clips of a column from 0 to 1, in percent; NaN does not count."""
    return mean_of(itemgetter(column))


def points_of(column: str) -> Metric:
    """The same of a column that may be negative, in points of percent."""
    return mean_of(itemgetter(column), limits=(-np.inf, np.inf))


def check_classes(clips: Clips) -> None:
    """Raises InputError for sentiment."""
    if clips.task.outputs == 1:
        raise InputError("this study needs classes, and sentiment has none")


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The probabilities (N, classes) of a table of predictions."""
    return table.filter(regex=PROBABILITIES).to_numpy(float)


def confidence(table: pd.DataFrame) -> np.ndarray:
    """The probability (N,) of each answer."""
    return probabilities(table).max(axis=1)


CONFIDENCE = {"confidence": mean_of(confidence)}


def per_clip(table: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    """A row per clip and training, and the value in each condition; each seed is a training.

    A product of conditions is of one network: compute it in each row, and average the rows.

    values : (N,) of the rows of a table of predictions
    Columns: clip, actor, label, seed, fold if the table has it, and a column per condition.
    """
    keys = [name for name in ("clip", "actor", "label", "fold", "seed") if name in table or name == "seed"]
    wide = with_seeds(table).assign(value=values).pivot_table("value", keys, "condition", "mean")
    return wide.rename_axis(columns=None).reset_index()


def select(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows in which these columns have these values."""
    for name, value in values.items():
        table = table[table[name] == value]
    return table
