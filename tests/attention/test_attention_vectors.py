"""Clips and code as the notebooks show them."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from avlib import FUSIONS
from avlib.attention import Similarity, attention_vector, attention_weights
from avlib.model import AudiovisualNet
from avlib.mult import future_mask
from workbook.attention.truth import shares, summary
from workbook.attention.vectors import concentration, maps_and_vectors, relative_vectors, step_times
from workbook.plots.source import source

N, H, TA, TV = 2, 3, 150, 3


def test_a_vector_that_the_network_gives_is_taken_as_it_is(tiny_store):
    given = {"audio": np.ones((N, TA)), "video": np.ones((N, TV))}
    maps, vectors = maps_and_vectors(given)
    assert maps == {} and vectors.keys() == given.keys()
    times = step_times(tiny_store, maps, vectors)
    assert {name: len(steps) for name, steps in times.items()} == {"video": TV, "audio": TA}


def test_a_vector_that_the_network_does_not_give_is_made_of_its_map(tiny_store):
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
    attention = {"video_to_audio": behind_mults_mask(torch.zeros(N, H, 19, 23))}
    clips, times = pd.DataFrame({"clip": list("ab")}), {"video": (np.arange(23) + 0.5) / 23}
    for start in (0, 0.4, 0.8):
        cues = pd.DataFrame({"clip": list("ab"), "face_start": start, "face_end": start + 0.2, "face_shows": True})
        vectors = relative_vectors(attention)
        assert summary(shares(clips, vectors, times, cues)).iloc[0]["lift"] == pytest.approx(1)
    raw = summary(shares(clips, maps_and_vectors(attention)[1], times, cues)).iloc[0]["lift"]
    assert raw < 0.7  # few queries see the end


def test_attention_in_multiples_of_even_marks_the_step_that_queries_prefer():
    scores = torch.zeros(N, H, 19, 23)
    scores[..., 20] = np.log(3)
    vector = relative_vectors({"video_to_audio": behind_mults_mask(scores)})["video"]
    assert (vector.argmax(axis=1) == 20).all() and vector[:, 20] == pytest.approx(3 / (1 + 2 / 22), rel=0.02)
    own = {"video": np.array([[1.0, 2, 6]]), "video_to_audio": np.ones((1, 1, 2, 3))}
    assert relative_vectors(own)["video"].tolist() == [[1 / 3, 2 / 3, 2]]


def test_concentration_goes_from_even_to_one_key_for_each_head():
    even, one, hidden = np.full((2, 4), 0.25), np.eye(4)[[0, 0]] * (1 - 3e-9) + 1e-9, np.array([[0.5, 0.5, 0, 0]] * 2)
    maps = np.stack([even, one, hidden])[None]  # (1, 3 heads, 2 queries, 4 keys)
    assert concentration(maps) == pytest.approx([0, 1, 0], abs=1e-6)
    assert concentration(np.ones((3, 2, 5, 1))).tolist() == [0, 0]


def test_steps_of_a_vector_alone_have_their_seconds(tiny_store):
    (times,) = step_times(tiny_store, {}, {"video": np.ones((N, TV))}).values()
    assert times == pytest.approx([0.6, 1.8, 3.0])


@pytest.mark.parametrize(
    "piece",
    [*FUSIONS.values(), Similarity, attention_weights, attention_vector, AudiovisualNet.fuse],
    ids=lambda piece: piece.__qualname__,
)
def test_the_source_that_notebooks_show_fits_their_width(piece):
    shown = source(piece).data
    assert shown.startswith("```python\n") and shown.endswith("```")
    assert max(map(len, shown.splitlines())) <= 88


def test_a_class_written_in_a_notebook_is_named():
    mine = type("Mine", (nn.Module,), {"__module__": "__main__"})
    assert source(mine, attention_vector).data.startswith(
        "`Mine` was written in a notebook cell: read it there.\n\n```"
    )
