"""Does it know? Whether confidence says how often a network is right, also when evidence is taken away.

Confidence is the probability of the answer. Sources: Guo et al., On calibration of modern neural networks (ICML 2017),
for the expected calibration error and temperature scaling; Brier (1950); Geifman and El-Yaniv, Selective classification
for deep neural networks (NeurIPS 2017), for risk against coverage.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from workbook import InputError
from workbook.evaluate.baselines import TIME
from workbook.evaluate.conditions import Condition, Gone, Intact
from workbook.evaluate.metrics import Metric
from workbook.evaluate.statistics import Systems
from workbook.studies.study import Study, accuracy, estimate, mean_of, of, per_clip, probabilities, results
from workbook.train.batches import Clips

BINS = 10  # of confidence, equally wide
RISE = 0.01  # a smaller rise of confidence counts as none
COVERAGE = np.arange(1, 11) / 10  # shares of the clips that are answered
LEAST = 1e-12  # probability, where its logarithm is taken
TEMPERATURES = (0.05, 20.0)  # the lowest and the highest that are tried


def conditions(clips: Clips) -> list[Condition]:
    """Nothing gone; half of either modality, if it has two steps; all of either. Raises InputError for sentiment."""
    if clips.task.outputs == 1:
        raise InputError("this study asks for probabilities of classes, and sentiment has none")
    gone = [Gone(modality, share, where="end") for share in (0.5, 1.0) for modality in TIME]
    return [Intact(), *(one for one in gone if one.changes(clips))]


def confidence(table: pd.DataFrame) -> np.ndarray:
    """The probability of each answer, (N,)."""
    return probabilities(table).max(axis=1)


def _confidences(rows: pd.DataFrame) -> np.ndarray:
    return np.column_stack([confidence(rows), np.ones(len(rows))])


def _binned(rows: pd.DataFrame) -> np.ndarray:
    """By bin of confidence, one after the other: confidence, right answers, clips; (N, 3 BINS)."""
    sure = confidence(rows)
    answered = probabilities(rows).argmax(axis=1) == rows["label"].to_numpy()
    bins = np.eye(BINS)[np.minimum((sure * BINS).astype(int), BINS - 1)]  # (N, BINS)
    return np.hstack([bins * sure[:, None], bins * answered[:, None], bins])


def _ece(sums: np.ndarray) -> np.ndarray:
    sure, answered, clips = np.split(sums, 3, axis=-1)
    return 100 * np.abs(sure - answered).sum(axis=-1) / clips.sum(axis=-1)


def _squares(rows: pd.DataFrame) -> np.ndarray:
    found = probabilities(rows)
    errors = found - np.eye(found.shape[1])[rows["label"].to_numpy(int)]
    return np.column_stack([(errors**2).sum(axis=1), np.ones(len(rows))])


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


CONFIDENCE = Metric(_confidences, lambda sums: 100 * _ratio(sums))
ECE = Metric(_binned, _ece)
BRIER = Metric(_squares, _ratio)


def table(systems: Systems, conditions: Sequence[Condition]) -> pd.DataFrame:
    """What each system's confidence is worth in each condition; `at` and `share` belong to curves.

    accuracy, confidence, ece : in percent. ece is the mean distance of the other two, over BINS bins of confidence; in
        few clips chance alone makes it positive.
    brier : the sum over classes of squared errors of probabilities, the mean over clips: 0 to 2
    rises : the share of clips (%) that are more confident than with nothing gone, by over a point
    by : how many points that is, in these clips
    bin : a point of the reliability diagram: at = mean confidence, value = accuracy (%), share = of the clips (%)
    risk : errors (%) among the most confident clips, of which there are `at` percent
    """
    rows = []
    for name, system in systems.items():
        wanted = {"accuracy": accuracy(system), "confidence": CONFIDENCE, "ece": ECE, "brier": BRIER}
        rows += results({name: system}, conditions, wanted)
        rows += _rises(name, system, conditions)
        for condition in conditions:
            own = of(system, condition=condition.name)
            about = {"system": name, "condition": condition.name}
            size = {"actors": own["actor"].nunique(), "clips": own["clip"].nunique()}
            rows += [about | row | size for row in (*reliability(own), *risks(own)) if len(own)]
    return pd.DataFrame(rows)


def _rises(name: str, system: pd.DataFrame, conditions: Sequence[Condition]) -> list[dict]:
    clips, rows = per_clip(system, confidence(system)), []
    for condition in conditions[1:]:
        if {conditions[0].name, condition.name} <= set(clips):
            more = (clips[condition.name] - clips[conditions[0].name]).to_numpy()
            own = clips.assign(rises=more > RISE, by=np.where(more > RISE, more, np.nan))[np.isfinite(more)]
            for measure in ("rises", "by"):
                found = estimate(own, mean_of(measure, 100))
                rows.append({"system": name, "condition": condition.name, "measure": measure} | found)
    return rows


def reliability(rows: pd.DataFrame) -> list[dict]:
    """The points of a reliability diagram: measure bin, at, value, share, in percent."""
    sure, answered, clips = np.split(_binned(rows).sum(axis=0), 3)
    there = np.flatnonzero(clips)
    points = 100 * sure[there] / clips[there], 100 * answered[there] / clips[there], 100 * clips[there] / len(rows)
    return [
        {"measure": "bin", "at": at, "value": value, "share": share} for at, value, share in zip(*points, strict=True)
    ]


def risks(rows: pd.DataFrame) -> list[dict]:
    """Risk against coverage: measure risk, at (coverage), value (errors among those answered), in percent."""
    wrong = probabilities(rows).argmax(axis=1) != rows["label"].to_numpy()
    wrong = wrong[np.argsort(-confidence(rows), kind="stable")]
    counts = np.maximum(1, np.round(COVERAGE * len(wrong)).astype(int))
    return [
        {"measure": "risk", "at": 100 * at, "value": 100 * wrong[:count].mean()}
        for at, count in zip(COVERAGE, counts, strict=True)
    ]


def temperature(validation: pd.DataFrame) -> float:
    """The temperature by which logits are divided for the highest likelihood of the labels; above 1 = overconfident.

    validation : predictions of clips that are not tested, such as `predictions(net, run.validation, [Intact()], ...)`
    It lies within TEMPERATURES. A network that has every validation clip right gets the lowest: it says "be surer".
    """
    logs = np.log(np.maximum(probabilities(validation), LEAST))
    labels = validation["label"].to_numpy(int)
    if (logs.argmax(axis=1) == labels).all():
        return TEMPERATURES[0]  # the surer the likelier, without end
    truth = np.arange(len(logs)), labels

    def loss(log_temperature: float) -> float:
        return -np.mean(_scaled(logs, np.exp(log_temperature))[truth])

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def at_bound(temperature: float) -> bool:
    """Whether a temperature is only as far as the search went: the best one may lie beyond."""
    return bool(np.isclose(temperature, TEMPERATURES, rtol=0.01).any())


def _scaled(logs: np.ndarray, temperature: float) -> np.ndarray:
    """Logarithms of probabilities (N, classes) at another temperature."""
    scaled = logs / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)


def with_temperature(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The same predictions with their logits divided by a temperature: other probabilities, the same answers."""
    logs = np.log(np.maximum(probabilities(table), LEAST))
    names = table.filter(regex=r"^p\d+$").columns
    return table.assign(**dict(zip(names, np.exp(_scaled(logs, temperature)).T, strict=True)))


def sentence(table: pd.DataFrame) -> str:
    """How far confidence is from accuracy, and how often it rises while evidence goes: a line for each system."""
    lines = []
    for system, own in table.groupby("system", sort=False):
        errors, rises, by = (of(own, measure=name).set_index("condition")["value"] for name in ("ece", "rises", "by"))
        worst, most = errors.iloc[1:].idxmax(), rises.idxmax()
        more = (
            f"most for {rises[most]:.0f} % of the clips, by {by[most]:.0f} points, with {most}"
            if rises[most]
            else "nowhere"
        )
        lines.append(
            f"{system} is off by {errors.iloc[0]:.0f} points with both modalities, and by {errors[worst]:.0f} with "
            f"{worst}. Confidence rises {more}."
        )
    return "\n".join(lines)


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """A row per system and condition: accuracy, confidence, ece, brier, rises and by, as in `table`."""
    measures = ["accuracy", "confidence", "ece", "brier", "rises", "by"]
    shown = table[table["measure"].isin(measures)]
    return shown.pivot_table("value", ["system", "condition"], "measure", sort=False).reindex(columns=measures)


STUDY = Study("Does it know when evidence is gone?", conditions, table, sentence)
