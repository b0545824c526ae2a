"""Does it know? Whether confidence says how often a network is right, also when evidence is taken away.

Confidence is the probability of the answer. Sources: Guo et al., On calibration of modern neural networks (ICML 2017),
for the expected calibration error and temperature scaling; Brier (1950); Geifman and El-Yaniv, Selective classification
for deep neural networks (NeurIPS 2017), for risk against coverage.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from workbook.evaluate.baselines import TIME
from workbook.evaluate.conditions import Condition, Gone, Intact
from workbook.evaluate.metrics import PROBABILITIES, Metric, mean_of, probabilities, right
from workbook.studies.estimates import (
    CONFIDENCE,
    Row,
    by_condition,
    check_classes,
    confidence,
    estimates,
    per_clip,
    points_of,
    select,
    share_of,
)
from workbook.train.batches import Clips

BINS = 10  # of confidence, equally wide
RISE = 0.01  # a smaller rise of confidence counts as none
COVERAGE = np.arange(1, 11) / 10  # shares of the clips that are answered
DRAWS = 200  # of random right and wrong answers
TEMPERATURES = (0.05, 100.0)  # the lowest and the highest that are tried
NO_INTERVAL = dict.fromkeys(("low", "high"), np.nan)


def conditions(clips: Clips) -> list[Condition]:
    """Nothing gone; half of either modality, if it has two steps; all of either. Raises InputError for sentiment."""
    check_classes(clips)
    tries = [Gone(modality, share, where="end") for share in (0.5, 1.0) for modality in TIME]
    return [Intact(), *(gone for gone in tries if gone.changes(clips))]


def _binned(rows: pd.DataFrame) -> np.ndarray:
    """By bin of confidence, one after the other: confidence, right answers, clips; (N, 3 BINS)."""
    sure = confidence(rows)
    bins = np.eye(BINS)[np.minimum((sure * BINS).astype(int), BINS - 1)]  # (N, BINS)
    return np.hstack([bins * sure[:, None], bins * right(rows)[:, None], bins])


def _ece(sums: np.ndarray) -> np.ndarray:
    sure, hits, clips = np.split(sums, 3, axis=-1)
    return 100 * np.abs(sure - hits).sum(axis=-1) / clips.sum(axis=-1)


def ece_by_chance(rows: pd.DataFrame, seed: int = 0) -> float:
    """The mean calibration error, in percent, of a calibrated network with these confidences.

    Each answer is right by chance, as often as its confidence says: the consistency resampling of Broecker and Smith,
    Increasing the reliability of reliability diagrams (Weather and Forecasting 22, 2007).
    """
    sure, _, bins = np.split(_binned(rows), 3, axis=1)  # (N, BINS) each
    hits = np.random.default_rng(seed).random((DRAWS, len(rows))) < sure.sum(axis=1)
    return float(100 * np.abs(sure.sum(axis=0) - hits @ bins).sum(axis=1).mean() / len(rows))


def _squared_errors(rows: pd.DataFrame) -> np.ndarray:
    chances = probabilities(rows)
    return ((chances - np.eye(chances.shape[1])[rows["label"].to_numpy(int)]) ** 2).sum(axis=1)


METRICS = CONFIDENCE | {"ece": Metric(_binned, _ece), "brier": mean_of(_squared_errors, 1, (0, 2))}
RISES = {"rises": share_of("rises"), "by": points_of("by")}


def results(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> list[Row]:
    """What confidence is worth in each condition; `at` and `share` belong to curves.

    accuracy, confidence, ece : in percent. ece is the mean distance of the other two, over BINS bins of confidence. In
        few clips chance alone makes it positive, and any draw of them more so: it has no interval (Roelofs et al.,
        Mitigating bias in calibration error estimation, AISTATS 2022).
    ece_chance : what it would be by chance alone, as in `ece_by_chance`
    brier : the sum over classes of squared errors of probabilities, the mean over clips: 0 to 2
    rises : the share of clips (%) that are more confident than with nothing gone, by over a point
    by : how many points that is, in these clips
    bin : a point of the reliability diagram: at = mean confidence, value = accuracy (%), share = of the clips (%)
    risk : errors (%) among the most confident clips, of which there are `at` percent
    """
    names = [condition.name for condition in conditions]
    rows = by_condition(predictions, {name: {} for name in names}, METRICS)
    rows = [row | (NO_INTERVAL if row["measure"] == "ece" else {}) for row in rows]
    rows += _rises(predictions, *names)
    for name in names:
        clips = select(predictions, condition=name)
        size = {"actors": clips["actor"].nunique(), "clips": clips["clip"].nunique()}
        if len(clips):
            chance = {"measure": "ece_chance", "value": ece_by_chance(clips)}
            rows += [{"condition": name} | point | size for point in (chance, *reliability(clips), *risks(clips))]
    return rows


def _rises(predictions: pd.DataFrame, intact: str, *others: str) -> list[Row]:
    clips, rows = per_clip(predictions, confidence(predictions)), []
    for other in others:
        if {intact, other} <= set(clips):
            rise = clips[other] - clips[intact]
            pairs = clips.assign(rises=rise > RISE, by=rise.where(rise > RISE))[rise.notna()]
            rows += estimates({"condition": other}, pairs, RISES)
    return rows


def reliability(rows: pd.DataFrame) -> list[Row]:
    """The points of a reliability diagram: measure bin, at, value, share, in percent."""
    sure, hits, clips = np.split(_binned(rows).sum(axis=0), 3)
    full = np.flatnonzero(clips)
    points = {"at": 100 * sure[full] / clips[full], "value": 100 * hits[full] / clips[full]}
    return pd.DataFrame({"measure": "bin", **points, "share": 100 * clips[full] / len(rows)}).to_dict("records")


def risks(rows: pd.DataFrame) -> list[Row]:
    """Risk against coverage: measure risk, at (coverage), value (errors among those answered), in percent."""
    wrong = 1 - right(rows)[np.argsort(-confidence(rows), kind="stable")]
    counts = np.maximum(1, np.round(COVERAGE * len(wrong)).astype(int))
    points = zip(100 * COVERAGE, counts, strict=True)
    return [{"measure": "risk", "at": at, "value": 100 * wrong[:count].mean()} for at, count in points]


def temperature(validation: pd.DataFrame) -> float:
    """The temperature by which logits are divided for the highest likelihood of the labels; above 1 = overconfident.

    validation : predictions of clips that are not tested, such as `predictions(net, run.validation, [Intact()], ...)`
    It lies within TEMPERATURES. A network that has every validation clip right gets the lowest: it says "be surer".
    """
    logs = _logarithms(validation)
    labels = validation["label"].to_numpy(int)
    if (logs.argmax(axis=1) == labels).all():
        return TEMPERATURES[0]  # the surer the likelier, without end
    truth = np.arange(len(logs)), labels

    def loss(log_temperature: float) -> float:
        return -np.mean(log_softmax(logs / np.exp(log_temperature), axis=1)[truth])

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def at_bound(temperature: float) -> bool:
    """True at a bound of the search: the best temperature may lie beyond."""
    return bool(np.isclose(temperature, TEMPERATURES, rtol=0.01).any())


def _logarithms(table: pd.DataFrame) -> np.ndarray:
    """Logarithms (N, classes) of probabilities; one that was rounded to 0 counts as the smallest of its type."""
    chances = table.filter(regex=PROBABILITIES)
    smallest = max(np.finfo(kind).smallest_subnormal for kind in chances.dtypes)
    return np.log(np.maximum(probabilities(table), smallest))


def with_temperature(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The same predictions with their logits divided by a temperature: other probabilities, the same answers."""
    names = table.filter(regex=PROBABILITIES).columns
    return table.assign(**dict(zip(names, softmax(_logarithms(table) / temperature, axis=1).T, strict=True)))


def line(system: str, rows: pd.DataFrame) -> str:
    """How far confidence is from accuracy, and how often it rises while evidence goes."""
    names = ("ece", "ece_chance", "rises", "by")
    errors, chance, rises, by = (select(rows, measure=name).set_index("condition")["value"] for name in names)
    worst, most = errors.iloc[1:].idxmax(), rises.idxmax()
    rise = f"most for {rises[most]:.0f} % of the clips, by {by[most]:.0f} points, with {most}"
    off = f"**{errors.iloc[0]:.0f} points** with both modalities ({chance.iloc[0]:.0f} by chance alone)"
    return (
        f"{off}, **{errors[worst]:.0f}** with {worst} ({chance[worst]:.0f}): how far confidence is from accuracy in "
        f"{system}. Confidence rises {rise if rises[most] else 'nowhere'}."
    )


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """A row per system and condition: accuracy, confidence, ece, ece_chance, brier, rises and by, as in `results`."""
    measures = ["accuracy", "confidence", "ece", "ece_chance", "brier", "rises", "by"]
    rows = table[table["measure"].isin(measures)]
    return rows.pivot_table("value", ["system", "condition"], "measure", sort=False).reindex(columns=measures)
