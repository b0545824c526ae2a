"""Metrics of a table of predictions: accuracy, recall, scores of sentiment, confusions. No model runs here.

A table of predictions has one probability per class (columns p0, p1, …) or, for sentiment, the score (column value).
Each metric follows from sums over clips, so that leaving out a fold or an actor only subtracts its sums.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbook.data.datasets import DATASETS
from workbook.task import AVERAGED, LARGEST_SENTIMENT, count_answers

PROBABILITIES = r"^p\d+$"  # names of columns


class Metric(NamedTuple):
    """A metric as a function of sums over clips."""

    columns: Callable[[pd.DataFrame], np.ndarray]  # predictions of N clips -> (N, S), which are summed
    score: Callable[[np.ndarray], np.ndarray]  # (..., S) sums -> (...) the metric; NaN where no clip counts
    limits: tuple[float, float] = (0, 100)  # the lowest and the highest value there is

    @np.errstate(invalid="ignore", divide="ignore")
    def of(self, sums: np.ndarray) -> np.ndarray:
        """The metric of sums, without numpy's warnings of 0 / 0."""
        return self.score(sums)


def mean_of(values: Callable[[pd.DataFrame], np.ndarray], scale: float = 100, limits=(0, 100)) -> Metric:
    """The mean over clips of values (N,), times a scale, as in percent; a clip with NaN does not count."""

    def columns(rows: pd.DataFrame) -> np.ndarray:
        own = np.asarray(values(rows), dtype=float)
        return np.column_stack([np.nan_to_num(own), np.isfinite(own)])

    return Metric(columns, lambda sums: scale * (sums[..., 0] / sums[..., 1]), limits)


def probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """The probabilities (N, classes) of predictions."""
    return predictions.filter(regex=PROBABILITIES).to_numpy(float)


def labels_and_answers(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The true and the most probable class of each row, (N,) each.

    Sentiment is rounded to one of the seven whole scores: class 0 is -3, class 6 is 3.
    """
    if "value" in predictions:
        return _rounded(predictions, LARGEST_SENTIMENT)
    return predictions.label.to_numpy(), probabilities(predictions).argmax(axis=1)


def _rounded(rows: pd.DataFrame, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of sentiment as classes: clipped to ±largest and rounded; class 0 is -largest."""
    scores = rows[["label", "value"]].to_numpy(dtype=float).T
    return tuple(np.round(np.clip(scores, -largest, largest)).astype(int) + largest)


def _signs(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Positive (1) against negative (0); the label of a neutral clip, which does not count, is NaN."""
    return np.where(rows.label == 0, np.nan, rows.label > 0), (rows.value > 0).to_numpy()


def _negative_or_not(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return (rows.label >= 0).to_numpy(), (rows.value >= 0).to_numpy()


def _accuracy(classes: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]]) -> Metric:
    """The share of answers that are the label, in percent; classes : labels and answers (N,) of rows."""

    def hits(rows: pd.DataFrame) -> np.ndarray:
        labels, answers = classes(rows)
        return np.where(np.isnan(labels), np.nan, labels == answers)

    return mean_of(hits)


def _by_class(classes: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]], score: Callable) -> Metric:
    """A metric of three sums of each class: right answers, clips of the class, answers that name it."""

    def columns(rows: pd.DataFrame) -> np.ndarray:
        labels, answers = classes(rows)
        names = np.arange(max(2, rows.filter(regex=PROBABILITIES).shape[1]))
        clips, named = labels[:, None] == names, (answers[:, None] == names) & ~np.isnan(labels)[:, None]
        return np.hstack([clips & named, clips, named])

    return Metric(columns, score)


def _mean_recall(sums: np.ndarray) -> np.ndarray:
    right, clips, _ = np.split(sums, 3, axis=-1)
    return 100 * np.nanmean(right / clips, axis=-1)


def _f1(sums: np.ndarray, weigh_answers: bool = False) -> np.ndarray:
    right, clips, answers = np.split(sums, 3, axis=-1)
    f1, weights = 2 * right / np.maximum(clips + answers, 1e-12), answers if weigh_answers else clips
    return 100 * (weights * f1).sum(axis=-1) / weights.sum(axis=-1)


def _products(rows: pd.DataFrame) -> np.ndarray:
    x, y = (rows[name].to_numpy(dtype=float) for name in ("label", "value"))
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spreads = n * xx - x * x, n * yy - y * y
    constant = (spreads[0] <= 1e-9 * n * xx) | (spreads[1] <= 1e-9 * n * yy)
    return np.where(constant, 0.0, (n * xy - x * y) / np.sqrt(np.where(constant, 1.0, spreads[0] * spreads[1])))


# Of emotions, in percent. UAR (unweighted average recall) is the mean of the classes' recalls: a frequent class weighs
# no more than a rare one. A class without a clip does not count.
EMOTION = {"accuracy": _accuracy(labels_and_answers), "uar": _by_class(labels_and_answers, _mean_recall)}
# Of sentiment, as in MULT's code; the `_neutral` ones as in MMSA's. F1 is the mean over both classes, weighted by the
# clips of a class. MULT's code exchanges labels and answers, and so weighs by the answers that name a class: `f1_mult`.
SENTIMENT = {
    "accuracy": _accuracy(_signs),  # positive against negative, without neutral clips: the paper's
    "uar": _by_class(_signs, _mean_recall),
    "f1": _by_class(_signs, _f1),
    "f1_mult": _by_class(_signs, partial(_f1, weigh_answers=True)),
    "accuracy_neutral": _accuracy(_negative_or_not),  # negative against all others, over all clips
    "f1_neutral": _by_class(_negative_or_not, _f1),
    "accuracy7": _accuracy(labels_and_answers),  # of scores clipped to ±3 and rounded
    "accuracy5": _accuracy(partial(_rounded, largest=2)),
    "mae": mean_of(lambda rows: (rows.label - rows.value).abs(), 1, (0, np.inf)),  # in points of sentiment
    "correlation": Metric(_products, _correlation, (-1, 1)),  # Pearson's; 0 where all scores are equal
}


def metrics_of(table: pd.DataFrame) -> dict[str, Metric]:
    """The metrics that a table of predictions has, by name: EMOTION or SENTIMENT."""
    return SENTIMENT if "value" in table else EMOTION


def right(table: pd.DataFrame) -> np.ndarray:
    """Whether each answer is right, 1 or 0 (N,); NaN where it does not count, as a sentiment of 0."""
    hits, counted = metrics_of(table)["accuracy"].columns(table).T
    return np.where(counted > 0, hits, np.nan)


def scores(rows: pd.DataFrame) -> dict[str, float]:
    """All metrics of rows of one condition, by name; in percent except mae and correlation."""
    return {name: float(own.of(own.columns(rows).sum(axis=0))) for name, own in metrics_of(rows).items()}


def metrics(predictions: pd.DataFrame) -> dict:
    """The `scores` and the number of clips of each condition, and M, the mean over AV, A and V.

    A condition without any clip is left out, and M too where one of its three is missing.
    """
    groups, mean = predictions.groupby("condition", sort=False), {}
    conditions = {condition: scores(rows) | {"clips": len(rows)} for condition, rows in groups}
    if set(AVERAGED) <= set(conditions):
        names = metrics_of(predictions)
        mean = {name: float(np.mean([conditions[condition][name] for condition in AVERAGED])) for name in names}
    return {"conditions": conditions, "M": mean}


def score_table(result: dict) -> pd.DataFrame:
    """The result of `metrics` as a table: a row per condition and M, a column per metric."""
    rows = result["conditions"] | ({"M": result["M"]} if result["M"] else {})
    return pd.DataFrame(rows).T.rename_axis("condition")


def confusions(predictions: pd.DataFrame, classes: int) -> dict[str, np.ndarray]:
    """The numbers of clips by true (rows) and predicted emotion (columns), in each of AV, A and V that was tested."""
    tested = {name: predictions[predictions["condition"] == name] for name in AVERAGED}
    return {name: count_answers(*labels_and_answers(rows), classes) for name, rows in tested.items() if len(rows)}


def per_emotion(predictions: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The recall of each emotion in AV, A and V: columns emotion, condition, accuracy in percent."""
    predictions = predictions[predictions["condition"].isin(AVERAGED)]
    truth, guess = labels_and_answers(predictions)
    rows = predictions.assign(accuracy=100.0 * (truth == guess), emotion=[emotions[label] for label in truth])
    means = rows.groupby(["emotion", "condition"], sort=False).accuracy.mean().reset_index()
    return means.sort_values("emotion", key=lambda names: names.map(emotions.index), kind="stable", ignore_index=True)


def best_reachable(dataset: str, classes: int = 0) -> dict[str, float]:
    """The best reachable scores of a dataset, by column of the table of runs; empty where they are not known.

    A corpus that needs an exchange between the branches also has "without an exchange".

    classes : the number of emotions; 0 is all
    """
    reachable = DATASETS[dataset].reachable if dataset in DATASETS else None
    scores, best = reachable(classes) if reachable else {}, {}
    for metric, column in {"accuracy": "", "mae": "MAE "}.items():
        values = {condition: score[metric] for condition, score in scores.items() if metric in score}
        if values:
            mean = fmean(values[name] for name in AVERAGED)
            best |= {f"{column}{name}": value for name, value in (values | {"M": mean}).items()}
    return best
