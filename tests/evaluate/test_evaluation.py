"""Evaluation of networks under conditions, and baselines without a network, on clips whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from avlib import build_model
from workbook.data.ravdess import EMOTIONS
from workbook.data.store import Store
from workbook.evaluate.classifiers import NAMES, clip_statistics, predict_without_network
from workbook.evaluate.conditions import Both, Context, Gone, Intact, Missing, paper_conditions
from workbook.evaluate.evaluation import attention, predict
from workbook.evaluate.metrics import confusions, metrics
from workbook.task import Classification
from workbook.train.batches import Clips
from workbook.train.descriptors import TILE, Describer


def test_the_confusion_matrix_has_truth_in_rows():
    guesses = np.eye(3)[[1, 1, 1, 1, 1, 0, 2]]
    rows = pd.DataFrame(guesses, columns=["p0", "p1", "p2"]).assign(condition="V", label=[0, 0, 0, 0, 1, 1, 2])
    assert confusions(rows, 3)["V"].tolist() == [[0, 4, 0], [1, 1, 0], [0, 0, 1]]


def test_a_model_trained_with_noise_is_tested_with_noise_and_any_other_with_zeros():
    softhard, noise = paper_conditions("softhard"), paper_conditions("noise")
    assert [condition.name for condition in softhard] == ["AV", "A", "V", "A noise", "V noise"]
    assert softhard[1] == Missing("A", "video", "zeros") and softhard[3] == Missing("A noise", "video", "noise")
    assert noise[1] == Missing("A", "video", "noise") and noise[4] == Missing("V zeros", "audio", "zeros")


@pytest.fixture
def clips(tiny_store):
    return Clips(tiny_store, np.arange(10), tiny_store.clips.label.to_numpy()[:10], Classification(EMOTIONS))


@pytest.mark.parametrize("fusion", ["ia", "video", "audio"])
def test_conditions_answered_together_are_those_answered_one_by_one(fusion, clips):
    torch.manual_seed(0)
    net = build_model(fusion, image_size=64).eval()
    rows = predict(net, clips, paper_conditions("softhard"), fold=0, seed=7, batch_size=4)
    for condition in rows.condition.unique():
        [replacement] = [own for own in paper_conditions("softhard") if own.name == condition]
        generator, expected = torch.Generator().manual_seed(7), []
        for audio, video, _ in clips.batches(4):
            replaced = replacement(audio, video, Context(None, None, generator))
            audio, video = (old * 0 if new is None else new for old, new in zip((audio, video), replaced, strict=True))
            expected.append(net(audio, video).logits.softmax(dim=1).detach())
        ours = rows[rows.condition == condition].filter(regex=r"^p\d").to_numpy()
        np.testing.assert_allclose(ours, torch.cat(expected).numpy(), atol=1e-6)


@pytest.mark.parametrize("fusion", ["ia", "lt", "audio"])
def test_a_clip_is_answered_to_the_last_digit_as_among_all(fusion, clips):
    torch.manual_seed(0)
    net = build_model(fusion, image_size=64).eval()
    asked, how = paper_conditions("none")[:3], {"fold": 0, "seed": 1}
    every = predict(net, clips, asked, **how).set_index("clip")
    for some in ([0], [3, 7], [1, 4, 5, 6, 9]):
        kept = clips.table.index.isin(some)
        alone = predict(net, clips.where(kept), asked, **how).set_index("clip")
        pd.testing.assert_frame_equal(alone, every[every.index.isin(alone.index)], check_exact=True)


def test_only_frames_that_a_condition_changes_are_described_again(clips):
    net = build_model("ia", image_size=64).eval()
    seen = []
    net.frame_network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    frames, how = Describer(net, clips), {"fold": 0, "seed": 1, "batch_size": 4}
    predict(net, clips, [Intact()], **how, describer=frames)
    held = Gone("video", 1 / 3, "start", "held")  # the second frame in place of the first
    changed = [Gone("video", 1 / 3, "start"), held, Both(Gone("audio"), held)]
    rows = predict(net, clips, [*changed, Intact()], **how, describer=frames)
    assert seen == [TILE] * 7  # three batches of up to 12 frames, the black one, and three of up to 4 first frames
    audio, video, _ = clips[torch.arange(10)]
    for condition in changed:
        inputs = condition(audio, video, Context(clips, torch.arange(10), torch.Generator()))
        expected = net(*inputs).logits.softmax(dim=1).detach().numpy()
        ours = rows[rows.condition == condition.name].filter(regex=r"^p\d").to_numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_clip_without_video_counts_where_sound_is_asked_for_and_not_where_a_picture_is(clips):
    clips.table = clips.table.assign(has_video=[True] * 3 + [False] * 7)
    rows = predict(build_model("ia", image_size=64), clips, paper_conditions("none"), fold=2, seed=1)
    assert rows.condition.value_counts().to_dict() == {"AV": 10, "A": 10, "A noise": 10, "V": 3, "V noise": 3}
    assert set(rows.fold) == {2}


def test_attention_is_collected_for_all_clips_in_order(clips):
    net = build_model("ia", heads=2, image_size=64).eval()
    collected = attention(net, clips, batch_size=4)
    audio, video, _ = clips[torch.arange(7, 8)]
    single = net(audio, video).attention
    assert collected["video_to_audio"].shape == (10, 2, 150, 3)
    for name, tensor in single.items():
        np.testing.assert_allclose(collected[name][7], tensor[0].detach().numpy(), rtol=1e-3, atol=1e-5)


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


def test_a_clip_is_not_asked_of_a_modality_that_it_or_every_clip_lacks(store):
    store.clips.loc[[70, 71], "has_audio"] = False
    table = predict_without_network(*parts(store), fold=0)["SVM"]
    assert table["condition"].value_counts().to_dict() == {"AV": 30, "V": 30, "A": 28}
    store.clips["has_video"], store.video[:] = False, 0
    for table in predict_without_network(*parts(store), fold=0).values():
        assert table["condition"].value_counts().to_dict() == {"AV": 28, "A": 28}


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_a_training_clip_is_never_the_answer_and_moves_no_other(store, name):
    train, validation, test = parts(store)
    train, validation = (clips.where(clips.table["label"] != 1) for clips in (train, validation))
    table = predict_without_network(train, validation, test, fold=0)[name].query("condition == 'AV'")
    assert (table["p1"] == 0).all()
    known = table[table["label"] != 1]
    assert (known[["p0", "p1", "p2"]].to_numpy().argmax(axis=1) == known["label"]).mean() > 0.9


def test_two_classes_have_two_probabilities(store):
    store.clips["label"] = (store.clips["label"] == 0).astype(int)
    for table in predict_without_network(*parts(store, Classification(("a", "b"))), fold=0).values():
        assert metrics(table)["conditions"]["AV"]["accuracy"] > 90 and {"p0", "p1"} <= set(table)
