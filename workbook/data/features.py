"""Features instead of clips: arrays computed elsewhere from picture and sound, and their store.

This file reads a user's `.npz`; `workbook.data.pickles` reads the pickles of MOSEI and MOSI. Both make `Features`.
Their store has `video.npy` and `audio.npy` in place of `faces.npy` and `mfcc.npy`.
"""

import hashlib
import json
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.columns import check_names, class_names, people
from workbook.data.store import PROBLEM_COLUMNS, Store, new_draft, stamp, write_store
from workbook.files import as_bytes, writing
from workbook.text import one_line

FORMAT = 2  # a higher number has all stores made again
MODALITIES = ("audio", "video")
MASKS = {name: f"has_{name}" for name in MODALITIES}
REQUIRED, OPTIONAL = (*MODALITIES, "label", "group"), ("clip", *MASKS.values())  # arrays of an .npz


@dataclass(frozen=True)
class Features:
    """A corpus of features in memory: N clips, in the same order everywhere."""

    clips: pd.DataFrame  # clip, actor (the group), label, emotion, split (if the file has one), has_audio, has_video
    audio: np.ndarray  # (N, Ca, Ta) float32, zeros where a clip has none, NaN = a missing value
    video: np.ndarray  # (N, Tv, Cv) float32, likewise
    task: str  # "classes", labels from 0, or "sentiment", labels in [-3, 3]
    names: list[str]  # of the classes; empty for sentiment
    standardise: bool  # True = training standardises every channel; else no value is NaN
    problems: pd.DataFrame  # clips that cannot be used: clip, path, modality, reason
    facts: dict  # further entries of the manifest


def read_npz(path: Path | str) -> Features:
    """A user's own arrays from an .npz: `audio` (N, Ca, Ta), `video` (N, Cv, Tv), `label` (N,), `group` (N,).

    An array with two axes, (N, C), has one step. Optional arrays (N,): `clip`, the names; `has_audio` and `has_video`,
    True = the clip has it. Without these, a clip whose values are all 0 lacks the modality. Values that are not finite
    are missing, NaN, and counted. Nothing is unpickled.

    label : classes as integers, text, or whole floats from 0; other floats in [-3, 3] are sentiment
    group : who is in the clip, numbers or text; folds keep people apart
    Raises InputError for any other file.
    """
    path = Path(path)
    arrays = _load(path)
    task, names, labels = _labels(path, arrays["label"])
    actors = people(path, texts(arrays["group"]))
    clips = pd.DataFrame({"clip": _clip_names(path, arrays), "actor": actors, "label": labels})
    clips["emotion"] = polarity(labels) if task == "sentiment" else np.array(names)[labels]
    audio, video = (values if values.ndim == 3 else values[:, :, None] for values in map(arrays.get, MODALITIES))
    series = {"audio": audio, "video": video.swapaxes(1, 2)}  # (N, Ca, Ta), (N, Tv, Cv)
    masks = {name: arrays[mask].astype(bool) for name, mask in MASKS.items() if mask in arrays}
    return assemble(path, clips, series, masks, task=task, names=names, standardise=True)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, each with a row for every clip. Raises InputError for another file."""
    import psutil  # a machine that only trains may lack it

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > psutil.virtual_memory().total:
            raise MemoryError(f"it takes {as_bytes(size)} of memory")
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            arrays = {name: np.asarray(file[name]) for name in (*REQUIRED, *OPTIONAL) if name in names}
        for values in arrays.values():
            check_characters(values)
    except Exception as error:  # damaged, encrypted and foreign archives fail in many ways
        reason = one_line(error)
        raise InputError(f"{path} cannot be read as an .npz of numbers and text, as np.savez makes: {reason}") from None
    check_names(path, names, REQUIRED, OPTIONAL)
    for name, values in arrays.items():
        axes = "(N, channels, steps) or (N, channels)" if name in MODALITIES else "(N,)"
        content, kinds = ("numbers", "biuf") if name in (*MASKS, *MASKS.values()) else ("numbers or text", "biufUS")
        is_shaped = values.ndim in ((2, 3) if name in MODALITIES else (1,)) and values.size
        if not is_shaped or values.dtype.kind not in kinds:
            where = f"{name} in {path} has shape {values.shape} and type {values.dtype}"
            raise InputError(f"{where}; it must hold {content}, {axes}")
    lengths = {name: len(values) for name, values in arrays.items()}
    if len({*lengths.values()}) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"the arrays in {path} have different lengths, but each needs one row per clip: {listed}")
    return arrays


def check_characters(values: np.ndarray) -> None:
    """Raises ValueError for text with characters that do not exist, which may crash Python."""
    if values.dtype.kind == "U" and values.size:
        codes = np.ascontiguousarray(values).reshape(-1).view(f"{values.dtype.byteorder}u4")
        if (codes > sys.maxunicode).any():
            raise ValueError("text with characters that do not exist")


def _labels(path: Path, labels: np.ndarray) -> tuple[str, list[str], np.ndarray]:
    """The task, the names of its classes, and the label of every clip, (N,) int from 0 or float."""
    if labels.dtype.kind == "f" and not ((labels >= 0) & (labels == np.round(labels)) & np.isfinite(labels)).all():
        if not (np.abs(labels) <= 3).all():
            raise InputError(f"label in {path} must hold classes, integers or text, or sentiment, floats from -3 to 3")
        return "sentiment", [], labels.astype(np.float64)
    words = texts(labels if labels.dtype.kind in "US" else labels.astype(int))
    names = class_names(path, words)
    if len(names) < 2:
        raise InputError(f"all clips in {path} have the label {names[0]}: at least two classes are expected")
    return "classes", names, np.array(list(map(names.index, words)))


def _clip_names(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of the clips: those of the file, or numbers."""
    if "clip" not in arrays:
        return [f"clip{row:05d}" for row in range(len(arrays["label"]))]
    names = pd.Series(texts(arrays["clip"]))
    if names.duplicated().any():
        name = names[names.duplicated()].iloc[0]
        raise InputError(f"clip in {path} has the name '{name}' more than once: every clip needs its own")
    return names.tolist()


def texts(values: np.ndarray | list) -> list[str]:
    """Texts, bytes or numbers as text; what is no character becomes a question mark."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    words = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in plain)
    return [word.encode("utf-8", "replace").decode() for word in words]


def polarity(sentiment: np.ndarray) -> np.ndarray:
    """The name of each sentiment's (N,) sign: negative, neutral or positive."""
    return np.array(["negative", "neutral", "positive"])[np.sign(sentiment).astype(int) + 1]


def assemble(
    path: Path,
    clips: pd.DataFrame,
    series: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    *,
    task: str,
    names: list[str],
    standardise: bool,
) -> Features:
    """The features of a corpus; clips with neither modality become its problems.

    clips, task, names, standardise : as in `Features`, of all clips, without has_audio and has_video
    series : audio (N, Ca, Ta) and video (N, Tv, Cv), any numbers; float32 arrays are changed in place
    masks : of a modality, (N,) bool, True = present; without it, a clip whose values are all 0 lacks the modality
    Values that are not finite become NaN where channels are standardised, else 0; so does a clip with no finite value.
    Raises InputError where no clip is left.
    """
    facts = {}
    for name, values in series.items():
        with np.errstate(over="ignore"):  # values too large for float32 become infinite
            series[name] = values = values.astype(np.float32, order="C", copy=False)
        if name in masks:
            values[~masks[name]] = 0
        is_missing = ~np.isfinite(values)
        values[is_missing] = 0
        has = masks[name] & ~is_missing.all(axis=(1, 2)) if name in masks else values.any(axis=(1, 2))
        is_missing &= has[:, None, None]
        if standardise:
            values[is_missing] = np.nan
        clips[f"has_{name}"] = has
        shares = is_missing[has].mean(axis=(0, 2) if name == "audio" else (0, 1)) if is_missing.any() else []
        facts |= {f"missing_{name}": int(is_missing.sum()), f"missing_{name}_by_channel": [*map(float, shares)]}
    has_any = clips["has_audio"] | clips["has_video"]
    if not has_any.any():
        raise InputError(f"no clip in {path} has audio or video: all values are 0 or marked as missing")
    reason = "both modalities are missing: the clip is left out"
    problems = pd.DataFrame({"clip": clips["clip"][~has_any]}, columns=PROBLEM_COLUMNS)
    problems = problems.assign(path=str(path), modality="audio and video", reason=reason).reset_index(drop=True)
    if not has_any.all():  # else no copy: the arrays may have gigabytes
        clips = clips[has_any].reset_index(drop=True)
        series = {name: values[has_any] for name, values in series.items()}
    return Features(clips, **series, task=task, names=names, standardise=standardise, problems=problems, facts=facts)


def missing_values(store: Store) -> list[str]:
    """A sentence for each modality of which a channel lacks more than 5 % of its values."""
    sentences = []
    for name in MODALITIES:
        shares = np.array(store.manifest[f"missing_{name}_by_channel"])
        if (shares > 0.05).any():
            values = "the channel's mean takes their place" if store.manifest["standardise"] else "they are 0"
            sentences.append(
                f"of {name}, {(shares > 0).sum()} of {len(shares)} channels lack values (NaN or infinite), at most "
                f"{shares.max():.0%} (channel {shares.argmax()}): {values}"
            )
    return sentences


def write_features(path: Path | str, features: Features, origin: Path | str) -> Store:
    """The store of these features, written at `path` completely or not at all; replaces an older one.

    origin : the file of the features, for the plan
    Raises InputError where `path` exists and is no store, and where its disk is full or read-only.
    """
    path, origin = Path(path), Path(origin)
    manifest = {
        "fingerprint": _fingerprint(features),
        "plan": plan_of(origin),
        "arrays": {"video": "video", "audio": "audio"},
        "task": features.task,
        "names": features.names,
        "standardise": features.standardise,
        **features.facts,
        "versions": {"numpy": version("numpy")},
    }
    with writing(path):
        draft = new_draft(path)
        for name in MODALITIES:
            np.save(draft / f"{name}.npy", getattr(features, name))
        return write_store(path, features.clips, features.problems, manifest)


def plan_of(origin: Path) -> dict[str, Any]:
    """The file that determines a store; equal plans make equal stores."""
    return {"format": FORMAT, "stamp": stamp(origin)}


def _fingerprint(features: Features) -> str:
    """Twelve hex digits that change with the task, the clips and the values; not with paths."""
    shapes = [features.audio.shape, features.video.shape]
    settings = [FORMAT, features.task, features.names, features.standardise, *shapes]
    digest = hashlib.sha256((json.dumps(settings) + features.clips.to_csv(index=False, lineterminator="\n")).encode())
    for series in (features.audio, features.video):
        digest.update(np.ascontiguousarray(series))
    return digest.hexdigest()[:12]
