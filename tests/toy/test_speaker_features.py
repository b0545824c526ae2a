"""The toy speakers as features: what tells the emotion, what does not, and which fusions find the speaker."""

import numpy as np
import pytest
import torch

import workbook
from avlib import build_model
from workbook.attention.truth import shares, summary
from workbook.data.datasets import Corpus
from workbook.data.features import read_npz
from workbook.evaluate.metrics import best_reachable
from workbook.toy import speaker_features as toy
from workbook.toy.accents import PEOPLE, TAKES, make_file
from workbook.train.batches import splits
from workbook.train.training import fit


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The store of the features, as the parameters make it, and their truth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbook, "DATA", tmp_path_factory.mktemp("data"))
        corpus = Corpus("toy_speaker_features")
        yield corpus.open_store(), corpus.truth()


def test_each_clip_shows_three_of_the_four_kinds(corpus):
    kinds = corpus[1]["kinds"].str.split()
    assert kinds.map(set).map(len).eq(3).all() and set(kinds.explode()) == set(toy.KINDS)
    assert best_reachable("toy_speaker_features", 8)["M"] == pytest.approx((100 + 25 + 100 / 3) / 3)


def trained(fusion, store, folder):
    """A network after three epochs with the defaults of the dataset, its test clips and their output."""
    parts = splits(store, 0, 8, ("audio", "video"), fold_scheme="paper")
    torch.manual_seed(1)
    net = build_model(fusion, audio_channels=2 * toy.CHANNELS, video_channels=2 * toy.CHANNELS)
    given = {"dropout": "none", "batch_size": 24, "learning_rate": 0.001, "seed": 1, "epochs": 3, "protocol": "mult"}
    list(fit(net, parts["train"], parts["validation"], folder, **given))
    test = parts["test"]
    audio, video, labels = test[torch.arange(len(test))]
    with torch.inference_mode():
        output = net.eval()(audio, video)
    return test, output, 100 * (output.logits.argmax(1) == labels).double().mean().item()


def test_ia_finds_the_speaker_among_people_not_met(corpus, tmp_path):
    store, truth = corpus
    test, output, accuracy = trained("ia", store, tmp_path)
    times = {"video": (np.arange(toy.STEPS) + 0.5) / toy.STEPS}
    found = summary(shares(test.table, {"video": output.attention["video"].numpy()}, times, truth)).iloc[0]
    assert accuracy > 95 and found["share"] > 0.8 and found["chance"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("fusion, low, high", [("bilinear", 90, 100), ("concat", 20, 45)])
def test_a_product_of_the_two_means_names_the_emotion_and_a_sum_cannot(fusion, low, high, corpus, tmp_path):
    _, output, accuracy = trained(fusion, corpus[0], tmp_path)
    assert low < accuracy <= high and not output.attention  # of a sum a third, give or take four standard errors


def clip_means(path, people):
    """The clips of some people, and the mean of each over time: (N, audio and video channels)."""
    make_file(path, people)
    corpus = read_npz(path)
    return corpus.clips, np.hstack([corpus.audio.mean(axis=2), corpus.video.mean(axis=1)])


def test_people_share_the_emotions_but_not_their_accents(tmp_path):
    clips, values = clip_means(tmp_path / "corpus.npz", PEOPLE)
    assert np.array_equal(values, clip_means(tmp_path / "again.npz", PEOPLE)[1])
    assert clips.groupby(["actor", "emotion"]).size().eq(TAKES).all() and set(clips["actor"]) == set(PEOPLE)
    strangers, others = clip_means(tmp_path / "strangers.npz", range(101, 401))
    shared = [
        np.stack([x[each["label"] == k].mean(axis=0) for k in range(8)])
        for each, x in ((clips, values), (strangers, others))
    ]
    assert np.corrcoef(*map(np.ravel, shared))[0, 1] > 0.8
    first, second = (values[(clips["actor"] == who) & (clips["label"] == 0)] for who in (1, 2))
    assert abs(first.mean(axis=0) - second.mean(axis=0)).mean() > 2 * first.std(axis=0).mean()
