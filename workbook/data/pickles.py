"""CMU-MOSEI and MOSI as features: the pickles that users of MULT have, and those that users of MMSA have.

A pickle is a program. Here it can make text, numbers, plain containers, and stand-ins for numpy's arrays; any other
object is refused before it is made. Arrays are made of the plain bytes in their stand-ins, and never by numpy's own
unpickling, which follows addresses that a forged file may choose.

Both formats are a dict of three splits, train, valid and test, each a dict of arrays: `audio` and `vision` (N, T, C);
in MULT's (Tsai et al. 2019, `src/dataset.py`) `labels` (N, 1, 1) and `id` (N, 3), a video and the seconds of the clip
in it; in MMSA's (`src/MMSA/data_loader.py`) `regression_labels` (N,) and `id`, a list of 'video$_$clip'.
"""

import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.features import Features, assemble, check_characters, polarity, texts

PICKLES = (  # their names in a folder
    *("mosei_senti_data.pkl", "mosei_senti_data_noalign.pkl", "mosi_data.pkl", "mosi_data_noalign.pkl"),  # MULT's
    *("aligned_50.pkl", "unaligned_50.pkl"),  # MMSA's
)
SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # name of a split in a pickle -> in a store
KEYS = ("audio", "vision")  # of a split
LABELS = ("labels", "regression_labels")  # the key of the sentiment, in MULT's and in MMSA's

PLAIN = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|[SU]\d{1,6})")  # the types of which an array is made: numbers and text
ITEMS = (str, bytes, int, float, type(None))  # that a list, or an array of objects, may hold


class _Type:
    """Stands in for numpy.dtype: the name of a type, and the order of its bytes."""

    def __init__(self, name, *_):
        self.name, self.order = name, "="

    def __setstate__(self, state):
        self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray, and for the function that makes an empty one to be filled."""

    def __init__(self, *_):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def values(self) -> np.ndarray:
        """The array; some exception where its state describes none of numbers, text or plain objects."""
        _, shape, kind, is_fortran, content = self.state
        if isinstance(content, list):  # of objects, always in the order of C
            values = np.empty(len(content), object)
            values[:] = [_plain(item, depth=0) for item in content]
            return values.reshape(shape)
        if not (isinstance(kind, _Type) and PLAIN.fullmatch(kind.order + kind.name)):
            raise ValueError("an array of neither numbers nor text")
        content = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes
        values = np.frombuffer(content, kind.order + kind.name)
        check_characters(values)
        return values.reshape(shape, order="F" if is_fortran else "C")


def _array(content, kind, shape, order="C") -> _Array:
    """Stands in for the function that makes an array in protocol 5."""
    array = _Array()
    array.state = (1, shape, kind, order == "F", content)
    return array


def _number(kind, content) -> Any:
    """Stands in for the function that makes a number of numpy's."""
    return _array(content, kind, ()).values().item()


def _bytes(text, encoding) -> bytes:
    """Stands in for the function that makes bytes in old protocols."""
    return text.encode("latin1")


# The stand-ins for the objects in pickles of numpy's arrays and numbers, by their names in numpy 1 and 2.
ADMITTED = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type, ("_codecs", "encode"): _bytes} | {
    (f"{package}.{module}", name): stand_in
    for package in ("numpy.core", "numpy._core")
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", _Array),
        ("multiarray", "scalar", _number),
        ("numeric", "_frombuffer", _array),
    )
}


def read_pickle(path: Path | str) -> Features:
    """The audio, vision and sentiment of a pickle of MULT or MMSA, with its own split; its text is not kept.

    -inf, which some of COVAREP's values are, inf and NaN become 0 and are counted. A clip of which a modality is 0
    throughout has has_audio or has_video False: zeros stand for no sound, or no face.

    `actor` is the video of a clip; without ids in the file, the clip itself. Values are not scaled, as in MULT's code.
    Reading takes up to a quarter more memory than the file has bytes.
    Raises InputError where the file is of another format, is torn, or asks for anything but arrays.
    """
    path = Path(path)
    content = _unpickle(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in SPLITS):
        raise InputError(f"{path} is not a dict of {', '.join(SPLITS)}, each a dict of arrays")
    splits = {name: _split(f"split {name} of {path}", content[name]) for name in SPLITS}
    clips = pd.concat([_clips(path, name, split) for name, split in splits.items()], ignore_index=True)
    clips["clip"] = _unique(clips["clip"])
    series = {
        "audio": _joined(path, "audio", splits, lambda values: values.swapaxes(1, 2)),  # (N, C, T)
        "video": _joined(path, "vision", splits, lambda values: values),  # (N, T, C)
    }
    return assemble(path, clips, series, [None, None], task="sentiment", names=[], standardise=False)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        """A stand-in; functions are wrapped, so that a file can only change its own copy."""
        if (module, name) not in ADMITTED:
            raise InputError(
                f"asks for {module}.{name} where only arrays and plain containers are admitted: it is not MOSEI or "
                "MOSI as MULT and MMSA have them, and nothing of it was executed"
            )
        stand_in = ADMITTED[module, name]
        return stand_in if isinstance(stand_in, type) else partial(stand_in)


def _unpickle(path: Path) -> Any:
    """The content of a pickle of Python 2 or 3. Raises InputError where it is none, is torn, or asks for too much."""
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()  # which keeps the bytes of Python 2's arrays
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except Exception as error:  # a torn or foreign file can fail in any way
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a pickle: {type(error).__name__}, {reason}") from None


def _split(where: str, split: dict) -> dict[str, Any]:
    """A split of a pickle: audio and vision (N, T, C), labels (N,), id (N) or None."""
    label_key = next((key for key in LABELS if key in split), " or ".join(LABELS))
    missing = [key for key in (*KEYS, label_key) if key not in split]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: it holds {', '.join(map(str, split))}")
    arrays = {key: _numbers(where, key, split[key]) for key in (*KEYS, label_key)}
    labels = arrays.pop(label_key)
    if labels.size != len(labels) or not (np.abs(labels) <= 3).all():
        raise InputError(f"{label_key} in {where} are not one number from -3 to 3 for each clip, as sentiment is")
    for key, values in arrays.items():
        if values.ndim != 3 or len(values) != len(labels):
            expected = f"({len(labels)}, steps, channels)"
            raise InputError(f"{key} in {where} has shape {values.shape} where {expected} is expected")
    return arrays | {"labels": labels.reshape(-1).astype(np.float64), "id": split.get("id")}


def _numbers(where: str, key: str, values: Any) -> np.ndarray:
    """The values as an array of numbers with at least one row."""
    try:
        array = np.asarray(_plain(values))
        if array.dtype.kind not in "biuf" or not array.ndim or not array.size:
            raise ValueError(f"it has shape {array.shape} and type {array.dtype}")
    except Exception as error:  # a forged array can fail in any way
        raise InputError(f"{key} in {where} is not an array of numbers with a row for every clip: {error}") from None
    return array


def _plain(values: Any, depth: int = 2) -> Any:
    """The array of a stand-in, a list with the arrays of its stand-ins, or the value itself.

    Raises ValueError for anything else, and for lists within lists within lists.
    """
    if isinstance(values, _Array):
        return values.values()
    if isinstance(values, list | tuple) and depth:
        return [_plain(item, depth - 1) for item in values]
    if type(values) not in ITEMS:
        raise ValueError("neither arrays nor text nor numbers")
    return values


def _clips(path: Path, name: str, split: dict) -> pd.DataFrame:
    """The clips of a split: clip, actor, label, emotion, split."""
    labels, ids = split["labels"], split["id"]
    try:
        clips, videos = _names([f"{name}{row:05d}" for row in range(len(labels))] if ids is None else ids)
        table = {"clip": clips, "actor": videos, "label": labels, "emotion": polarity(labels), "split": SPLITS[name]}
        return pd.DataFrame(table)
    except Exception as error:  # a forged array can fail in any way
        raise InputError(f"id in split {name} of {path} has no name for each of {len(labels)} clips: {error}") from None


def _names(ids: Any) -> tuple[list[str], list[str]]:
    """The name of every clip and of its video, from MULT's ids (video, start, end) or MMSA's 'video$_$clip'.

    A segment's number in brackets, with which CMU's toolkit calls the clips of a video, belongs to the clip alone.
    """
    rows = [texts(np.ravel(np.array(row, object))) for row in _plain(ids)]
    return ["_".join(row) for row in rows], [re.sub(r"\[[\d-]+\]$", "", row[0].split("$_$")[0]) for row in rows]


def _unique(names: pd.Series) -> pd.Series:
    """The names, with a number appended to each repetition."""
    while names.duplicated().any():
        before = names.groupby(names).cumcount()
        names = names.where(before == 0, names + "#" + (before + 1).astype(str))
    return names


def _joined(path: Path, key: str, splits: dict[str, dict], turn: Callable) -> np.ndarray:
    """A modality of all splits, turned, as float32. Raises InputError where steps or channels differ."""
    shapes = {name: split[key].shape for name, split in splits.items()}
    if len({shape[1:] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"{key} in {path} has other steps or channels in some splits: {listed}")
    arrays = [turn(split.pop(key)) for split in splits.values()]
    series = np.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), np.float32)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        return np.concatenate(arrays, out=series, casting="unsafe")
