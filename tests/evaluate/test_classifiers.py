"""Baselines without a network, on features whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from workbook.data.store import Store
from workbook.evaluate.classifiers import NAMES, clip_statistics, predict_without_network
from workbook.evaluate.metrics import metrics
from workbook.task import Classification
from workbook.train.batches import Clips

N, Ca, Cv, Ta, Tv = 90, 3, 2, 7, 5


@pytest.fixture
def store(tmp_path):
    """Three classes: the sound's mean tells the first from the rest, the picture's spread the third."""
    rng = np.random.default_rng(0)
    label = np.arange(N) % 3
    audio = rng.standard_normal((N, Ca, Ta)).astype(np.float32) + 4 * (label == 0)[:, None, None]
    video = rng.standard_normal((N, Tv, Cv)).astype(np.float32) * np.where(label == 2, 9, 1)[:, None, None]
    table = pd.DataFrame({"clip": [f"c{k}" for k in range(N)], "actor": np.arange(N) // 9, "label": label})
    table = table.assign(emotion=np.array(list("abc"))[label], has_audio=True, has_video=True)
    return Store(tmp_path, table, video.astype(np.float32), audio, pd.DataFrame(), {})


def parts(store, task=None):
    labels = store.clips["label"].to_numpy()
    rows = np.split(np.arange(N), [45, 60])
    return [Clips(store, own, labels[own], task or Classification(("a", "b", "c"))) for own in rows]


@pytest.mark.parametrize("name", NAMES)
def test_each_condition_reaches_what_its_modalities_tell(store, name):
    table = predict_without_network(*parts(store), fold=2, seed=5)[name]
    scores = {condition: score["accuracy"] for condition, score in metrics(table)["conditions"].items()}
    assert scores["AV"] > 90 and 55 < scores["A"] < 90 and 55 < scores["V"] < 90
    assert set(table["fold"]) == {2} and set(table["seed"]) == {5} and len(table) == 3 * 30
    np.testing.assert_allclose(table[["p0", "p1", "p2"]].sum(axis=1), 1, rtol=1e-5)


def test_logistic_regression_gives_its_own_probabilities(store):
    train, validation, test = parts(store)
    table = predict_without_network(train, validation, test, fold=0)[NAMES[0]].query("condition == 'A'")
    values, unseen = (clip_statistics(clips, ("audio",)) for clips in (train, test))
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    candidates = [
        LogisticRegression(C=c, max_iter=2000)
        .fit((values - mean) / deviation, train.labels)
        .predict_proba((unseen - mean) / deviation)
        for c in (0.01, 0.1, 1, 10)
    ]
    assert any(np.allclose(table[["p0", "p1", "p2"]], own, atol=1e-4) for own in candidates)


def test_a_clip_without_a_modality_is_not_asked_of_it(store):
    store.clips.loc[[70, 71], "has_audio"] = False
    table = predict_without_network(*parts(store), fold=0)["SVM"]
    assert table["condition"].value_counts().to_dict() == {"AV": 30, "V": 30, "A": 28}


def test_two_classes_have_two_probabilities(store):
    store.clips["label"] = (store.clips["label"] == 0).astype(int)
    for table in predict_without_network(*parts(store, Classification(("a", "b"))), fold=0).values():
        assert metrics(table)["conditions"]["AV"]["accuracy"] > 90 and {"p0", "p1"} <= set(table)
