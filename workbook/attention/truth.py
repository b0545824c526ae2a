"""Attention against the truth: does the network look where a toy corpus shows its cue?

A cue's span and the steps of attention are in seconds, or, where a corpus knows none, in places from 0 to 1.

Two yardsticks stand beside every share of attention. `chance` is the share of time steps inside the cue: what even
attention gives. `lift_elsewhere` is the lift of the same attention over the cues of the other clips: what a habit of
looking at the same seconds in every clip would earn. Attention that follows the cue beats both.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from workbook import InputError
from workbook.data.window import WINDOW

MEANS = ["share", "chance", "lift", "lift_elsewhere"]
SUMMARY = ["modality", "clips", "left_out", *MEANS, "p_chance", "p_elsewhere"]  # columns of `summary`
CUE = {"video": "face", "audio": "voice"}  # which cue of the truth each attention vector should find
EVEN = 0.1  # what differs by less from an even share is called even


def inside(times: np.ndarray, interval: tuple[float, float]) -> np.ndarray:
    """(T,) bool, True where a step's centre lies in the interval, both ends included."""
    start, end = interval
    if not start <= end:
        raise InputError(f"the interval ({start:g}, {end:g}) has no length: give (start, end), start first.")
    times = np.asarray(times, dtype=float)
    return (times >= start) & (times <= end)


def chance_share(times: np.ndarray, interval: tuple[float, float]) -> float:
    """The share of time steps inside the interval, in [0, 1]: what even attention gives."""
    return float(inside(times, interval).mean())


def attention_share(vector: np.ndarray, times: np.ndarray, interval: tuple[float, float]) -> float:
    """The share of the attention inside the interval, in [0, 1]; NaN where the interval holds no step.

    vector : (T,) attention received, any positive total        times : (T,) step centres
    """
    return float(_share_matrix(np.asarray(vector)[None], times, [interval])[0, 0])


def _share_matrix(vectors: np.ndarray, times: np.ndarray, intervals: list[tuple[float, float]]) -> np.ndarray:
    """(N, M) share of each of N vectors inside each of M intervals; NaN where an interval holds no step."""
    vectors = np.asarray(vectors, dtype=float)  # (N, T)
    if vectors.ndim != 2 or vectors.shape[1] != len(times):
        raise InputError(f"attention vectors of shape {vectors.shape} for {len(times)} times: give one time per step.")
    totals = vectors.sum(axis=1, keepdims=True)
    if not (np.isfinite(vectors).all() and (vectors >= 0).all() and (totals > 0).all()):
        raise InputError("an attention vector must be finite, nowhere negative and not all zero.")
    steps = np.array([inside(times, interval) for interval in intervals]).reshape(-1, len(times))  # (M, T)
    return np.where(steps.any(axis=1), (vectors / totals) @ steps.T, np.nan)


def cues_in_window(truth: pd.Series, window_start: float, length: float = WINDOW) -> dict[str, tuple[float, float]]:
    """The spans of a clip's cues in its window, cut at its ends, for `plots.attention_over_clip`.

    truth : one row of a toy corpus's truth, which may know one of the cues alone
    window_start : seconds of the clip at which the window begins        length : of the window; 1 where cues are places
    A cue that does not show, or lies outside the window, is left out.
    """
    spans = {}
    for cue in CUE.values():
        if not truth.get(f"{cue}_shows", False):
            continue
        start, end = np.clip([truth[f"{cue}_start"] - window_start, truth[f"{cue}_end"] - window_start], 0, length)
        if start < end:
            spans[cue] = (float(start), float(end))
    return spans


def cues_by_clip(
    clips: pd.DataFrame, truth: pd.DataFrame | None, seconds: bool = True
) -> dict[str, dict[str, tuple[float, float]]]:
    """The cues of each clip in its window, as `cues_in_window`, by its name; {} where nobody knows them.

    clips : columns clip and, in clips with seconds, window_start
    truth : a toy corpus's, indexed by clip or with a column of it; None on real data
    seconds : False = cues are places from 0 to 1, as in features
    """
    if truth is None:
        return {}
    known = truth if truth.index.name == "clip" else truth.set_index("clip")
    starts = clips["window_start"] if "window_start" in clips else np.zeros(len(clips))
    length = WINDOW if seconds else 1.0
    return {
        clip: cues_in_window(known.loc[clip], start, length) for clip, start in zip(clips["clip"], starts, strict=True)
    }


def in_words(
    vectors: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    cues: dict[str, tuple[float, float]] | None,
    at: Callable[[float], str],
) -> str:
    """What one clip's attention vectors show, in one sentence: how even they are, where the most goes, and the cue.

    vectors : {"video": (Tv,), "audio": (Ta,)}, one or both, in multiples of even attention        times : step centres
    cues : as `cues_in_window`        at : a time in words, such as `plots.SECONDS.at`
    """
    said = []
    for modality, vector in vectors.items():
        span = (cues or {}).get(CUE[modality])
        even = int((np.abs(vector - 1) <= EVEN).sum())
        words = f"{even} of {len(vector)} {modality} steps get an even share within {100 * EVEN:.0f} %"
        if len(vector) > 1:
            words += f", the one at {at(times[modality][vector.argmax()])} gets most ({vector.max():.2f} times even)"
        within = inside(times[modality], span) if span else np.array([False])
        words += f", those inside the cue get {vector[within].mean():.2f} times even" if within.any() else ""
        said.append(words)
    return f"In this clip {'; '.join(said)}."


def clips_with_cues(clips: pd.DataFrame, cues: pd.DataFrame) -> list[str]:
    """The names of those clips in which every cue shows, in their order.

    clips : column clip        cues : a toy corpus's truth, as in `shares`; a cue that never shows is left out
    """
    shown = cues.set_index("clip")[[f"{cue}_shows" for cue in CUE.values() if cues[f"{cue}_shows"].any()]].all(axis=1)
    return [clip for clip in clips["clip"] if shown[clip]]


def alike(cues: pd.DataFrame) -> pd.DataFrame:
    """Which emotions one modality cannot tell apart: columns share (a face, a voice) and emotions, a row per group.

    cues : a toy corpus's truth, with columns emotion, face_group and voice_group; others give an empty table
    """
    rows = []
    for cue in CUE.values():
        if f"{cue}_group" not in cues:
            continue
        for _, names in cues.groupby(f"{cue}_group", sort=False)["emotion"].unique().items():
            rows += [(f"a {cue}", ", ".join(names))] if len(names) > 1 else []
    return pd.DataFrame(rows, columns=["share", "emotions"])


def shares(
    clips: pd.DataFrame, vectors: dict[str, np.ndarray], times: dict[str, np.ndarray], cues: pd.DataFrame
) -> pd.DataFrame:
    """One row per clip and modality whose cue shows: clip, modality, share, chance, lift, lift_elsewhere.

    clips : columns clip and, in clips with seconds, window_start, at which the 3.6 s window begins
    vectors : {"video": (N, Tv), "audio": (N, Ta)}, one or both, rows in the order of `clips`
    times : {"video": (Tv,), "audio": (Ta,)} step centres in seconds of the window, or places from 0 to 1
    cues : a toy corpus's truth: clip, face_start, face_end, face_shows, voice_start, voice_end, voice_shows, in
        seconds of the clip, shifted to the window here, or in places; one modality needs its own cue only
    lift = share / chance. A clip whose cue holds no step of the window keeps its row, with NaN.
    """
    unknown = set(clips["clip"]) - set(cues["clip"])
    if unknown:
        raise InputError(f"{len(unknown)} clips are not in the truth, such as {min(unknown)}: it is of another corpus.")
    truth = cues.set_index("clip").loc[clips["clip"]].reset_index()
    start = clips["window_start"].to_numpy() if "window_start" in clips else np.zeros(len(clips))
    tables = [_shares_of(modality, vectors[modality], times[modality], truth, start) for modality in vectors]
    return pd.concat(tables, ignore_index=True)


def _shares_of(
    modality: str, vectors: np.ndarray, times: np.ndarray, truth: pd.DataFrame, window_start: np.ndarray
) -> pd.DataFrame:
    """`shares` of one modality; truth in the order of the vectors."""
    cue = CUE[modality]
    if len(vectors) != len(truth):
        raise InputError(f"{len(vectors)} {modality} attention vectors for {len(truth)} clips: give one for each.")
    spans = truth[[f"{cue}_start", f"{cue}_end"]].to_numpy() - window_start[:, None]
    rows = np.flatnonzero(truth[f"{cue}_shows"])
    share = _share_matrix(vectors[rows], times, spans[rows])  # (clip, cue): each attention over every clip's cue
    chance = np.array([chance_share(times, span) for span in spans[rows]])
    lift = share / np.where(chance > 0, chance, np.nan)
    elsewhere = pd.DataFrame(np.where(np.eye(len(rows), dtype=bool), np.nan, lift)).mean(axis=1)
    return pd.DataFrame(
        {
            "clip": truth["clip"].to_numpy()[rows],
            "modality": modality,
            "share": np.diag(share),
            "chance": chance,
            "lift": np.diag(lift),
            "lift_elsewhere": elsewhere.where(chance > 0).to_numpy(),
        }
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per modality of a `shares` table: means over its clips and how sure they are.

    Columns: modality; clips, the number counted; left_out, the clips whose cue holds no step; the means of share,
    chance, lift and lift_elsewhere; p_chance and p_elsewhere, the one-sided Wilcoxon signed-rank tests over clips that
    lift is above 1 and above lift_elsewhere (NaN with fewer than 10 clips). Empty where no cue shows.
    """
    rows = []
    for modality, every in table.groupby("modality", sort=False):
        counted = every.dropna(subset="share")
        means = counted[MEANS].mean()
        tests = {
            "p_chance": _p_above_zero(counted["lift"] - 1),
            "p_elsewhere": _p_above_zero(counted["lift"] - counted["lift_elsewhere"]),
        }
        size = {"modality": modality, "clips": len(counted), "left_out": len(every) - len(counted)}
        rows.append({**size, **means, **tests})
    return pd.DataFrame(rows, columns=SUMMARY)


def _p_above_zero(differences: pd.Series) -> float:
    differences = differences.dropna().round(9)  # what rounding left of a zero has no sign
    if len(differences) < 10:
        return np.nan
    return float(wilcoxon(differences, alternative="greater", zero_method="zsplit", method="asymptotic").pvalue)
