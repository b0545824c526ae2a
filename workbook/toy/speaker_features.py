"""Who is speaking? as features: made in a second, for lessons and tests.

The same task as in `workbook.toy.speaker`, with four kinds of people, of whom each clip shows three. A kind, an
expression and a group of voices is a pattern over some channels. Each person differs from their kind, and each step has
noise. Nobody is in the clips of two casts.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from workbook.data.datasets import truth_path
from workbook.data.ravdess import EMOTIONS
from workbook.files import atomic_write, write_table
from workbook.toy.speaker import VOICE_GROUPS, draw_turns, truth_row

KINDS = ("deep", "high", "child", "hoarse")  # of voices, and of looks that go with them
CASTS = 24
TAKES = 8  # clips of a cast with each emotion
STEPS = 24  # of a clip, eight for each person
CHANNELS = 20  # that show the kind, and as many that show the expression, or the group of voices
STRENGTH = 2.0  # of a pattern in one channel, where the noise has a deviation of 1
PERSON = 0.5  # deviation of a person from their kind in each channel


def make_file(path: Path | str, seed: int = 0, casts: int = CASTS, takes: int = TAKES) -> None:
    """Writes the features to an .npz at `path` and their truth beside it; the same seed gives the same arrays."""
    path, rng = Path(path), np.random.default_rng(seed)
    plan = [(cast, emotion, take) for cast in range(1, casts + 1) for emotion in EMOTIONS for take in range(takes)]
    turns = [draw_turns(emotion, KINDS, rng) for _, emotion, _ in plan]
    clips = [f"cast{cast:02d}-{emotion}-{take}" for cast, emotion, take in plan]
    rows = zip(clips, plan, turns, strict=True)
    table = pd.DataFrame({"clip": clip, "actor": cast, **truth_row(people, 1.0)} for clip, (cast, *_), people in rows)
    write_table(truth_path(path), table)
    arrays = {"clip": clips, "label": table["emotion"].to_numpy(str), "group": table["actor"].to_numpy()}
    looks = [np.array([*table[name].str.split()]) for name in ("kinds", "expressions")]  # (N, PEOPLE) each
    voices = [names.to_numpy(str)[:, None] for names in (table["kind"], table["emotion"].map(VOICE_GROUPS))]  # (N, 1)
    arrays |= {name: _series(rng, table["actor"], *own) for name, own in (("video", looks), ("audio", voices))}
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def _series(rng: np.random.Generator, casts: pd.Series, kinds: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The features of the people of each clip, (N, 2 CHANNELS, STEPS) float32, who share its steps one after the other.

    casts : (N,)        kinds, others : (N, people) names that the first and the last CHANNELS channels show
    Each person of a cast differs from all of their kind, in the same way in all clips.
    """
    people = np.concatenate([_patterns(rng, kinds), _patterns(rng, others)], axis=-1)
    differences = rng.normal(0, PERSON, (casts.max() + 1, len(KINDS), 2 * CHANNELS))
    people += differences[casts.to_numpy()[:, None], np.searchsorted(sorted(KINDS), kinds)]
    steps = np.repeat(people, STEPS // kinds.shape[1], axis=1).swapaxes(1, 2)
    return (steps + rng.standard_normal(steps.shape)).astype(np.float32)


def _patterns(rng: np.random.Generator, names: np.ndarray) -> np.ndarray:
    """The pattern of each name (...), signs in CHANNELS channels: (..., CHANNELS)."""
    distinct, positions = np.unique(names, return_inverse=True)
    return rng.choice([-STRENGTH, STRENGTH], (len(distinct), CHANNELS))[positions]
