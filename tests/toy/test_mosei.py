"""The toy MOSEI: a pickle in MULT's format whose truth is known."""

import numpy as np
import pytest

from workbook.data.datasets import read_truth
from workbook.data.pickles import read_pickle
from workbook.toy import mosei as toy_mosei


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The features of the toy MOSEI with the truth of each clip."""
    path = tmp_path_factory.mktemp("toy") / "mosei_senti_data.pkl"
    toy_mosei.make_pickle(path)
    features, truth = read_pickle(path), read_truth(path)
    assert list(features.clips["clip"]) == list(truth["clip"])
    return features, truth


def test_a_toy_is_a_pickle_of_mult(toy):
    features, truth = toy
    assert features.audio.shape == (920, 74, 50) and features.video.shape == (920, 50, 35)
    assert dict(features.clips["split"].value_counts()) == {"train": 600, "test": 200, "validation": 120}
    assert features.clips.groupby("actor")["split"].nunique().max() == 1
    np.testing.assert_array_equal(features.clips["label"], truth["sentiment"])
    assert (features.clips["actor"] == truth["actor"]).all()
    assert 0.0005 < features.facts["missing_audio"] / features.audio.size < 0.002
    assert features.facts["missing_video"] == 0


def oracle(series, truth, cue):
    """Start, end and level of the cue of every clip, found in its values (N, T, C) with patterns of the training clips.

    A level's pattern is the mean of the steps inside minus those outside, over the training clips. The best pattern and
    run of steps of a clip are those that explain it best.
    """
    centre = (np.arange(50) + 0.5) / 50
    inside = (centre > truth[f"{cue}_start"].to_numpy()[:, None]) & (centre < truth[f"{cue}_end"].to_numpy()[:, None])
    train = truth["clip"].str.startswith("train").to_numpy()
    best, (start, end, level) = np.full(len(series), -np.inf), np.zeros((3, len(series)))
    for value in toy_mosei.LEVELS:
        rows = train & (truth[f"{cue}_part"] == value).to_numpy()
        contrasts = [v[i].mean(0) - v[~i].mean(0) for v, i in zip(series[rows], inside[rows], strict=True)]
        pattern = np.mean(contrasts, axis=0)
        shown = series @ pattern / (pattern @ pattern)  # about 1 inside of a cue of this level
        gain = shown - np.sort(shown, axis=1)[:, :25].mean(axis=1, keepdims=True) - 0.5
        total = np.concatenate([np.zeros((len(series), 1)), gain.cumsum(axis=1)], axis=1)
        runs = np.triu(total[:, None, :] - total[:, :, None])  # (N, first step, step after the last)
        where, score = runs.reshape(len(series), -1).argmax(axis=1), runs.max(axis=(1, 2))
        better = score > best
        best[better], level[better] = score[better], value
        start[better], end[better] = np.divmod(where[better], 51)
    return start, end, level


def test_the_cues_are_where_and_what_the_truth_says_and_the_two_give_the_sentiment(toy):
    features, truth = toy
    unseen = ~truth["clip"].str.startswith("train").to_numpy()
    total = 0
    for cue, series in (("voice", features.audio.swapaxes(1, 2)), ("face", features.video)):
        start, end, level = oracle(series, truth, cue)
        assert (np.abs(start / 50 - truth[f"{cue}_start"]) < 0.021)[unseen].mean() > 0.98
        assert (np.abs(end / 50 - truth[f"{cue}_end"]) < 0.021)[unseen].mean() > 0.98
        assert (level == truth[f"{cue}_part"])[unseen].mean() > 0.98
        total += level
    assert (total == features.clips["label"])[unseen].mean() > 0.97


def test_what_is_reachable_by_one_part_is_the_likelier_sign_and_the_median_of_its_four_sums():
    """Part 1.5 makes 0, 1, 2, 3, part 0.5 makes -1, 0, 1, 2: 10 of 12 signs, and errors of 1.5, 0.5, 0.5, 1.5."""
    alone = {"accuracy": pytest.approx(100 * 10 / 12), "mae": 1.0}
    assert toy_mosei.reachable() == {"AV": {"accuracy": 100, "mae": 0}, "A": alone, "V": alone}
