"""Clips and code as the notebooks show them."""

import numpy as np
import pytest
from torch import nn

from avlib import FUSIONS
from avlib.attention import Similarity, attention_vector, attention_weights
from avlib.lab.clips import concentration, maps_and_vectors, step_times
from avlib.lab.source import source
from avlib.model import AudiovisualNet

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
