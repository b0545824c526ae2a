import numpy as np

from workbook.data.features import read_npz
from workbook.toy.accents import PEOPLE, TAKES, make_file


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
