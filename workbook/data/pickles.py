"""CMU-MOSEI and MOSI as features: the pickles that users of MULT have, and those that users of MMSA have.

A pickle is a program. The one that runs here can make text, numbers, plain containers, and stand-ins for numpy's
arrays; whatever else a file asks for is refused before it is made. The arrays are made of the plain bytes in their
stand-ins, and never by numpy's own unpickling, which follows addresses that a forged file may choose.

Both formats are a dict of three splits, train, valid and test, each a dict of arrays: `audio` and `vision` (N, T, C);
in MULT's (Tsai et al. 2019, `src/dataset.py`) `labels` (N, 1, 1) and `id` (N, 3), a video and the seconds of the clip
in it; in MMSA's (`src/MMSA/data_loader.py`) `regression_labels` (N,) and `id`, a list of 'video$_$clip'.
"""

import math
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.features import Features, assemble, fill, held, polarity, texts

PICKLES = (  # their names in a folder
    *("mosei_senti_data.pkl", "mosei_senti_data_noalign.pkl", "mosi_data.pkl", "mosi_data_noalign.pkl"),  # MULT's
    *("aligned_50.pkl", "unaligned_50.pkl"),  # MMSA's
)
SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # name of a split in a pickle -> in a store
KEYS = {"audio": "audio", "video": "vision"}  # modality -> its key in a split
LABELS = ("labels", "regression_labels")  # the key of the sentiment, in MULT's and in MMSA's

PLAIN = re.compile(r"b1|[iu][1248]|f[248]|[SU]\d{1,6}")  # the types of which an array is made: numbers and text
ITEMS = (str, bytes, int, float, type(None))  # what an array of objects may hold


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, name, *_):
        self.name, self.order = name, "="

    def __setstate__(self, state):
        _, self.order, *described = state
        if any(part is not None for part in described[:3]):  # the parts of a structured type
            self.name = "structured"

    def dtype(self) -> np.dtype:
        """The type. Raises InputError where it is neither of numbers nor of text."""
        if not (isinstance(self.name, str) and PLAIN.fullmatch(self.name) and self.order in ("<", ">", "|", "=")):
            raise InputError(f"an array of type {self.name!s:.40} where numbers or text are expected")
        return np.dtype(self.order + self.name)


class _Array:
    """Stands in for numpy.ndarray, and for the function that makes an empty one to be filled."""

    def __init__(self, *_):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    @staticmethod
    def _of(*state) -> "_Array":
        """The stand-in of a type, a shape, its bytes, and whether the first axis runs fastest."""
        kind, shape, content, *fortran = state
        array = _Array()
        array.state = (1, shape, kind, any(fortran), content)
        return array

    def values(self) -> np.ndarray:
        """The array. Raises InputError where its bytes are not those of its type and shape."""
        if not (isinstance(self.state, tuple) and len(self.state) == 5 and isinstance(self.state[2], _Type)):
            raise InputError("an array without content")
        _, shape, kind, fortran, content = self.state
        if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
            raise InputError("an array without a shape")
        if isinstance(content, list):
            flat = _objects(content)
        else:
            content = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes
            flat = _numbers_or_text(content, kind.dtype())
        if flat.size != math.prod(shape):
            raise InputError(f"{flat.size} values where an array of shape {shape} is expected")
        return flat.reshape(shape, order="F" if fortran and not isinstance(content, list) else "C")  # as numpy has it


def _objects(items: list) -> np.ndarray:
    if not all(type(item) in ITEMS for item in items):
        raise InputError("an array of objects that are neither text nor numbers")
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat


def _numbers_or_text(content: bytes, kind: np.dtype) -> np.ndarray:
    if not isinstance(content, bytes | bytearray) or not kind.itemsize or len(content) % kind.itemsize:
        raise InputError(f"bytes that are no whole number of values of type {kind}")
    if kind.kind == "U" and (np.frombuffer(content, np.dtype(f"{kind.byteorder}u4")) > sys.maxunicode).any():
        raise InputError("text with characters that do not exist")
    return np.frombuffer(content, kind)


class _Made:
    """What stands in for a function: calling it makes something else, and a file cannot change it."""

    def __setstate__(self, state=None):
        raise InputError("a state for what has none")


class _Number(_Made):
    """Stands in for the function that makes a number of numpy's."""

    def __new__(cls, kind, content):
        return _Array._of(kind, (), content).values().item()


class _FromBuffer(_Made):
    """Stands in for the function that makes an array in protocol 5."""

    def __new__(cls, content, kind, shape, order):
        return _Array._of(kind, shape, content, order == "F")


class _Encoded(_Made):
    """Stands in for the function that makes bytes in old protocols."""

    def __new__(cls, text, encoding):
        if encoding != "latin1":
            raise InputError(f"bytes in {encoding!s:.40} where latin1 is expected")
        return text.encode(encoding)


# What numpy's arrays and numbers ask for, by its names of version 1 and 2. All are classes, so that a file which would
# change them meets `__setstate__`, or nothing that it can change.
ADMITTED = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type, ("_codecs", "encode"): _Encoded} | {
    (f"{package}.{module}", name): stand_in
    for package in ("numpy.core", "numpy._core")
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", _Array),
        ("multiarray", "scalar", _Number),
        ("numeric", "_frombuffer", _FromBuffer),
    )
}


def read_pickle(path: Path | str) -> Features:
    """The audio, vision and sentiment of a pickle of MULT or MMSA, with its own split; its text is not kept.

    -inf, which some of COVAREP's values are, inf and NaN become 0 and are counted. A clip of which a modality is 0
    throughout has has_audio or has_video False: there was no face, or no sound, and zeros are what stands for that.

    `actor` is the video of a clip; without ids in the file, the clip itself. Values are not scaled, as in MULT's code.
    Reading takes up to a quarter more memory than the file has bytes.
    Raises InputError where the file is of another format, is not whole, or asks for anything but arrays.
    """
    path = Path(path)
    content = _unpickle(path)
    try:
        splits = _splits(path, content)
        clips = pd.concat([_clips(path, name, split) for name, split in splits.items()], ignore_index=True)
    except (TypeError, ValueError, ArithmeticError, IndexError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not as MULT and MMSA have it: {type(error).__name__}, {error}") from None
    del content
    clips["clip"] = _unique(clips["clip"])
    series, replaced = {}, {}
    for modality, key in KEYS.items():
        series[modality], replaced[modality] = _series(splits, key, channels_first=modality == "audio")
        clips[f"has_{modality}"] = held(series[modality])
    return assemble(path, clips, **series, replaced=replaced, task="sentiment", names=[], standardise=False)


class _Refused(Exception):
    """A pickle asks for something that is not admitted; the text is the name of it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return ADMITTED[module, name]


def _unpickle(path: Path):
    """What a pickle of Python 2 or 3 holds. Raises InputError where it is none, is not whole, or asks for too much."""
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file: a pickle is expected, such as {PICKLES[0]} or {PICKLES[-1]}")
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()  # the encoding in which Python 2's arrays come out whole
    except _Refused as refused:
        raise InputError(
            f"{path} asks for {refused} where only arrays and plain containers are admitted: it is not MOSEI or MOSI "
            "as MULT and MMSA have them, and nothing of it was executed"
        ) from None
    except InputError as error:  # of a stand-in
        raise InputError(f"{path} is not a whole pickle: it holds {error}") from None
    except MemoryError:
        raise InputError(f"{path} takes more memory than there is: up to a quarter more than it has bytes") from None
    except Exception as error:  # a torn or foreign file can fail in any way
        raise InputError(f"{path} is not a whole pickle: {type(error).__name__}, {error}") from None


def _splits(path: Path, content) -> dict[str, dict]:
    """What is read of each split: audio, vision (N, T, C), labels (N,), id or None; T and C are the same in all."""
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in SPLITS):
        raise InputError(f"{path} is not a dict of {', '.join(SPLITS)}, each a dict of arrays")
    splits = {name: _split(f"split {name} of {path}", content[name]) for name in SPLITS}
    for key in KEYS.values():
        shapes = {name: split[key].shape for name, split in splits.items()}
        if len({shape[1:] for shape in shapes.values()}) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"{key} in {path} has other steps or channels in some splits: {listed}")
    return splits


def _split(where: str, split: dict) -> dict:
    """What is read of one split, its shapes checked."""
    label_key = next((key for key in LABELS if key in split), " or ".join(LABELS))
    missing = [key for key in (*KEYS.values(), label_key) if key not in split]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: it holds {', '.join(map(str, split))}")
    labels = _numbers(where, label_key, split)
    if labels.size != len(labels) or not (np.abs(labels) <= 3).all():
        raise InputError(f"{label_key} in {where} are not one number from -3 to 3 for each clip, as sentiment is")
    arrays = {key: _numbers(where, key, split) for key in KEYS.values()}
    for key, values in arrays.items():
        if values.ndim != 3 or 0 in values.shape or len(values) != len(labels):
            expected = f"({len(labels)}, steps, channels)"
            raise InputError(f"{key} in {where} has shape {values.shape} where {expected} is expected")
    return arrays | {"labels": labels.reshape(-1).astype(np.float64), "id": split.get("id")}


def _numbers(where: str, key: str, split: dict) -> np.ndarray:
    """What a split holds under a key, as an array of numbers with at least one row."""
    try:
        values = np.asarray(_plain(split[key]))
    except InputError as error:
        raise InputError(f"{key} in {where} is not an array of numbers with a row for every clip: {error}") from None
    except ValueError:  # a list of arrays of different shapes
        values = np.array(None)
    if values.dtype.kind not in "biuf" or not values.ndim or not len(values):
        raise InputError(f"{key} in {where} is not an array of numbers with a row for every clip")
    return values


def _plain(values):
    """The array of a stand-in, or a list with the arrays of its stand-ins. Raises InputError for a list of others."""
    if isinstance(values, _Array):
        return values.values()
    if not isinstance(values, list | tuple):
        return values
    if not all(isinstance(item, _Array | list) or type(item) in ITEMS for item in values):
        raise InputError("a list of neither arrays nor text nor numbers")
    return [item.values() if isinstance(item, _Array) else item for item in values]


def _clips(path: Path, name: str, split: dict) -> pd.DataFrame:
    """The clips of a split: clip, actor, label, emotion, split."""
    labels, ids = split["labels"], split["id"]
    if ids is None:
        clips = videos = [f"{name}{row:05d}" for row in range(len(labels))]
    else:
        clips, videos = _names(ids)
    if len(clips) != len(labels):
        raise InputError(f"split {name} of {path} has {len(clips)} ids and {len(labels)} labels")
    table = {"clip": clips, "actor": videos, "label": labels, "emotion": polarity(labels), "split": SPLITS[name]}
    return pd.DataFrame(table)


def _names(ids) -> tuple[list[str], list[str]]:
    """The name of every clip and of its video, from MULT's ids (video, start, end) or MMSA's 'video$_$clip'.

    A segment's number in brackets, with which CMU's toolkit calls the clips of a video, belongs to the clip alone.
    """
    rows = [texts([row] if type(row) in ITEMS else np.ravel(_plain(row))) for row in _plain(ids)]
    rows = [[text.encode("utf-8", "replace").decode() for text in row] for row in rows]  # no halves of characters
    return ["_".join(row) for row in rows], [re.sub(r"\[[\d-]+\]$", "", row[0].split("$_$")[0]) for row in rows]


def _unique(names: pd.Series) -> pd.Series:
    """The names, those that come again with a number behind them."""
    while names.duplicated().any():
        before = names.groupby(names).cumcount()
        names = names.where(before == 0, names + "#" + (before + 1).astype(str))
    return names


def _series(splits: dict[str, dict], key: str, channels_first: bool) -> tuple[np.ndarray, int]:
    """A modality of all clips, (N, C, T) or (N, T, C) float32, and how many of its values had to be replaced.

    The arrays are taken out of `splits` one by one, since they may have gigabytes.
    """
    count = sum(len(split[key]) for split in splits.values())
    _, steps, channels = splits["train"][key].shape
    series = np.empty((count, channels, steps) if channels_first else (count, steps, channels), np.float32)
    target = series.swapaxes(1, 2) if channels_first else series  # (N, T, C)
    replaced = start = 0
    for split in splits.values():
        values = split.pop(key)
        replaced += fill(target[start : start + len(values)], values)
        start += len(values)
    return series, replaced
