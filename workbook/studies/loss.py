"""Graded loss: 0 to 100 % of the time steps of one modality gone, here and there or in one burst."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbook.evaluate.baselines import TIME
from workbook.evaluate.conditions import PLACES, Condition, Gone, Intact
from workbook.evaluate.metrics import Metric, right
from workbook.studies.estimates import CONFIDENCE, Row, by_condition, estimates, per_clip, select, share_of
from workbook.train.batches import Clips

FEWEST = 2  # clips: a difference of one says nothing


def conditions(clips: Clips, fill: str = "zeros", levels: int = 10) -> list[Condition]:
    """Nothing gone; then for each modality some steps gone at each place; then all of it gone.

    fill : what takes their place; where nothing is left to be held, zeros do
    levels : shares up to all, where a modality has as many steps
    """
    tries: list[Condition] = [Intact()]
    for modality, steps in clips.steps.items():
        counts = sorted({round(steps * level / levels) for level in range(1, levels)} - {0, steps})
        tries += [Gone(modality, count / steps, where, fill) for where in PLACES for count in counts]
        fills = dict.fromkeys(("zeros" if fill == "held" else fill, "zeros"))  # with zeros: the other modality alone
        tries += [Gone(modality, fill=name) for name in fills]
    return tries


def results(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> list[Row]:
    """The curves and their summaries: a row per modality, place (where), share and measure.

    accuracy, confidence : in percent, at each share that is gone
    area : under the curve of accuracy, its mean over all shares from 0 to 100 %
    better alone : the share (%) from which on at least FEWEST more clips are right with the other modality alone, zeros
        in place of this one. 100 = they never are.
    """
    rows, clips = [], per_clip(predictions, right(predictions))
    for (modality, where), curve in curves(conditions).items():
        about = {"modality": modality, "where": where}
        points = {condition.name: about | {"share": 100 * share} for share, condition in curve.items()}
        rows += by_condition(predictions, points, CONFIDENCE)
        names, shares, alone = [*points], np.array([*curve]), Gone(modality).name
        if {*names, alone} <= set(clips):
            own = clips.assign(area=np.trapezoid(clips[names], shares, axis=1))
            metrics = {"area": share_of("area"), "better alone": better_alone(names, shares, alone)}
            rows += estimates({"condition": "", **about, "share": np.nan}, own, metrics)
    return rows


def curves(conditions: Sequence[Condition]) -> dict[tuple[str, str], dict[float, Condition]]:
    """The conditions of each curve, by modality and place: share that is gone -> condition."""
    curves = {}
    for modality in TIME:
        losses = [loss for loss in conditions if isinstance(loss, Gone) and loss.modality == modality]
        for where in dict.fromkeys(loss.where for loss in losses if loss.share < 1) or {"end": None}:
            points = {loss.share: loss for loss in reversed(losses) if loss.where == where or loss.share == 1}
            curves[modality, where] = {0.0: Intact()} | dict(sorted(points.items()))
    return curves


def better_alone(names: Sequence[str], shares: np.ndarray, alone: str, fewest: float = FEWEST) -> Metric:
    """The share (%) at which the line through the accuracies first falls below that of the other modality alone.

    names : of the conditions of a curve, columns of `per_clip`      shares : that are gone in these
    alone : the condition with the other modality alone      fewest : clips by which it must be better; 100 = nowhere
    """

    def columns(clips: pd.DataFrame) -> np.ndarray:
        return clips[[*names, alone]].fillna(0).to_numpy()

    def score(sums: np.ndarray) -> np.ndarray:
        ahead = sums[..., :-1] - sums[..., -1:]  # (..., S) clips that are right beyond those of the other alone
        below = ahead <= 1e-9 - fewest
        at = below.argmax(axis=-1)[..., None]
        before, after = (np.take_along_axis(ahead, np.maximum(at - k, 0), -1)[..., 0] for k in (1, 0))
        start, end = shares[np.maximum(at - 1, 0)][..., 0], shares[at][..., 0]
        cross = np.where(at[..., 0] > 0, start + (end - start) * np.maximum(before, 0) / (before - after), 0.0)
        return 100 * np.where(below.any(axis=-1), cross, 1.0)

    return Metric(columns, score)


def line(system: str, rows: pd.DataFrame) -> str:
    """How much of the accuracy survives on the way, and where a broken modality is worse than none."""
    means, harm = [], []
    for modality, summary in rows.groupby("modality", sort=False):
        means.append(f"**{select(summary, measure='area')['value'].mean():.0f} %** while {modality} goes")
        broken = select(summary, measure="better alone")
        if len(broken) and broken["value"].min() < 100:
            first = broken.loc[broken["value"].idxmin()]
            other = "Video" if modality == "audio" else "Audio"
            place = f" {PLACES[first['where']]}" if first["where"] in PLACES else ""
            harm.append(f" {other} alone is better once {first['value']:.0f} % of {modality} is gone{place}.")
    return f"{' and '.join(means)}: the mean accuracy of {system}.{''.join(harm)}"
