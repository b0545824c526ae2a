"""A clip of one's own, with films of RAVDESS: turned, of two people, and a test clip."""

import av
import numpy as np
import pytest
import torch
from test_media import write_video

from avlib import build_model
from workbook.data.datasets import Corpus
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.predict.prediction import ModelCard, predict_windows
from workbook.predict.windows import read_windows
from workbook.task import Classification
from workbook.train.batches import Clips

pytestmark = pytest.mark.shared
SIZES = {"frames": 3, "image_size": 64}
EVERY = 3  # of the 29.97 frames of a second, every third
FULL, SILENT = "Actor_05/01-01-03-01-01-02-05.mp4", "Actor_01/02-01-04-01-02-01-01.mp4"


def small(path):
    """Every third frame (n, 180, 320, 3) of a film of RAVDESS."""
    with av.open(str(path)) as film:
        shown = [frame.to_ndarray(format="rgb24", width=320, height=180) for frame in film.decode(video=0)][::EVERY]
    return np.stack(shown)


@pytest.fixture(scope="module")
def clip(shared):
    """Frames of one person who speaks."""
    return small(shared / "ravdess" / FULL)


@pytest.fixture(scope="module")
def other(shared):
    """Frames of another person."""
    return small(shared / "ravdess" / SILENT)


def write(path, frames, turned=0):
    return write_video(path, frames, fps=10, turned=turned)


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_film_that_lies_on_its_side_is_turned_as_its_header_says(tmp_path, clip, turned):
    upright = read_windows(write(tmp_path / "upright.mp4", clip), **SIZES)
    lying = np.ascontiguousarray(np.rot90(clip, -turned // 90, axes=(1, 2)))
    windows = read_windows(write(tmp_path / "phone.mp4", lying, turned=turned), **SIZES)
    assert windows.has_face.all()
    for own, other in zip(windows.video[0], upright.video[0], strict=True):  # a processor's rounding moves the boxes
        alike = [np.corrcoef(np.rot90(own, quarter).ravel(), other.ravel())[0, 1] for quarter in range(4)]
        assert alike[0] > 2 * max(alike[1:])


def test_of_two_people_the_one_who_is_nearer_is_followed(tmp_path, clip, other):
    count = min(len(clip), len(other))
    far = np.full_like(other[:count], 128)
    far[:, 40:130, 80:240] = other[:count, ::2, ::2]
    alone = read_windows(write(tmp_path / "alone.mp4", clip[:count]), **SIZES)
    for name, parts in {"right": [far, clip[:count]], "left": [clip[:count], far]}.items():
        windows = read_windows(write(tmp_path / f"{name}.mp4", np.concatenate(parts, axis=2)), **SIZES)
        assert windows.faces == 2 and windows.has_face.all() and not windows.switches
        assert np.abs(windows.video.astype(int) - alone.video).mean() < 12


def test_a_test_clip_of_ravdess_gets_the_very_numbers_of_evaluation(shared, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in (FULL, FULL.replace("01-01-03", "03-01-03").replace("mp4", "flac")):
        (corpus / name.split("/")[1]).symlink_to(shared / "ravdess" / name)
    store = Corpus("ravdess", corpus, **SIZES).preprocess()
    torch.manual_seed(0)
    net, task = build_model("ia", image_size=64).eval(), Classification(tuple(EMOTIONS))
    label = store.clips["emotion"].map(list(EMOTIONS).index).to_numpy()
    clips = Clips(store, np.arange(len(store)), label, task)
    expected = predict(net, clips, paper_conditions("softhard")[:3], fold=0, seed=1)
    trial = store.clips.iloc[0]
    windows = read_windows(trial["video_path"], sound=trial["audio_path"], **SIZES)
    prediction = predict_windows(net, windows, ModelCard("RAVDESS", False, tuple(EMOTIONS)))
    assert prediction.difference(expected) == 0
