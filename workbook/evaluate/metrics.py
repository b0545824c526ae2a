"""Metrics of a table of predictions: accuracy, recall, measures of sentiment, confusions. No model runs here.

A table of predictions has one probability per class (columns p0, p1, …) or, for sentiment, the score (column value).
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pandas as pd
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, mean_absolute_error, recall_score

from workbook.data.datasets import DATASETS
from workbook.task import AVERAGED, LARGEST_SENTIMENT


def decided(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The true and the most probable class of each row, (N,) each.

    Sentiment is rounded to one of the seven whole scores: class 0 is -3, class 6 is 3.
    """
    if "value" in predictions:
        return whole_scores(predictions.label), whole_scores(predictions.value)
    return predictions.label.to_numpy(), predictions.filter(regex=r"^p\d+$").to_numpy().argmax(axis=1)


def whole_scores(scores: pd.Series, largest: int = LARGEST_SENTIMENT) -> np.ndarray:
    """Sentiment scores as classes (N,): clipped to ±largest and rounded; class 0 is -largest."""
    return np.round(np.clip(scores.to_numpy(dtype=float), -largest, largest)).astype(int) + largest


def metrics(predictions: pd.DataFrame) -> dict:
    """Accuracy and unweighted average recall in percent by condition, and M, the mean over AV, A and V.

    UAR is the mean of the classes' recalls, so a frequent class weighs no more than a rare one.
    For sentiment, accuracy is that of the sign, as in Table II; `sentiment_scores` has the other measures.
    A condition without any clip is left out, and M too where one of its three is missing.
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
    """The measures of CMU-MOSEI on rows of one condition, in percent except mae and correlation.

    accuracy, uar, f1 : positive against negative, without clips labelled 0 (neutral); the paper's accuracy
    accuracy_neutral, f1_neutral : negative against all others, over all clips
    accuracy7, accuracy5 : of scores clipped to ±3 or ±2 and rounded
    mae : mean absolute error, in points of sentiment      correlation : Pearson's; 0 where all scores are equal
    F1 is the mean over both classes, weighted by their size. Source: MULT's code; of the `_neutral` ones, MMSA's.
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
        "accuracy7": 100 * float(np.mean(whole_scores(rows.label) == whole_scores(rows.value))),
        "accuracy5": 100 * float(np.mean(whole_scores(rows.label, 2) == whole_scores(rows.value, 2))),
        "mae": float(mean_absolute_error(truth, value)),
        "correlation": 0.0 if constant else float(pearsonr(truth, value).statistic),
    }


def _mean_recall(truth: np.ndarray, guess: np.ndarray) -> float:
    return 100 * recall_score(truth, guess, labels=sorted(set(truth)), average="macro")


def confusion(predictions: pd.DataFrame, condition: str, classes: int) -> np.ndarray:
    """The numbers of clips by true (rows) and predicted emotion (columns) in one condition: (classes, classes)."""
    rows = predictions[predictions.condition == condition]
    if rows.empty:
        return np.zeros((classes, classes), int)
    return confusion_matrix(*decided(rows), labels=range(classes))


def per_emotion(predictions: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The recall of each emotion: columns emotion, condition, accuracy in percent."""
    truth, guess = decided(predictions)
    rows = predictions.assign(accuracy=100.0 * (truth == guess), emotion=[emotions[label] for label in truth])
    means = rows.groupby(["emotion", "condition"], sort=False).accuracy.mean().reset_index()
    return means.sort_values("emotion", key=lambda names: names.map(emotions.index), kind="stable", ignore_index=True)


def best_reachable(dataset: str, classes: int = 0) -> dict[str, float]:
    """What is best reachable on a dataset, by column; M is the mean of AV, A and V, as in the paper. Mostly empty.

    A corpus that needs attention also has "without attention".

    classes : how many emotions are told apart; 0 is all
    """
    known = DATASETS[dataset].reachable if dataset in DATASETS else None
    scores, best = known(classes) if known else {}, {}
    for measure, column in {"accuracy": "", "mae": "MAE "}.items():
        values = {condition: score[measure] for condition, score in scores.items() if measure in score}
        if values:
            mean = fmean(values[name] for name in AVERAGED)
            best |= {f"{column}{name}": value for name, value in (values | {"M": mean}).items()}
    return best
