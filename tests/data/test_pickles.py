"""MOSEI's pickles: read in every format, never executed; and a toy one whose truth is known."""

import os
import pickle
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from workbook import InputError
from workbook.data.pickles import read_pickle

COUNTS = {"train": 7, "valid": 3, "test": 5}
T, CA, CV = 11, 5, 2  # steps, channels of audio and of vision


def mult(ids=True, dtype=np.float64):
    """Splits as MULT's users have them: 7, 3 and 5 clips, two of a video; numbers differ everywhere."""
    rng, splits = np.random.default_rng(0), {}
    for name, count in COUNTS.items():
        splits[name] = {
            "text": np.zeros((count, T, 300), dtype),
            "audio": rng.standard_normal((count, T, CA)).astype(dtype),
            "vision": rng.standard_normal((count, T, CV)).astype(dtype),
            "labels": rng.uniform(-3, 3, (count, 1, 1)).astype(dtype),
        }
        if ids:
            rows = [[f"{name}-Video_{row // 2}", f"{row}.5", f"{row + 1}.5"] for row in range(count)]
            splits[name]["id"] = np.array(rows, dtype="U40")
    return splits


def mosi():
    """The same with ids as bytes, as those of MOSI are, and with another order of axes in memory."""
    splits = mult()
    for arrays in splits.values():
        arrays["audio"] = np.asfortranarray(arrays["audio"])
        arrays["id"] = np.array([[f"{row[0]}[3]", *row[1:]] for row in arrays["id"]]).astype("S")
    return splits


def mmsa():
    """Splits as MMSA's users have them, with the same numbers."""
    splits = {}
    for name, arrays in mult().items():
        count = COUNTS[name]
        splits[name] = {"audio": arrays["audio"], "vision": arrays["vision"], "audio_lengths": [T] * count}
        splits[name] |= {"raw_text": np.array(["WORDS AND WORDS"] * count), "text_bert": np.zeros((count, 3, T))}
        splits[name] |= {"id": [f"{name}-Video_{row // 2}$_${row}" for row in range(count)]}
        splits[name] |= {"annotations": ["Positive"] * count, "regression_labels": arrays["labels"].reshape(count)}
    return splits


@pytest.fixture
def pickled(tmp_path):
    """Pickles anything and returns the path of the file."""

    def save(content, protocol=4, name="mosei_senti_data.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=protocol))
        return tmp_path / name

    return save


def check(features):
    """These are the numbers of `mult()`, whatever file they come from."""
    expected = mult()
    keys = ("audio", "vision", "labels")
    audio, vision, labels = (np.concatenate([expected[name][key] for name in COUNTS]) for key in keys)
    labels = labels.ravel()
    assert features.audio.shape == (15, CA, T) and features.video.shape == (15, T, CV)
    assert features.audio.dtype == features.video.dtype == np.float32
    np.testing.assert_array_equal(features.audio, audio.swapaxes(1, 2).astype(np.float32))
    np.testing.assert_array_equal(features.video, vision.astype(np.float32))
    np.testing.assert_array_equal(features.clips["label"], labels)
    assert (features.clips["emotion"] == np.where(labels < 0, "negative", "positive")).all()
    assert list(features.clips["split"]) == ["train"] * 7 + ["validation"] * 3 + ["test"] * 5
    assert features.task == "sentiment" and features.names == [] and not features.standardise
    assert features.clips["has_audio"].all() and features.clips["has_video"].all() and features.problems.empty


VIDEOS = [f"{name}-Video_{row // 2}" for name, count in COUNTS.items() for row in range(count)]


@pytest.mark.parametrize("make, clip", [(mult, "_3.5_4.5"), (mosi, "[3]_3.5_4.5"), (mmsa, "$_$3")])
def test_the_pickles_of_mult_mosi_and_mmsa_are_read(pickled, make, clip):
    features = read_pickle(pickled(make()))
    check(features)
    assert list(features.clips["actor"]) == VIDEOS and features.clips["clip"][3] == f"train-Video_1{clip}"


def test_without_ids_every_clip_is_its_own_video(pickled):
    features = read_pickle(pickled(mult(ids=False)))
    check(features)
    assert list(features.clips["actor"]) == list(features.clips["clip"]) and features.clips["clip"].is_unique


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("package", [b"numpy._core", b"numpy.core"])
def test_every_protocol_is_read_as_numpy_1_and_2_write_it_without_a_warning(tmp_path, protocol, package):
    written = pickle._dumps(mult(), protocol=protocol)
    if protocol < 4:  # names end with a line there, so that one can be put for another
        written = written.replace(b"numpy._core", package)
    (tmp_path / "a.pkl").write_bytes(written)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(read_pickle(tmp_path / "a.pkl"))


class Python2(pickle._Pickler):
    """Writes text and bytes alike as Python 2's strings."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        value = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def test_pickles_of_python_2_are_read(tmp_path):
    splits = mult()
    for arrays in splits.values():
        arrays["id"] = arrays["id"].astype("S").astype(object)
    with open(tmp_path / "old.pkl", "wb") as file:
        Python2(file, protocol=2).dump(splits)
    content = (tmp_path / "old.pkl").read_bytes()
    assert b"U" in content and pickle.BINUNICODE + b"\x05\x00\x00\x00train" not in content
    (tmp_path / "old.pkl").write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    features = read_pickle(tmp_path / "old.pkl")
    check(features)
    assert list(features.clips["actor"]) == VIDEOS


def test_values_that_are_not_finite_become_0_and_are_counted(pickled):
    splits = mult()
    splits["train"]["audio"][2, 3:6, 1] = -np.inf
    splits["test"]["audio"][4, 10, 4], splits["test"]["vision"][1, 2, 0] = np.nan, np.inf
    features = read_pickle(pickled(splits))
    assert features.facts["missing_audio"] == 4 and features.facts["missing_video"] == 1
    assert not features.audio[2, 1, 3:6].any() and features.audio[14, 4, 10] == features.video[11, 2, 0] == 0
    assert np.count_nonzero(features.audio == 0) == 4 and np.isfinite(features.audio).all()


def test_ids_that_come_again_become_names_of_their_own(pickled):
    splits = mult()
    splits["train"]["id"][1:4] = splits["test"]["id"][0] = splits["train"]["id"][0]
    clips = read_pickle(pickled(splits)).clips
    assert clips["clip"].is_unique and clips["clip"][0] == "train-Video_0_0.5_1.5"
    assert (clips["actor"][[1, 2, 3, 10]] == "train-Video_0").all()


def changed(key, values=None):
    """Splits of which the second has other values, or none."""
    splits = mult()
    own = splits["valid"] | {key: values}
    return splits | {"valid": {name: array for name, array in own.items() if array is not None}}


@pytest.mark.parametrize(
    "content, says",
    [
        ([1, 2, 3], "is not a dict of train, valid, test"),
        (changed("vision"), "split valid lacks vision: it holds text, audio, labels, id"),
        (changed("labels"), "split valid lacks labels or regression_labels"),
        (changed("labels", np.full((3, 1, 1), 3.1)), "labels in split valid are not one number from -3 to 3"),
        (changed("labels", np.zeros((4, 1, 1))), r"audio in .* \(3, 11, 5\) .* not numbers \(4, steps, channels\)"),
        (changed("id", np.array(["a", "b"])), "id in split valid has 2 names for 3 clips"),
        (changed("audio", np.zeros((3, T, CA + 1))), r"other steps or channels.*valid \(3, 11, 6\)"),
        (changed("vision", np.array([None] * 3)), "vision in split valid has shape .* and type object"),
        (changed("audio", np.zeros((3, 0, CA))), r"audio in split valid has shape \(3, 0, 5\)"),
    ],
)
def test_a_pickle_of_another_content_gets_one_sentence(pickled, content, says):
    with pytest.raises(InputError, match=says) as refused:
        read_pickle(pickled(content))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_torn_anywhere_or_no_pickle_gets_one_sentence(pickled, tmp_path):
    whole = pickled(mult(dtype=np.float32)).read_bytes()
    for length in np.linspace(0, len(whole) - 1, 60).astype(int):
        (tmp_path / "torn.pkl").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"torn\.pkl cannot be read as a pickle") as refused:
            read_pickle(tmp_path / "torn.pkl")
        assert "\n" not in str(refused.value)
    (tmp_path / "text.pkl").write_text("no pickle at all")
    for name in ("text.pkl", "missing.pkl", "."):
        with pytest.raises(InputError, match="cannot be read as a pickle"):
            read_pickle(tmp_path / name)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 5])
@pytest.mark.parametrize("place", ["alone", "object array", "beside good splits"])
def test_code_in_a_pickle_is_not_executed(pickled, tmp_path, protocol, place):
    from numpy.testing._private.utils import runstring

    mark = tmp_path / "executed"
    calls = {
        "os": Call(os.system, f"touch {mark}") if os.name == "posix" else None,
        "builtins": Call(eval, f"open({str(mark)!r}, 'w')"),
        "numpy": Call(runstring, f"open({str(mark)!r}, 'w')", {}),
        "pathlib": Call(Path.touch, mark),
    }
    for call in calls.values():
        content = {
            "alone": call,
            "object array": {name: {"audio": np.array([call], dtype=object)} for name in COUNTS},
            "beside good splits": mult() | {"more": call},
        }[place]
        with pytest.raises(InputError, match=r"asks for \S+ where only arrays and plain containers are admitted"):
            read_pickle(pickled(content, protocol))
    assert not mark.exists()
    pickle.loads(pickle.dumps(calls["builtins"])).close()  # these calls do something where they are let through
    assert mark.exists()


class Built(Call):
    """Makes an object and then gives it a state."""

    def __init__(self, function, arguments, state):
        self.reduced = function, arguments, state


def array_of(kind, content, shape=(1,)):
    """An array as numpy pickles it, of any type, shape and content."""
    return Built(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, shape, kind, False, content))


ADDRESS = struct.pack("<Q", 0x4141414141414141)
RECURSIVE = array_of(np.dtype(object), [])
RECURSIVE.reduced[2][4].append(RECURSIVE)
FORGED = {
    "an object in a structured type": array_of(np.dtype([("a", object)]), ADDRESS),
    "an object over bytes": array_of(np.dtype(object), ADDRESS),
    "a number that is an object": Call(np._core.multiarray.scalar, np.dtype([("a", object)]), ADDRESS),
    "objects within objects": array_of(np.dtype(object), [[1], {}]),
    "more values than bytes": array_of(np.dtype("f8"), ADDRESS, (2**40, 11, 5)),
    "a shape below zero": array_of(np.dtype("f8"), ADDRESS, (-1, -1)),
    "sizes that are too large for a product": array_of(np.dtype("f8"), ADDRESS, (2**62, 2**62, 4)),
    "a shape of text": array_of(np.dtype("f8"), ADDRESS, "shape"),
    "values without a size": array_of(np.dtype("V0"), ADDRESS),
    "characters that do not exist": array_of(np.dtype("U2"), ADDRESS),
    "another type's description": Built(np.dtype, ("f8",), (3, "<", None, None, None, 2**31, 0, 64)),
    "a description of five words": Built(np.dtype, ("f8",), ("a", "b", "c", "d", "e")),
    "a state for the class of arrays": Built(np.ndarray, (), (1, 2)),
    "an array that was never filled": Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b"),
    "an array in its own shape": array_of(np.dtype("f8"), "text that is no latin1: \u4e00"),
    "an array within itself": RECURSIVE,
}


@pytest.mark.parametrize("key", ["audio", "labels", "id"])
def test_no_forged_array_is_followed_by_numpy(pickled, tmp_path, key):
    for number, (name, forged) in enumerate(FORGED.items()):
        pickled({**mult(), "train": mult()["train"] | {key: forged}}, name=f"{number} {name}.pkl")
    script = (
        "import sys\nfrom pathlib import Path\nfrom workbook import InputError\n"
        "from workbook.data.pickles import read_pickle\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.pkl')):\n"
        "    try: read_pickle(path)\n"
        "    except InputError as error: print(path.stem, 'REFUSED', error)\n"
        "    else: print(path.stem, 'READ')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == done.stdout.count(" REFUSED ") == len(FORGED), done.stdout


def test_a_file_cannot_change_the_stand_ins(tmp_path):
    from workbook.data import pickles as mosei

    before = {stand_in: dict(vars(stand_in)) for stand_in in mosei.ADMITTED.values()}
    for module, name in mosei.ADMITTED:
        for state in (b"}S'state'\nI1\ns", b"N}S'values'\nI1\ns\x86"):
            (tmp_path / "a.pkl").write_bytes(b"\x80\x02c%s\n%s\n%sb." % (module.encode(), name.encode(), state))
            with pytest.raises(InputError):
                read_pickle(tmp_path / "a.pkl")
    assert {stand_in: dict(vars(stand_in)) for stand_in in mosei.ADMITTED.values()} == before
