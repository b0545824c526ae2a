"""A toy MOSEI with a known truth, as a pickle in MULT's format.

The sentiment of a clip is the sum of two parts. Only the voice shows one, only the face the other. So each modality
alone helps, and only both give the exact sentiment. A part is a pattern over some channels in its own interval. The
speaker is an offset of all channels at all times.
"""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd

from workbook.data.datasets import truth_path
from workbook.files import atomic_write, write_table

LEVELS = (-1.5, -0.5, 0.5, 1.5)  # of each part, equally likely; the sum of two is -3, -2, ..., 3
VIDEOS = {"train": 120, "valid": 24, "test": 40}  # a video has one speaker and is in one split
CLIPS = 5  # of a video
STEPS = 50  # of a clip, as in the aligned files
CHANNELS = {"audio": 74, "vision": 35}  # COVAREP, FACET 4.2
CUE = (16, 22)  # shortest and longest cue in steps
PATTERN_CHANNELS = 16  # channels of a modality that show its part of the sentiment
STRENGTH = 2.0  # of a pattern in one channel, where noise and offset have a deviation of 1
INFINITE = 0.001  # share of the audio values that are -inf, as in COVAREP


def make_pickle(path: Path | str, seed: int = 0) -> None:
    """Writes a toy MOSEI to `path`, 600 + 120 + 200 clips, and its truth beside it, the pickle last.

    The truth is as in `workbook.toy`, with face_part, voice_part and their sum, sentiment; actor is the video.
    The same seed gives the same arrays.
    """
    path, rng = Path(path), np.random.default_rng(seed)
    patterns = {name: _patterns(rng, channels) for name, channels in CHANNELS.items()}
    splits, tables = {}, []
    for split, videos in VIDEOS.items():
        table = _plan(rng, split, videos)
        splits[split] = _arrays(rng, table, patterns)
        tables.append(table)
    write_table(truth_path(path), pd.concat(tables, ignore_index=True).drop(columns="start"))
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(splits, protocol=4))


def _patterns(rng: np.random.Generator, channels: int) -> np.ndarray:
    """The pattern of each level, (levels, channels): signs in the same few channels, zeros in the others."""
    patterns = np.zeros((len(LEVELS), channels))
    chosen = rng.choice(channels, PATTERN_CHANNELS, replace=False)
    patterns[:, chosen] = rng.choice([-STRENGTH, STRENGTH], (len(LEVELS), PATTERN_CHANNELS))
    return patterns


def _plan(rng: np.random.Generator, split: str, videos: int) -> pd.DataFrame:
    """The clips of a split, one per row: names, both parts of the sentiment, and their intervals."""
    count = videos * CLIPS
    table = pd.DataFrame({"actor": np.repeat([f"{split}-{video:03d}" for video in range(videos)], CLIPS)})
    table["start"] = np.tile(np.arange(CLIPS) * 10.0, videos)  # seconds of the video
    table["clip"] = [f"{row.actor}_{row.start:.1f}_{row.start + 10:.1f}" for row in table.itertuples()]
    for cue in ("face", "voice"):
        length = rng.integers(CUE[0], CUE[1] + 1, count)
        first = rng.integers(0, STEPS - length + 1)
        table[f"{cue}_part"] = rng.choice(LEVELS, count)
        table[f"{cue}_start"], table[f"{cue}_end"] = first / STEPS, (first + length) / STEPS
        table[f"{cue}_shows"] = True
    return table.assign(sentiment=table["face_part"] + table["voice_part"], duration=1.0)


def _arrays(rng: np.random.Generator, table: pd.DataFrame, patterns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A split as MULT's code reads it: text (here a column of zeros), audio, vision, labels, id."""
    audio = _signal(rng, table, "voice", patterns["audio"])
    audio[rng.random(audio.shape) < INFINITE] = -np.inf
    ends = table["start"] + 10
    return {
        "text": np.zeros((len(table), STEPS, 1), np.float32),
        "audio": audio,
        "vision": _signal(rng, table, "face", patterns["vision"]),
        "labels": table["sentiment"].to_numpy(np.float32).reshape(-1, 1, 1),
        "id": np.array([table["actor"], table["start"].astype(str), ends.astype(str)]).T,
    }


def _signal(rng: np.random.Generator, table: pd.DataFrame, cue: str, patterns: np.ndarray) -> np.ndarray:
    """The features of one modality, (N, STEPS, channels) float32: noise, the speaker's offset, the cue's pattern."""
    channels = patterns.shape[1]
    speaker, _ = pd.factorize(table["actor"])
    offset = rng.standard_normal((speaker.max() + 1, 1, channels))[speaker]
    level = np.searchsorted(LEVELS, table[f"{cue}_part"])
    centre = (np.arange(STEPS) + 0.5) / STEPS
    start, end = (table[f"{cue}_{name}"].to_numpy()[:, None] for name in ("start", "end"))
    is_inside = ((start <= centre) & (centre < end))[:, :, None]  # (N, STEPS, 1)
    noise = rng.standard_normal((len(table), STEPS, channels))
    return (noise + offset + is_inside * patterns[level][:, None]).astype(np.float32)


def reachable(classes: int = 1) -> dict[str, dict[str, float]]:
    """The best possible accuracy and MAE on a toy MOSEI under AV, A and V.

    accuracy : of positive against negative, in percent, among the clips whose sentiment is not 0
    mae : mean absolute error of the sentiment
    From one part alone, the best answers are the likelier sign and the median of all sums with the other part.
    """
    sums = np.add.outer(LEVELS, LEVELS)  # (known part, unknown part)
    alone = _best(sums)
    return {"AV": _best(sums.reshape(-1, 1)), "A": alone, "V": alone}


def _best(sums: np.ndarray) -> dict[str, float]:
    """The best possible measures where only the row of a sentiment is known; all sentiments are equally likely."""
    positive, negative = (sums > 0).sum(axis=1), (sums < 0).sum(axis=1)
    accuracy = np.maximum(positive, negative).sum() / (positive + negative).sum()
    error = np.abs(sums - np.median(sums, axis=1, keepdims=True)).mean()
    return {"accuracy": 100 * float(accuracy), "mae": float(error)}
