"""Datasets of features: which file is meant, and a store that follows it."""

import logging
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import workbook
from workbook import InputError
from workbook.data import datasets as corpus
from workbook.data.folds import FOLDS, split_rows
from workbook.toy import mosei as toy_mosei


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """An empty data folder for each test."""
    monkeypatch.setattr(workbook, "DATA", tmp_path / "data")
    return tmp_path / "data"


def save_npz(path, label=(0, 1, 2, 0, 1)):
    rng = np.random.default_rng(0)
    audio, video = rng.standard_normal((5, 3, 7)), rng.standard_normal((5, 2, 11))
    np.savez(path, audio=audio, video=video, label=np.array(label), group=np.arange(5))
    return path


def test_every_default_of_a_dataset_is_one_of_those_that_fit():
    for dataset in corpus.DATASETS.values():
        usual = dataset.defaults
        assert usual["fold_scheme"] in dataset.fold_schemes and set(dataset.fold_schemes) <= set(FOLDS)
        assert usual["protocol"] in dataset.protocols
        assert usual["classes"] == len(dataset.names)
        assert bool(usual["frames"]) == (dataset.kind == "clips")
        assert dataset.needs in ("", *corpus.ROOTS)


def test_the_records_of_datasets_bring_no_heavy_library():
    heavy = {"torch", "librosa", "av", "facenet_pytorch", "soundfile", "matplotlib"}
    code = f"import sys, workbook.data.datasets; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_split_is_read_under_the_name_that_older_stores_have():
    clips = pd.DataFrame({"actor": list("abc"), "part": ["test", "train", "validation"]})
    assert {name: list(rows) for name, rows in split_rows(clips, 0, "own").items()} == dict(
        train=[1], validation=[2], test=[0]
    )


def test_the_toy_mosei_is_made_with_its_store_where_it_is_missing(data, caplog):
    with caplog.at_level(logging.INFO):
        store = corpus.ensure_store("toy_mosei", frames=0, image_size=0, protocol="mult")
    assert len(store) == 920 and "making the toy MOSEI" in caplog.text and "making the store" in caplog.text
    assert corpus.corpus_root("toy_mosei") == data / "toy_mosei" / "mosei_senti_data.pkl"
    assert list(toy_mosei.truth(corpus.corpus_root("toy_mosei"))["clip"]) == list(store.clips["clip"])
    caplog.clear()
    with caplog.at_level(logging.INFO):
        again = corpus.ensure_store("toy_mosei", frames=15, image_size=224, audio_features="logmel")
    assert again.path == store.path == corpus.store_path("toy_mosei") and not caplog.records
    assert corpus.corpus_root("toy_mosei", data / "other") == data / "other" / "mosei_senti_data.pkl"
    assert corpus.corpus_root("toy_mosei", data / "my.pkl") == data / "my.pkl"


def test_a_store_is_made_anew_when_its_file_changes(tmp_path):
    path = save_npz(tmp_path / "mine.npz")
    first = corpus.ensure_store("features", path)
    assert corpus.preprocess("features", path).fingerprint == first.fingerprint
    save_npz(path, label=(2, 1, 2, 0, 1))
    os.utime(path, ns=(1, 1))  # a clock that went backwards does not hide it
    second = corpus.ensure_store("features", path)
    assert second.path == first.path and second.fingerprint != first.fingerprint
    assert list(second.clips["label"]) == [2, 1, 2, 0, 1]


def test_a_store_is_enough_where_its_file_is_gone(tmp_path):
    path = save_npz(tmp_path / "mine.npz")
    first = corpus.ensure_store("features", str(path), frames=None, image_size=None)
    path.unlink()
    assert corpus.ensure_store("features", path).fingerprint == first.fingerprint


def test_a_file_that_cannot_be_read_leaves_no_store(tmp_path, data):
    (tmp_path / "bad.npz").write_text("no arrays")
    with pytest.raises(InputError, match=r"bad\.npz is not an \.npz"):
        corpus.ensure_store("features", tmp_path / "bad.npz")
    assert not [path for path in (data / "stores").iterdir() if path.is_dir()]


def test_stores_of_other_files_lie_elsewhere(tmp_path):
    places = {corpus.store_path("features", tmp_path / name) for name in ("a.npz", "b.npz")}
    places |= {corpus.store_path(name, tmp_path / "a.pkl") for name in ("mosei", "toy_mosei")}
    assert len(places) == 4


def test_the_only_pickle_of_a_folder_is_meant(tmp_path, data):
    with pytest.raises(InputError, match=rf"{data}/mosei holds no pickle .*unaligned_50\.pkl.*docs/features\.md"):
        corpus.corpus_root("mosei")
    (data / "mosei").mkdir(parents=True)
    (data / "mosei" / "aligned_50.pkl").touch()
    (data / "mosei" / "notes.pkl").touch()
    assert corpus.corpus_root("mosei") == data / "mosei" / "aligned_50.pkl"
    (data / "mosei" / "mosi_data.pkl").touch()
    with pytest.raises(InputError, match=r"holds mosi_data\.pkl, aligned_50\.pkl: give one of these files"):
        corpus.corpus_root("mosei")
    assert corpus.corpus_root("mosei", data / "mosei" / "notes.pkl") == data / "mosei" / "notes.pkl"
    (tmp_path / "mine.pickle").touch()
    assert corpus.corpus_root("mosei", tmp_path / "mine.pickle") == tmp_path / "mine.pickle"
    with pytest.raises(InputError, match=r"gone\.pkl is not a file"):
        corpus.ensure_store("mosei", tmp_path / "gone.pkl")


def test_features_need_a_file():
    for data_root in (None, "", "/somewhere"):
        with pytest.raises(InputError, match=r"give the path of an \.npz as data_root"):
            corpus.ensure_store("features", data_root)


def test_other_sound_features_of_clips_are_another_store_and_mfcc_is_where_it_was():
    place = {"frames": 15, "image_size": 224}
    plain = corpus.store_path("toy", "/corpus", **place)
    assert plain == corpus.store_path("toy", "/corpus", **place, audio_features="mfcc")
    assert plain.name == "toy-15x224-b8e463"
    assert (
        len({plain} | {corpus.store_path("toy", "/corpus", **place, audio_features=x) for x in ("logmel", "chroma")})
        == 3
    )
