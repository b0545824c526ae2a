"""The vectors and maps of attention, their times, and what is said about them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from avlib import build_model
from avlib.mult import future_mask
from workbook.attention.truth import shares, summary
from workbook.attention.vectors import (
    attention_of,
    concentration,
    concentration_sentence,
    emotion_sentence,
    maps_and_vectors,
    relative_vectors,
    step_times,
)
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.evaluation import attention
from workbook.task import Classification
from workbook.train.batches import Clips

N, H, TA, TV = 2, 3, 150, 3


def test_a_vector_that_the_network_gives_is_kept_and_a_missing_one_is_made_of_its_map(tiny_store):
    own = {"audio": np.ones((N, TA)), "video": np.ones((N, TV))}
    assert maps_and_vectors(own) == ({}, own)
    assert {name: len(times) for name, times in step_times(tiny_store, own).items()} == {"video": TV, "audio": TA}
    weights = np.random.default_rng(0).dirichlet(np.ones(TV), (N, H, TA)).astype(np.float32)
    maps, vectors = maps_and_vectors({"video_to_audio": weights})
    assert list(vectors) == ["video"] and maps.keys() == {"video_to_audio"}
    assert vectors["video"] == pytest.approx(weights.mean(axis=1).sum(axis=1), rel=1e-5)
    assert set(step_times(tiny_store, maps)) == {"audio", "video"}


def behind_mults_mask(scores):
    """Attention (N, H, Tq, Tk) of these scores, where later keys are hidden from the queries as in MULT."""
    hidden = future_mask(scores.shape[-2], scores.shape[-1], scores.device)
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).numpy()


def test_even_attention_behind_a_mask_has_lift_1_wherever_the_cue_is():
    tensors = {"video_to_audio": behind_mults_mask(torch.zeros(N, H, 19, 23))}
    clips, times = pd.DataFrame({"clip": list("ab")}), {"video": (np.arange(23) + 0.5) / 23}
    for start in (0, 0.4, 0.8):
        truth = pd.DataFrame({"face_start": start, "face_end": start + 0.2, "face_shows": True}, index=list("ab"))
        lift = summary(shares(clips, relative_vectors(tensors), times, truth)).iloc[0]["lift"]
        assert lift == pytest.approx(1)
    raw = summary(shares(clips, maps_and_vectors(tensors)[1], times, truth)).iloc[0]["lift"]
    assert raw < 0.7  # few queries see the end


def test_attention_in_multiples_of_even_marks_the_step_that_queries_prefer():
    scores = torch.zeros(N, H, 19, 23)
    scores[..., 20] = np.log(3)
    vector = relative_vectors({"video_to_audio": behind_mults_mask(scores)})["video"]
    assert (vector.argmax(axis=1) == 20).all() and vector[:, 20] == pytest.approx(3 / (1 + 2 / 22), rel=0.02)
    own = {"video": np.array([[1.0, 2, 6]]), "video_to_audio": np.ones((1, 1, 2, 3))}
    assert relative_vectors(own)["video"].tolist() == [[1 / 3, 2 / 3, 2]]


def test_concentration_goes_from_even_to_one_key_for_each_head():
    even, sharp, hidden = np.full((2, 4), 0.25), np.eye(4)[[0, 0]] * (1 - 3e-9) + 1e-9, np.array([[0.5, 0.5, 0, 0]] * 2)
    maps = np.stack([even, sharp, hidden])[None]  # (1, 3 heads, 2 queries, 4 keys)
    assert concentration(maps) == pytest.approx([0, 1, 0], abs=1e-6)
    assert concentration(np.ones((3, 2, 5, 1))).tolist() == [0, 0]
    sentence = concentration_sentence({"video_to_audio": maps})
    assert sentence.startswith("**0.0, 100.0, 0.0 %** as audio looks at video: ")
    assert concentration_sentence({}) == "This fusion returns no maps."


def test_the_attention_of_clips_holds_all_that_their_figures_need(tiny_store, tmp_path):
    table = tiny_store.clips.assign(emotion=[EMOTIONS[label] for label in tiny_store.clips["label"]])
    store = replace(tiny_store, clips=table)
    clips = Clips(store, np.arange(16), table["label"][:16], Classification(EMOTIONS))
    names = clips.table["clip"].to_list()
    truth = pd.DataFrame({"face_start": 0.5, "face_end": 2.0, "face_shows": False}, index=names)
    truth.loc[names[5], "face_shows"] = True
    torch.manual_seed(0)
    net = build_model("ia", image_size=64)
    found = attention_of(net, clips, truth)
    tensors = attention(net, clips)
    assert found.example == names[5] and found.row(names[5]) == 5 and found.cues[names[5]] == {"face": (0.5, 1.0)}
    for name, vector in found.vectors.items():
        np.testing.assert_array_equal(vector, tensors[name])
        assert found.relative[name].mean(axis=1) == pytest.approx(1)
        emotion = EMOTIONS[clips.labels[3]]
        means = found.relative[name][[3, 11]].mean(axis=0)  # two clips of each emotion
        assert found.by_emotion()[name].loc[emotion].to_numpy() == pytest.approx(means)
    assert emotion_sentence(found.by_emotion()).startswith("**")
    found.save(tmp_path / "attention.npz")
    saved = np.load(tmp_path / "attention.npz")
    assert saved["clip"].tolist() == names and saved["video"].shape == (16, 3)
    assert saved["audio_times"].shape == saved["audio"].shape[1:]
