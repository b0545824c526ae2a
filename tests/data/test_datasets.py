"""Datasets at their places: which file is read, and a store that follows it."""

import logging
import os

import numpy as np
import pytest
import soundfile

import workbook
import workbook.toy
from workbook import InputError
from workbook.data.datasets import Corpus


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


def test_the_toy_mosei_is_made_with_its_store_where_it_is_missing(data, caplog):
    with caplog.at_level(logging.INFO):
        store = Corpus("toy_mosei", frames=0, image_size=0, protocol="mult").open_store()
    assert len(store) == 920 and "making the toy MOSEI" in caplog.text and "making the store" in caplog.text
    assert Corpus("toy_mosei").root == data / "toy_mosei" / "mosei_senti_data.pkl"
    assert list(Corpus("toy_mosei").truth()["clip"]) == list(store.clips["clip"])
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = Corpus("toy_mosei", frames=15, image_size=224, audio_features="logmel").open_store()
    assert second.path == store.path == Corpus("toy_mosei").store_path and not caplog.records
    assert Corpus("toy_mosei", data / "other").root == data / "other" / "mosei_senti_data.pkl"
    assert Corpus("toy_mosei", data / "my.pkl").root == data / "my.pkl"


def test_a_store_is_made_again_when_its_file_changes(tmp_path):
    path = save_npz(tmp_path / "mine.npz")
    first = Corpus("features", path).open_store()
    assert Corpus("features", path).preprocess().fingerprint == first.fingerprint
    save_npz(path, label=(2, 1, 2, 0, 1))
    os.utime(path, ns=(1, 1))  # a clock that went backwards does not hide it
    second = Corpus("features", path).open_store()
    assert second.path == first.path and second.fingerprint != first.fingerprint
    assert list(second.clips["label"]) == [2, 1, 2, 0, 1]


def save_films(folder, labels=("x", "y")):
    folder.mkdir(exist_ok=True)
    for place in range(len(labels)):
        path = folder / f"{place}.wav"
        if not path.exists():
            soundfile.write(path, np.random.default_rng(place).uniform(-0.5, 0.5, 30_000), 22_050)
    rows = [f"{place}.wav,{place},{label}\n" for place, label in enumerate(labels)]
    (folder / "clips.csv").write_text("file,person,label\n" + "".join(rows))
    return Corpus("films", folder, frames=2, image_size=32)


@pytest.mark.parametrize("labels", ["xyy", "xyxy", "xyx"], ids=["a label", "a clip", "a file"])
def test_a_change_of_clips_is_noticed_and_the_store_made_again(tmp_path, labels):
    corpus = save_films(tmp_path / "my films #1 50%", "xyx")
    first = corpus.preprocess(workers=1, progress=False)
    assert corpus.fingerprint == first.fingerprint == corpus.open_store().fingerprint
    save_films(corpus.root, labels)
    if labels == "xyx":
        soundfile.write(corpus.root / "1.wav", np.random.default_rng(9).uniform(-0.5, 0.5, 30_000), 22_050)
    assert corpus.fingerprint == ""
    with pytest.raises(InputError, match=r"the clips in .* have changed since .*; make it again with: papermill"):
        corpus.open_store()
    second = corpus.preprocess(workers=1, progress=False)
    assert corpus.fingerprint == second.fingerprint == corpus.open_store().fingerprint != first.fingerprint


def test_a_store_of_clips_is_enough_where_they_are_away(tmp_path):
    corpus = save_films(tmp_path / "films")
    first = corpus.preprocess(workers=1, progress=False)
    (tmp_path / "films").rename(tmp_path / "elsewhere")
    assert corpus.fingerprint == first.fingerprint == corpus.open_store().fingerprint


def test_the_only_pickle_of_a_folder_is_read(tmp_path, data):
    with pytest.raises(InputError, match=r"mosei holds 0 of the files .*unaligned_50\.pkl: give one"):
        Corpus("mosei").open_store()
    (data / "mosei").mkdir(parents=True)
    (data / "mosei" / "aligned_50.pkl").touch()
    (data / "mosei" / "notes.pkl").touch()
    assert Corpus("mosei").root == data / "mosei" / "aligned_50.pkl"
    (data / "mosei" / "mosi_data.pkl").touch()
    with pytest.raises(InputError, match=r"holds 2 of the files .*: give one of them"):
        Corpus("mosei").open_store()
    with pytest.raises(InputError, match=r"gone\.pkl, which is no file or folder"):
        Corpus("mosei", tmp_path / "gone.pkl").open_store()
