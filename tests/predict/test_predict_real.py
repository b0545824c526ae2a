"""A clip of one's own, with films and voices of RAVDESS: turned, silent, of two people, long, and a test clip."""

import av
import numpy as np
import pytest
import torch
from test_media import write_video

from avlib import build_model
from workbook.data.datasets import Corpus
from workbook.data.media import read_audio
from workbook.data.ravdess import EMOTIONS
from workbook.data.window import SAMPLE_RATE, WINDOW
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.predict.prediction import ModelCard, predict_windows
from workbook.predict.windows import read_windows
from workbook.task import Classification
from workbook.train.batches import Clips

pytestmark = pytest.mark.shared
SIZES = {"frames": 3, "image_size": 64}
EVERY, FPS = 3, 9.99  # of the 29.97 frames of a second, every third
FULL, SILENT = "Actor_05/01-01-03-01-01-02-05.mp4", "Actor_01/02-01-04-01-02-01-01.mp4"


def small(path):
    """Every third frame (n, 180, 320, 3) of a film of RAVDESS, and its sound."""
    with av.open(str(path)) as film:
        shown = [frame.to_ndarray(format="rgb24", width=320, height=180) for frame in film.decode(video=0)][::EVERY]
    return np.stack(shown), read_audio(path) if path.name.startswith("01-") else None


@pytest.fixture(scope="module")
def clip(shared):
    """Frames and sound of one person who speaks."""
    return small(shared / "ravdess" / FULL)


@pytest.fixture(scope="module")
def other(shared):
    """Frames of another person."""
    return small(shared / "ravdess" / SILENT)[0]


def write(path, frames, samples=None, turned=0):
    return write_video(path, frames, samples, fps=10, turned=turned)


def test_a_film_of_ravdess_has_a_face_in_every_frame_and_all_three_answers(shared):
    windows = read_windows(shared / "ravdess" / FULL, **SIZES)
    assert windows.has_audio.all() and windows.has_video.all() and windows.has_face.all() and windows.faces == 1
    table = predict_windows(
        build_model("ia", image_size=64), windows, ModelCard("RAVDESS", False, tuple(EMOTIONS))
    ).table
    assert set(table["condition"]) == {"AV", "A", "V"} and len(table) == 3 * len(windows.starts)
    np.testing.assert_allclose(table[list(EMOTIONS)].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_film_that_lies_on_its_side_is_turned_as_its_header_says(tmp_path, clip, turned):
    frames = clip[0]
    upright = read_windows(write(tmp_path / "upright.mp4", frames), **SIZES)
    lying = np.ascontiguousarray(np.rot90(frames, -turned // 90, axes=(1, 2)))
    windows = read_windows(write(tmp_path / "phone.mp4", lying, turned=turned), **SIZES)
    assert windows.has_face.all()
    for own, other in zip(windows.video[0], upright.video[0], strict=True):  # a processor's rounding moves the boxes
        alike = [np.corrcoef(np.rot90(own, quarter).ravel(), other.ravel())[0, 1] for quarter in range(4)]
        assert alike[0] > 2 * max(alike[1:])


def test_of_two_people_the_one_who_is_nearer_is_followed(tmp_path, clip, other):
    count = min(len(clip[0]), len(other))
    far = np.full_like(other[:count], 128)
    far[:, 40:130, 80:240] = other[:count, ::2, ::2]
    alone = read_windows(write(tmp_path / "alone.mp4", clip[0][:count]), **SIZES)
    for name, parts in {"right": [far, clip[0][:count]], "left": [clip[0][:count], far]}.items():
        windows = read_windows(write(tmp_path / f"{name}.mp4", np.concatenate(parts, axis=2)), **SIZES)
        assert windows.faces == 2 and windows.has_face.all() and not windows.switches
        assert np.abs(windows.video.astype(int) - alone.video).mean() < 12


def test_a_film_of_90_seconds_has_windows_from_its_beginning_to_its_end(tmp_path, clip, other):
    frames, samples = clip
    turns = [part for _ in range(14) for part in (frames, other)]  # two people in turn
    film = np.concatenate(turns)[:900]
    assert len(film) == 900
    windows = read_windows(write(tmp_path / "long.mp4", film, np.resize(samples, 90 * SAMPLE_RATE)), **SIZES, hop=1)
    assert windows.seconds == pytest.approx(90, abs=0.2) and windows.starts[0] == 0
    assert windows.starts[-1] == pytest.approx(90 - WINDOW, abs=0.2) and np.diff(windows.starts).max() <= 1 + 1e-6
    assert windows.has_audio.all() and windows.has_video.all() and windows.faces == 1


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
