"""Features instead of clips: arrays computed elsewhere from picture and sound, and their store.

This file reads a user's `.npz`; `workbook.data.pickles` reads the pickles of MOSEI and MOSI. Both make `Features`.
Their store has `video.npy` and `audio.npy` in place of `faces.npy` and `mfcc.npy`.
"""

import hashlib
import json
import logging
import math
import os
import sys
import zipfile
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.store import (
    PROBLEM_COLUMNS,
    Store,
    new_draft,
    read_json,
    stamp,
    write_store,
)
from workbook.files import as_bytes, checksum

VERSION = 1  # a change makes stores anew
NEEDED, OPTIONAL = ("audio", "video", "label", "group"), ("clip", "has_audio", "has_video")  # the arrays of an .npz
MODALITIES = ("audio", "video")
BLOCK = 256  # clips that are copied, or hashed, at a time
EMPTY = "both modalities are missing: the clip is left out"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """A corpus of features in memory: N clips, in the same order everywhere."""

    clips: pd.DataFrame  # clip, actor (the group), label, emotion, split (if the file has one), has_audio, has_video
    audio: np.ndarray  # (N, Ca, Ta) float32, zeros where a clip has none
    video: np.ndarray  # (N, Tv, Cv) float32, zeros where a clip has none
    task: str  # "classes", labels from 0, or "sentiment", labels in [-3, 3]
    names: list[str]  # of the classes; empty for sentiment
    standardise: bool  # True = training standardises every channel
    problems: pd.DataFrame  # clips that cannot be used: clip, path, modality, reason
    facts: dict  # further entries of the manifest


def read_npz(path: Path | str) -> Features:
    """A user's own arrays from an .npz: `audio` (N, Ca, Ta), `video` (N, Cv, Tv), `label` (N,), `group` (N,).

    An array with two axes, (N, C), has one step. Optional arrays (N,): `clip`, the names; `has_audio` and `has_video`,
    True = the clip has it. Without these, a clip whose values are all 0 lacks the modality. Values that are not finite
    become 0 and are counted. Nothing is unpickled.

    label : classes as integers, text, or floats that are all whole and not negative; other floats in [-3, 3] are
            sentiment
    group : who is in the clip, integers or text; folds keep people apart
    Raises InputError for any other file.
    """
    path = Path(path)
    arrays = _load(path)
    _check_lengths(path, arrays)
    task, names, labels = _labels(path, arrays["label"])
    clips = pd.DataFrame({"clip": _clip_names(path, arrays), "actor": _groups(path, arrays["group"]), "label": labels})
    clips["emotion"] = polarity(labels) if task == "sentiment" else np.array(names)[labels]
    series, replaced = {}, {}
    for name in MODALITIES:
        present = _mask(path, f"has_{name}", arrays.get(f"has_{name}"))
        series[name], replaced[name] = _series(path, name, arrays.pop(name), present)
        clips[f"has_{name}"] = held(series[name]) if present is None else present
    return assemble(path, clips, **series, replaced=replaced, task=task, names=names, standardise=True)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz that are used here. Raises InputError for another file, or where one is missing."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an .npz: np.savez makes one, here of {', '.join(NEEDED)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_names(path, file.files)
            names = [name for name in (*NEEDED, *OPTIONAL) if name in file.files]
            _refuse_huge(path, names)
            arrays = {name: np.asarray(file[name]) for name in names}
    except InputError:
        raise
    except Exception as error:  # damaged, encrypted and foreign archives fail in many ways
        raise InputError(f"{path} cannot be read as an .npz of numbers and text: {error}") from None
    for name, values in arrays.items():
        if values.dtype.kind not in "biufcUS" or not _is_text(values):
            raise InputError(f"{name} in {path} is of type {values.dtype}: numbers or text are expected")
    return arrays


def _refuse_huge(path: Path, names: list[str]) -> None:
    """Raises InputError where an array of an .npz takes more than the memory of this machine, as its header says."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with zipfile.ZipFile(path) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as file:
                old = np.lib.format.read_magic(file) == (1, 0)
                shape, _, kind = getattr(np.lib.format, f"read_array_header_{1 if old else 2}_0")(file)
            size = max(math.prod(shape) * kind.itemsize, archive.getinfo(f"{name}.npy").file_size)
            if size > memory:
                has = f"this machine has {as_bytes(memory)}"
                raise InputError(f"{name} in {path} has shape {shape} and takes {as_bytes(size)} of memory: {has}")


def _is_text(values: np.ndarray) -> bool:
    """Whether an array is one of numbers, or of text whose characters all exist."""
    if values.dtype.kind != "U" or not values.size:
        return True
    codes = np.ascontiguousarray(values).reshape(-1).view(f"{values.dtype.byteorder}u4")
    return not ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any()


def _check_names(path: Path, found: list[str]) -> None:
    """Raises InputError where an array is missing, or an optional one seems misspelt."""
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: it holds {', '.join(found) or 'nothing'}")
    for name in set(found) - {*NEEDED, *OPTIONAL}:
        for meant in get_close_matches(name, set(OPTIONAL) - set(found), 1, cutoff=0.8):
            raise InputError(f"{path} holds '{name}', which means nothing here: '{meant}' may be meant")


def _check_lengths(path: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, values in arrays.items():
        if name not in MODALITIES and values.ndim != 1:
            raise InputError(f"{name} in {path} has shape {values.shape}: one value per clip is expected, (N,)")
    lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"the arrays in {path} have different lengths, but each needs one row per clip: {listed}")
    if not lengths["label"]:
        raise InputError(f"{path} holds no clip")


def _labels(path: Path, labels: np.ndarray) -> tuple[str, list[str], np.ndarray]:
    """The task, the names of its classes, and the label of every clip, (N,) int from 0 or float."""
    kind = labels.dtype.kind
    if kind == "f" and not np.isfinite(labels).all():
        raise InputError(f"label in {path} is not finite in {(~np.isfinite(labels)).sum()} of {len(labels)} clips")
    if kind == "f" and (labels >= 0).all() and (labels == np.round(labels)).all():
        labels, kind = labels.astype(np.int64), "i"
    if kind == "f" and (np.abs(labels) <= 3).all():
        return "sentiment", [], labels.astype(np.float64)
    if kind not in "biuUS":
        raise InputError(
            f"label in {path} is of type {labels.dtype}, from {min(labels)} to {max(labels)}: "
            "classes are integers or text, sentiment is a float from -3 to 3"
        )
    values, codes = np.unique(texts(labels) if kind in "US" else labels.astype(np.int64), return_inverse=True)
    if len(values) < 2:
        raise InputError(f"all clips in {path} have the label {values[0]}: at least two classes are expected")
    return "classes", [str(value) for value in values], codes


def _groups(path: Path, groups: np.ndarray) -> list:
    """Who is in each clip, as whole numbers or as text."""
    if groups.dtype.kind == "f" and np.isfinite(groups).all() and (groups == np.round(groups)).all():
        groups = groups.astype(np.int64)
    if groups.dtype.kind not in "iuUS":
        raise InputError(f"group in {path} is of type {groups.dtype}: whole numbers or text are expected")
    return texts(groups) if groups.dtype.kind in "US" else groups.tolist()


def _clip_names(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of the clips: those of the file, or numbers."""
    if "clip" not in arrays:
        return [f"clip{row:05d}" for row in range(len(arrays["label"]))]
    names = texts(arrays["clip"])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"clip in {path} names '{twice}' more than once: every clip needs a name of its own")
    return names


def texts(values: np.ndarray | list) -> list[str]:
    """The values as text, whether they are text, bytes or numbers."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in plain]


def polarity(sentiment: np.ndarray) -> np.ndarray:
    """The name of each sentiment's (N,) sign: negative, neutral or positive."""
    return np.array(["negative", "neutral", "positive"])[np.sign(sentiment).astype(int) + 1]


def _mask(path: Path, name: str, mask: np.ndarray | None) -> np.ndarray | None:
    """The mask (N,) bool, True = present; None where the file has none."""
    if mask is not None and not np.isin(mask, (0, 1)).all():
        raise InputError(f"{name} in {path} must hold True (the clip has it) or False only")
    return None if mask is None else mask.astype(bool)


def _series(path: Path, name: str, values: np.ndarray, present: np.ndarray | None) -> tuple[np.ndarray, int]:
    """A modality in the shape of the store, and the number of values that were not finite.

    present : (N,) True = the clip has it; the others become zeros. None = all have it.
    """
    if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "biuf":
        raise InputError(
            f"{name} in {path} has shape {values.shape} and type {values.dtype}: "
            "numbers of shape (N, channels, steps), or (N, channels) for one step, are expected"
        )
    values = values.reshape(*values.shape, 1) if values.ndim == 2 else values
    values = values.swapaxes(1, 2) if name == "video" else values  # (N, Ca, Ta), (N, Tv, Cv)
    if present is not None:
        values[~present] = 0
    series = np.empty(values.shape, np.float32)
    return series, fill(series, values)


def fill(target: np.ndarray, values: np.ndarray) -> int:
    """Copies values into `target`, with 0 for infinite ones and NaN; returns their number.

    target : (N, ...) float32      values : of the same shape, any numbers
    """
    replaced = 0
    for start in range(0, len(values), BLOCK):
        rows = target[start : start + BLOCK]
        with np.errstate(over="ignore"):  # values too large for float32 become infinite, then 0
            rows[...] = values[start : start + BLOCK]
        wrong = ~np.isfinite(rows)
        rows[wrong] = 0
        replaced += int(wrong.sum())
    return replaced


def held(series: np.ndarray) -> np.ndarray:
    """Which clips have the modality, (N,) bool: True = some value of (N, ..., ...) is not 0."""
    return series.any(axis=(1, 2))


def assemble(
    path: Path,
    clips: pd.DataFrame,
    audio: np.ndarray,
    video: np.ndarray,
    *,
    replaced: dict[str, int],
    task: str,
    names: list[str],
    standardise: bool,
) -> Features:
    """The features of a corpus; clips with neither modality become its problems.

    clips, audio, video, task, names, standardise : as in `Features`, of all clips
    replaced : {"audio", "video"} -> how many values were not finite
    Raises InputError where no clip is left.
    """
    if sum(replaced.values()):
        log.info("%s: %d audio and %d video values were not finite and are 0 now", path, *map(replaced.get, MODALITIES))
    kept = clips["has_audio"] | clips["has_video"]
    if not kept.any():
        raise InputError(f"no clip in {path} has audio or video: all values are 0 or marked as missing")
    problems = pd.DataFrame({"clip": clips["clip"][~kept]}, columns=PROBLEM_COLUMNS)
    problems = problems.assign(path=str(path), modality="audio and video", reason=EMPTY).reset_index(drop=True)
    if not kept.all():  # else no copy: the arrays may have gigabytes
        clips, audio, video = clips[kept].reset_index(drop=True), audio[kept], video[kept]
    facts = {f"replaced_{name}": replaced[name] for name in MODALITIES}
    return Features(clips, audio, video, task, list(names), standardise, problems, facts)


def write_features(path: Path | str, features: Features, origin: Path | str) -> Store:
    """The store of these features, written at `path` completely or not at all; replaces an older one.

    origin : the file of the features, for `is_current`
    Raises InputError where `path` exists and is no store.
    """
    path = Path(path)
    draft = new_draft(path)
    for name in MODALITIES:
        np.save(draft / f"{name}.npy", getattr(features, name))
    return write_store(path, features.clips, features.problems, _manifest(features, Path(origin)))


def is_current(path: Path, origin: Path) -> bool:
    """Whether the store at `path` fits the file `origin` as it is now; also True where that file no longer exists."""
    manifest = read_json(path / "manifest.json")
    return manifest.get("version") == VERSION and (not origin.exists() or manifest["source"]["stamp"] == stamp(origin))


def _manifest(features: Features, origin: Path) -> dict:
    return {
        "fingerprint": _fingerprint(features),
        "version": VERSION,
        "arrays": {"video": "video", "audio": "audio"},
        "task": features.task,
        "names": features.names,
        "standardise": features.standardise,
        **features.facts,
        "source": {"stamp": stamp(origin), "sha256": checksum(origin)},
        "versions": {"numpy": version("numpy")},
    }


def _fingerprint(features: Features) -> str:
    """Twelve hex digits that change with the task, the clips and the values; not with paths."""
    settings = [
        VERSION,
        features.task,
        features.names,
        features.standardise,
        features.audio.shape,
        features.video.shape,
    ]
    digest = hashlib.sha256((json.dumps(settings) + features.clips.to_csv(index=False)).encode())
    for series in (features.audio, features.video):
        for start in range(0, len(series), BLOCK):
            digest.update(np.ascontiguousarray(series[start : start + BLOCK]))
    return digest.hexdigest()[:12]
