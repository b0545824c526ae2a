"""The measures of `workbook.evaluate.metrics` from sums over clips: to draw actors anew is then to add up other sums.

Each is tested against `workbook.evaluate.metrics` itself, on clips that stand as often as their actors were drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbook.evaluate.metrics import decided, whole_scores


class Measure(NamedTuple):
    """A measure of `evaluate.metrics` that follows from sums over clips, so that actors can be drawn by adding up."""

    columns: Callable[[pd.DataFrame], np.ndarray]  # predictions of N clips -> (N, S) what is added up
    score: Callable[[np.ndarray], np.ndarray]  # (..., S) sums -> (...) the measure


def _matches(truth: np.ndarray, guess: np.ndarray, classes: int = 2) -> np.ndarray:
    return np.column_stack([truth == guess, np.ones(len(truth))])


def _percent(sums: np.ndarray) -> np.ndarray:
    return 100 * sums[..., 0] / sums[..., 1]


def _by_class(truth: np.ndarray, guess: np.ndarray, classes: int = 2) -> np.ndarray:
    true, said = np.eye(classes)[truth.astype(int)], np.eye(classes)[guess.astype(int)]
    return np.hstack([true * said, true, said])


def _mean_recall(sums: np.ndarray) -> np.ndarray:
    right, true, _ = np.split(sums, 3, axis=-1)
    return 100 * np.nanmean(np.where(true > 0, right / np.where(true > 0, true, 1), np.nan), axis=-1)


def _weighted_f1(sums: np.ndarray) -> np.ndarray:
    right, true, said = np.split(sums, 3, axis=-1)
    f1 = 2 * right / np.maximum(true + said, 1e-12)
    return 100 * (true * f1).sum(axis=-1) / true.sum(axis=-1)


def _of_classes(columns: Callable) -> Callable:
    return lambda rows: columns(*decided(rows), classes=rows.filter(regex=r"^p\d+$").shape[1])


def _of_signs(columns: Callable) -> Callable:
    """Positive against negative; a clip labelled 0 adds nothing."""
    return lambda rows: columns(rows.label > 0, rows.value > 0) * (rows.label != 0).to_numpy()[:, None]


def _of_halves(columns: Callable) -> Callable:
    """Negative against all others."""
    return lambda rows: columns(rows.label >= 0, rows.value >= 0)


def _of_whole_scores(largest: int) -> Callable:
    return lambda rows: _matches(whole_scores(rows.label, largest), whole_scores(rows.value, largest))


def _errors(rows: pd.DataFrame) -> np.ndarray:
    return np.column_stack([(rows.label - rows.value).abs(), np.ones(len(rows))])


def _products(rows: pd.DataFrame) -> np.ndarray:
    x, y = (rows[name].to_numpy(dtype=float) for name in ("label", "value"))
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spreads = n * xx - x * x, n * yy - y * y
    flat = (spreads[0] <= 1e-9 * n * xx) | (spreads[1] <= 1e-9 * n * yy)  # True = all scores are equal
    return np.where(flat, 0.0, (n * xy - x * y) / np.sqrt(np.where(flat, 1.0, spreads[0] * spreads[1])))


EMOTION = {
    "accuracy": Measure(_of_classes(_matches), _percent),
    "uar": Measure(_of_classes(_by_class), _mean_recall),
}
SENTIMENT = {
    "accuracy": Measure(_of_signs(_matches), _percent),
    "uar": Measure(_of_signs(_by_class), _mean_recall),
    "f1": Measure(_of_signs(_by_class), _weighted_f1),
    "accuracy_neutral": Measure(_of_halves(_matches), _percent),
    "f1_neutral": Measure(_of_halves(_by_class), _weighted_f1),
    "accuracy7": Measure(_of_whole_scores(3), _percent),
    "accuracy5": Measure(_of_whole_scores(2), _percent),
    "mae": Measure(_errors, lambda sums: _percent(sums) / 100),
    "correlation": Measure(_products, _correlation),
}


def measures(table: pd.DataFrame) -> dict[str, Measure]:
    """The measures of a table of predictions, by the names that `workbook.evaluate.metrics` gives them."""
    return SENTIMENT if "value" in table else EMOTION
