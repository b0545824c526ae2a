"""Attention against the truth: does the network look where a toy corpus shows its cue?

The span of a cue and the steps of attention are in seconds of the window or, in a corpus of features, in places from 0
to 1. `truth` is the table of a toy corpus, as `Corpus.truth` returns it: indexed by clip, with face_start, face_end and
face_shows, and the same of the voice. It may know one of the two alone.

`chance` is the share of time steps inside the cue: what even attention gives. `lift_elsewhere` is the lift of the same
attention over the cues of the other clips: what a habit would earn. Attention that follows the cue beats both.
"""

import numpy as np
import pandas as pd

from workbook.data.window import WINDOW
from workbook.evaluate.statistics import error_of_mean, student

CUE = {"video": "face", "audio": "voice"}  # the cue that the attention to each modality should find
MEANS = ["share", "chance", "lift", "lift_elsewhere"]
SHARES = ["clip", "actor", "modality", *MEANS]  # columns of `shares`
SUMMARY = ["modality", "clips", "left_out", *MEANS, "p_chance", "p_elsewhere"]  # columns of `summary`
Cues = dict[str, tuple[float, float]]  # face or voice -> start and end


def inside(times: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """(T,) bool, True where the centre of a step lies in the span, both ends included."""
    start, end = span
    return (times >= start) & (times <= end)


def cue_spans(clips: pd.DataFrame, truth: pd.DataFrame, cue: str) -> np.ndarray:
    """The start and end (N, 2) of a cue in each clip's window; NaN where it does not show.

    clips : columns clip and, in clips with seconds, window_start      cue : face | voice
    """
    rows = truth.loc[clips["clip"]]
    if f"{cue}_shows" not in rows:
        return np.full((len(clips), 2), np.nan)
    spans = rows[[f"{cue}_start", f"{cue}_end"]].to_numpy(float)
    if "window_start" in clips:
        spans = spans - clips[["window_start"]].to_numpy()
    return np.where(rows[[f"{cue}_shows"]], spans, np.nan)


def cues_by_clip(clips: pd.DataFrame, truth: pd.DataFrame | None) -> dict[str, Cues]:
    """The spans of each clip's cues, cut at the ends of its window; {} where the truth is not known.

    clips : as in `cue_spans`. A cue that does not show, or lies outside the window, is left out.
    """
    if truth is None:
        return {}
    length = WINDOW if "window_start" in clips else 1.0
    spans = {cue: cue_spans(clips, truth, cue).clip(0, length).tolist() for cue in CUE.values()}
    return {
        clip: {cue: tuple(own[row]) for cue, own in spans.items() if own[row][0] < own[row][1]}
        for row, clip in enumerate(clips["clip"])
    }


def clip_with_most_cues(clips: pd.DataFrame, cues: dict[str, Cues]) -> str:
    """The first clip that shows the most cues; cues : as `cues_by_clip`."""
    return max(clips["clip"], key=lambda clip: len(cues.get(clip, ())))


def confused_emotions(truth: pd.DataFrame | None) -> pd.DataFrame:
    """The emotions that one modality cannot tell apart: columns share (a face, a voice) and emotions, a row per group.

    truth : with columns emotion, face_group and voice_group; others, and None, give an empty table
    """
    rows = []
    for cue in CUE.values():
        if truth is not None and f"{cue}_group" in truth:
            groups = truth.groupby(f"{cue}_group", sort=False)["emotion"].unique()
            rows += [(f"a {cue}", ", ".join(emotions)) for emotions in groups if len(emotions) > 1]
    return pd.DataFrame(rows, columns=["share", "emotions"])


def shares(
    clips: pd.DataFrame,
    vectors: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    truth: pd.DataFrame | None,
) -> pd.DataFrame:
    """One row per clip and modality whose cue shows: clip, actor, modality, share, chance, lift, lift_elsewhere.

    clips : as in `cue_spans`, perhaps with actor; without it each clip counts as a person
    vectors : {"video": (N, Tv), "audio": (N, Ta)}, one or both, of any positive total
    times : {"video": (Tv,), "audio": (Ta,)} step centres
    truth : None gives an empty table
    lift = share / chance. A clip whose cue holds no step of the window keeps its row, with NaN.
    """
    tables, people = [], pd.DataFrame({"clip": clips["clip"], "actor": clips.get("actor", clips["clip"])})
    for modality, vector in vectors.items() if truth is not None else ():
        spans = cue_spans(clips, truth, CUE[modality])
        shows = ~np.isnan(spans[:, 0])
        start, end = spans[shows].T[..., None]  # (M, 1) each
        within = inside(times[modality], (start, end))  # (M, T)
        attention = np.asarray(vector, dtype=float)[shows]
        attention = attention / attention.sum(axis=1, keepdims=True)
        chance = within.mean(axis=1)
        share = np.where(chance > 0, attention @ within.T, np.nan)  # (clip, cue): of each clip, over every clip's cue
        lift = share / np.where(chance > 0, chance, np.nan)
        others = pd.DataFrame(np.where(np.eye(len(lift), dtype=bool), np.nan, lift)).mean(axis=1).to_numpy()
        columns = {"share": np.diag(share), "chance": chance, "lift": np.diag(lift)}
        columns |= {"lift_elsewhere": np.where(chance > 0, others, np.nan)}
        tables.append(people[shows].assign(modality=modality, **columns))
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=SHARES)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per modality of a `shares` table: means over its clips and how sure they are.

    Columns: modality; clips, the number counted; left_out, the clips whose cue holds no step; the means of share,
    chance, lift and lift_elsewhere; p_chance and p_elsewhere, the one-sided t-tests that the actors' mean lift is above
    1 and above lift_elsewhere (NaN with one actor). They speak of other people, not of other trainings. Empty where no
    cue shows.
    """
    rows = []
    for modality, clips in table.groupby("modality", sort=False):
        counted = clips.dropna(subset="share")
        sizes = {"modality": modality, "clips": len(counted), "left_out": len(clips) - len(counted)}
        tests = {
            "p_chance": _p_above_zero(counted["lift"] - 1, counted["actor"]),
            "p_elsewhere": _p_above_zero(counted["lift"] - counted["lift_elsewhere"], counted["actor"]),
        }
        rows.append({**sizes, **counted[MEANS].mean(), **tests})
    return pd.DataFrame(rows, columns=SUMMARY)


def summary_sentence(table: pd.DataFrame) -> str:
    """How much attention goes inside the cues, in Markdown; table : as `summary`."""
    if table.empty:
        return "Nothing to find: no cue is known in a modality that receives attention."
    rows = table.itertuples()
    parts = [f"**{row.lift:.2f}** on {row.modality} ({row.lift_elsewhere:.2f} on other clips' cues)" for row in rows]
    return f"{', '.join(parts)}: the attention inside the cues, in multiples of chance."


def _p_above_zero(differences: pd.Series, actors: pd.Series) -> float:
    means = differences.groupby(actors.to_numpy()).mean().dropna().round(9)  # rounding leaves nothing of a zero
    if len(means) < 2:
        return np.nan
    _, _, p = student(means.mean(), [error_of_mean(means)])
    return p / 2 if means.mean() > 0 else 1 - p / 2
