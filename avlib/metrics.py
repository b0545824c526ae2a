"""Metrics of a table of predictions: accuracy, recall, sentiment's measures, confusions. No model runs here.

A table of predictions holds one probability per class (p0, p1, …), or, for sentiment, the score (value). Everything
here that reads such a table tells the two apart by that.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, mean_absolute_error, recall_score

from avlib.task import LARGEST_SENTIMENT

AVERAGED = ("AV", "A", "V")  # the conditions whose mean is M


def decided(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The true and the most probable class of each row, (N,) each.

    A sentiment is rounded for it to one of the seven whole scores, 0 standing for -3 and 6 for 3.
    """
    if "value" in predictions:
        return _whole(predictions.label), _whole(predictions.value)
    return predictions.label.to_numpy(), predictions.filter(regex=r"^p\d+$").to_numpy().argmax(axis=1)


def _whole(scores: pd.Series, largest: int = LARGEST_SENTIMENT) -> np.ndarray:
    """Sentiment scores as classes (N,): cut to ±largest and rounded; the lowest is class 0."""
    return np.round(np.clip(scores.to_numpy(dtype=float), -largest, largest)).astype(int) + largest


def metrics(predictions: pd.DataFrame) -> dict:
    """Accuracy and unweighted average recall in percent by condition, and M, the mean over AV, A and V.

    UAR is the mean over the classes of the share that was recognised, so that it does not reward a frequent class.
    For sentiment accuracy is that of the sign, as in Table II, and there are more: see `sentiment_scores`.
    A condition in which no clip counts is left out, and M with it.
    """
    scores = sentiment_scores if "value" in predictions else class_scores
    measured = {
        condition: scores(rows) | {"clips": len(rows)}
        for condition, rows in predictions.groupby("condition", sort=False)
    }
    mean = {}
    if set(AVERAGED) <= set(measured):
        keys = [key for key in measured["AV"] if key != "clips"]
        mean = {key: float(np.mean([measured[name][key] for name in AVERAGED])) for key in keys}
    return {"conditions": measured, "M": mean}


def class_scores(rows: pd.DataFrame) -> dict[str, float]:
    """Accuracy and unweighted average recall of rows of one condition, in percent."""
    truth, guess = decided(rows)
    return {"accuracy": 100 * accuracy_score(truth, guess), "uar": _mean_recall(truth, guess)}


def sentiment_scores(rows: pd.DataFrame) -> dict[str, float]:
    """The measures of CMU-MOSEI on rows of one condition; all in percent but mae and correlation.

    accuracy, uar, f1 : positive against negative, clips that are truly neutral (0) left out: the paper's accuracy
    accuracy_neutral, f1_neutral : not negative against negative, over all clips
    accuracy7, accuracy5 : scores cut to ±3 or ±2 and rounded
    mae : mean absolute error, in points of sentiment      correlation : Pearson's, 0 where all scores are the same
    As MULT's code has them, and for those with neutral clips MMSA's; F1 is the mean over both classes, by their size.
    """
    truth, value = (rows[name].to_numpy(dtype=float) for name in ("label", "value"))
    decisive = truth != 0  # True = not neutral
    signs = truth[decisive] > 0, value[decisive] > 0
    neutral = truth >= 0, value >= 0
    constant = np.ptp(truth) == 0 or np.ptp(value) == 0
    return {
        "accuracy": 100 * accuracy_score(*signs),
        "uar": _mean_recall(*signs),
        "f1": 100 * f1_score(*signs, average="weighted", zero_division=0),
        "accuracy_neutral": 100 * accuracy_score(*neutral),
        "f1_neutral": 100 * f1_score(*neutral, average="weighted", zero_division=0),
        "accuracy7": 100 * float(np.mean(_whole(rows.label) == _whole(rows.value))),
        "accuracy5": 100 * float(np.mean(_whole(rows.label, 2) == _whole(rows.value, 2))),
        "mae": float(mean_absolute_error(truth, value)),
        "correlation": 0.0 if constant else float(pearsonr(truth, value).statistic),
    }


def _mean_recall(truth: np.ndarray, guess: np.ndarray) -> float:
    return 100 * recall_score(truth, guess, labels=sorted(set(truth)), average="macro")


def confusion(predictions: pd.DataFrame, condition: str, classes: int) -> np.ndarray:
    """How many clips of each emotion (rows) were taken for each (columns) in one condition: (classes, classes)."""
    rows = predictions[predictions.condition == condition]
    if rows.empty:  # a condition that no clip counts in
        return np.zeros((classes, classes), int)
    return confusion_matrix(*decided(rows), labels=range(classes))


def per_emotion(predictions: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The share of each emotion's clips that was recognised: columns emotion, condition, accuracy in percent."""
    truth, guess = decided(predictions)
    rows = predictions.assign(accuracy=100.0 * (truth == guess), emotion=[emotions[label] for label in truth])
    means = rows.groupby(["emotion", "condition"], sort=False).accuracy.mean().reset_index()
    return means.sort_values("emotion", key=lambda names: names.map(emotions.index), kind="stable", ignore_index=True)
