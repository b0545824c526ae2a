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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.features import Features, assemble, check_characters, polarity, texts
from workbook.text import one_line

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
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="latin1").load()  # which keeps the bytes of Python 2's arrays
        if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in SPLITS):
            raise ValueError(f"it is not a dict of {', '.join(SPLITS)}, each a dict of arrays")
        splits = {name: _split(name, content[name]) for name in SPLITS}
        clips = pd.concat([split.pop("clips") for split in splits.values()], ignore_index=True)
        clips["clip"] = clips["clip"].where(~clips["clip"].duplicated(), clips["clip"] + "#" + clips.index.astype(str))
        series = {
            "audio": _joined("audio", splits, (0, 2, 1)),  # (N, C, T)
            "video": _joined("vision", splits, (0, 1, 2)),  # (N, T, C)
        }
    except Exception as error:  # a torn, foreign or forged file can fail in any way
        reason = one_line(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as a pickle of MOSEI or MOSI: {reason}") from None
    return assemble(path, clips, series, {}, task="sentiment", names=[], standardise=False)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        """A stand-in; functions are wrapped, so that a file can only change its own copy."""
        if (module, name) not in ADMITTED:
            raise ValueError(
                f"it asks for {module}.{name} where only arrays and plain containers are admitted; nothing was executed"
            )
        stand_in = ADMITTED[module, name]
        return stand_in if isinstance(stand_in, type) else partial(stand_in)


def _split(name: str, split: dict) -> dict[str, Any]:
    """A split of a pickle: audio and vision (N, T, C), and clips, a table of clip, actor, label, emotion, split."""
    label_key = next((key for key in LABELS if key in split), " or ".join(LABELS))
    if missing := [key for key in (*KEYS, label_key) if key not in split]:
        raise ValueError(f"split {name} lacks {', '.join(missing)}: it holds {', '.join(map(str, split))}")
    arrays = {key: np.asarray(_plain(split[key])) for key in (*KEYS, label_key)}
    labels = arrays.pop(label_key)
    if labels.dtype.kind not in "biuf" or labels.size != len(labels) or not (np.abs(labels) <= 3).all():
        raise ValueError(f"{label_key} in split {name} are not one number from -3 to 3 for each clip, as sentiment is")
    for key, values in arrays.items():
        if values.dtype.kind not in "biuf" or values.ndim != 3 or len(values) != len(labels) or not values.size:
            shape = f"shape {values.shape} and type {values.dtype}"
            raise ValueError(f"{key} in split {name} has {shape}, not numbers ({len(labels)}, steps, channels)")
    labels = labels.reshape(-1).astype(np.float64)
    ids = split.get("id")
    clips, videos = _names([f"{name}{row:05d}" for row in range(len(labels))] if ids is None else ids)
    if len(clips) != len(labels):
        raise ValueError(f"id in split {name} has {len(clips)} names for {len(labels)} clips")
    table = {"clip": clips, "actor": videos, "label": labels, "emotion": polarity(labels), "split": SPLITS[name]}
    return arrays | {"clips": pd.DataFrame(table)}


def _plain(values: Any, depth: int = 2) -> Any:
    """The array of a stand-in, a list with the arrays of its stand-ins, or the value itself.

    Raises ValueError for anything else, and for lists within lists within lists.
    """
    if isinstance(values, _Array):
        return values.values()
    if isinstance(values, list | tuple) and depth:
        return [_plain(item, depth - 1) for item in values]
    if type(values) not in ITEMS:
        raise ValueError("it holds neither arrays nor text nor numbers")
    return values


def _names(ids: Any) -> tuple[list[str], list[str]]:
    """The name of every clip and of its video, from MULT's ids (video, start, end) or MMSA's 'video$_$clip'.

    A segment's number in brackets, with which CMU's toolkit calls the clips of a video, belongs to the clip alone.
    """
    rows = [texts(np.ravel(np.array(row, object))) for row in _plain(ids)]
    return ["_".join(row) for row in rows], [re.sub(r"\[[\d-]+\]$", "", row[0].split("$_$")[0]) for row in rows]


def _joined(key: str, splits: dict[str, dict], axes: tuple[int, ...]) -> np.ndarray:
    """A modality of all splits, transposed, as float32. Raises ValueError where steps or channels differ."""
    arrays = {name: split.pop(key) for name, split in splits.items()}
    if len({values.shape[1:] for values in arrays.values()}) > 1:
        listed = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
        raise ValueError(f"{key} has other steps or channels in some splits: {listed}")
    turned = [values.transpose(axes) for values in arrays.values()]
    series = np.empty((sum(map(len, turned)), *turned[0].shape[1:]), np.float32)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        return np.concatenate(turned, out=series, casting="unsafe")
