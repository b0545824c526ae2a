"""Graded loss: 0 to 100 % of the time steps of one modality gone, here and there or in one burst."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from avlib.batches import Clips
from avlib.conditions import Condition, Intact
from avlib.lab.baselines import TIME
from avlib.lab.measures import Measure
from avlib.lab.statistics import Systems
from avlib.studies.calibration import CONFIDENCE
from avlib.studies.gone import PLACES, Gone
from avlib.studies.study import Study, accuracy, estimate, joined, mean_of, of, per_clip, results, right


def conditions(clips: Clips, fill: str = "zeros", levels: int = 10) -> list[Condition]:
    """Nothing gone; then for each modality some steps gone at each place; then all of it gone.

    fill : what stands in their place      levels : shares up to all, where a modality has as many steps
    """
    found: list[Condition] = [Intact()]
    audio, video, _ = clips[torch.tensor([0])]
    for modality, steps in {"audio": audio.shape[TIME["audio"]], "video": video.shape[TIME["video"]]}.items():
        counts = sorted({round(steps * level / levels) for level in range(1, levels)} - {0, steps})
        found += [Gone(modality, count / steps, where, fill) for where in PLACES for count in counts]
        found.append(Gone(modality, 1.0, fill=fill))
    return found


def table(systems: Systems, conditions: Sequence[Condition]) -> pd.DataFrame:
    """The curves, and what they come to: a row per system, modality, place (where), share and measure.

    accuracy, confidence : in percent, at each share that is gone
    area : under the curve of accuracy, its mean over all shares from 0 to 100 %
    better alone : the share (%) from which on accuracy is lower than with all of it gone: the other modality alone
        would have been better. 100 = it never is.
    """
    rows = []
    for (modality, where), curve in curves(conditions).items():
        for share, condition in curve.items():
            about = {"modality": modality, "where": where, "share": 100 * share}
            for name, system in systems.items():
                wanted = {"accuracy": accuracy(system)} | ({} if "value" in system else {"confidence": CONFIDENCE})
                rows += results({name: system}, [condition], wanted, **about)
        for name, system in systems.items():
            about = {"system": name, "condition": "", "modality": modality, "where": where, "share": np.nan}
            clips, names = per_clip(system, right(system)), [one.name for one in curve.values()]
            if set(names) <= set(clips):
                shares = np.array([*curve])
                area = clips.assign(area=np.trapezoid(clips[names], shares, axis=1))
                rows.append(about | {"measure": "area"} | estimate(area, mean_of("area", 100)))
                rows.append(about | {"measure": "better alone"} | estimate(clips, better_alone(names, shares)))
    return pd.DataFrame(rows)


def curves(conditions: Sequence[Condition]) -> dict[tuple[str, str], dict[float, Condition]]:
    """The conditions of each curve, by modality and place: share that is gone -> condition."""
    found = {}
    for modality in TIME:
        gone = [one for one in conditions if isinstance(one, Gone) and one.modality == modality]
        for where in dict.fromkeys(one.where for one in gone if one.share < 1) or {"end": None}:
            own = {one.share: one for one in gone if one.where == where or one.share == 1}
            found[modality, where] = {0.0: Intact()} | dict(sorted(own.items()))
    return found


def better_alone(names: Sequence[str], shares: np.ndarray) -> Measure:
    """The share (%) at which the line through the accuracies first falls below its end; 100 = nowhere.

    names : of the conditions of a curve, columns of `per_clip`      shares : that are gone in these
    """

    def columns(clips: pd.DataFrame) -> np.ndarray:
        return clips[[*names]].fillna(0).to_numpy()

    def score(sums: np.ndarray) -> np.ndarray:
        ahead = sums - sums[..., -1:]  # (..., S) of what the other modality alone has right
        below = ahead < -1e-9
        at = below.argmax(axis=-1)[..., None]
        before, after = (np.take_along_axis(ahead, np.maximum(at - k, 0), -1)[..., 0] for k in (1, 0))
        start, end = shares[np.maximum(at - 1, 0)][..., 0], shares[at][..., 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            cross = np.where(at[..., 0] > 0, start + (end - start) * before / (before - after), 0.0)
        return 100 * np.where(below.any(axis=-1), cross, 1.0)

    return Measure(columns, score)


def sentence(table: pd.DataFrame) -> str:
    """How much of the accuracy survives on the way, and from where on a broken modality is worse than none."""
    said = []
    for system, own in table.groupby("system", sort=False):
        parts = []
        for modality, rows in own.groupby("modality", sort=False):
            area, alone = of(rows, measure="area")["value"], of(rows, measure="better alone")["value"]
            if len(area):
                other = "video" if modality == "audio" else "audio"
                better = f"better from {alone.min():.0f} % on" if alone.min() < 100 else "never better"
                parts.append(f"{area.mean():.0f} % while {modality} goes ({other} alone is {better})")
        said.append(f"{system} keeps {joined(parts)}")
    return f"On average over all shares that may be gone, {'; '.join(said)}."


STUDY = Study("How does accuracy fall while a modality goes?", conditions, table, sentence)
