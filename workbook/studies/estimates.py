"""What the results of all studies share: a measure in each condition, with its interval.

A row of results is of one system, condition and measure: condition, what the study varies (such as modality and share),
measure, value, low, high, actors, clips. low and high are a 95 % interval of folds, or of the actors of a single fold,
as in `workbook.evaluate.statistics`. Values are in percent, or points of percent, unless the study says otherwise.
"""

from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.evaluate.metrics import Metric, mean_of, metrics_of, probabilities
from workbook.evaluate.statistics import estimate, with_seeds
from workbook.train.batches import Clips

Row = dict[str, Any]


def estimates(about: Row, clips: pd.DataFrame, metrics: dict[str, Metric]) -> list[Row]:
    """A row of results for each metric: what it is about, measure, value, low, high, actors, clips.

    clips : columns clip, actor, perhaps fold and seed, and what the metrics read      metrics : by measure
    """
    sizes = {"actors": clips["actor"].nunique(), "clips": clips["clip"].nunique()}
    return [about | {"measure": name} | estimate([clips], metric) | sizes for name, metric in metrics.items()]


def by_condition(predictions: pd.DataFrame, about: dict[str, Row], of_classes: dict[str, Metric] | None = None) -> list:
    """A row of results per condition and metric; none for a condition without predictions.

    about : by the condition's name, more columns
    of_classes : metrics beside accuracy, which sentiment does not have
    """
    metrics, rows = {"accuracy": metrics_of(predictions)["accuracy"]}, []
    metrics |= {} if "value" in predictions else of_classes or {}
    for name, columns in about.items():
        clips = select(predictions, condition=name)
        rows += estimates({"condition": name} | columns, clips, metrics) if len(clips) else []
    return rows


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


def confidence(predictions: pd.DataFrame) -> np.ndarray:
    """The probability (N,) of each answer."""
    return probabilities(predictions).max(axis=1)


CONFIDENCE = {"confidence": mean_of(confidence)}


def per_clip(predictions: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    """A row per clip and training, and the value in each condition; each seed is a training.

    A product of conditions is of one network: compute it in each row, and average the rows.

    values : (N,) of the predictions
    Columns: clip, actor, label, seed, fold if the predictions have it, and a column per condition.
    """
    keys = [name for name in ("clip", "actor", "label", "fold", "seed") if name in predictions or name == "seed"]
    wide = with_seeds(predictions).assign(value=values).pivot_table("value", keys, "condition", "mean")
    return wide.rename_axis(columns=None).reset_index()


def select(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows in which these columns have these values."""
    for name, value in values.items():
        table = table[table[name] == value]
    return table
