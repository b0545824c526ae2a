"""Diagrams of networks and of the lessons show what was computed."""

import numpy as np
import pytest
import torch

from avlib import FUSIONS, build_model
from workbook import plots
from workbook.plots.diagrams import CROSSES, place_of

AUDIO, VIDEO = torch.randn(3, 10, 101), torch.rand(3, 5, 3, 64, 64)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_drawn_with_the_shapes_of_its_attention_and_stays_in_training(fusion):
    net = build_model(fusion, classes=7, image_size=64, heads=5 if fusion == "mult" else 1).train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    words = plots.network_diagram(net, AUDIO, VIDEO).words
    assert net.training and all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    assert words.endswith("classifier: 7") and ("10 × 101" in words) == ("audio" in FUSIONS[fusion].modalities)
    attention = net.eval()(AUDIO, VIDEO).attention
    for name, weights in attention.items():
        key, _, query = name.partition("_to_")
        title = f"{query} looks at {key}" if query else f"attention on {key}"
        assert f"{title}: {' × '.join(map(str, weights.shape[1:]))}" in words


def test_attention_by_hand_shows_all_numbers_of_two_heads():
    weights = np.array([[[0.25, 0.75]], [[0.5, 0.5]]])  # 2 heads, 1 query, 2 keys
    figure = plots.attention_by_hand(np.log(weights), weights, np.array([0.375, 0.625]))
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert {"0.75", "0.38", "0.62"} <= set(texts) and "frame 2 0.62; even is 0.50" in figure.words


def test_a_sketch_stands_where_the_code_exchanges():
    assert {name: place_of(name) for name in CROSSES if name in FUSIONS} == {
        "concat": "nowhere",
        "lt": "after_stage2",
        "bilinear": "pool",
    } | dict.fromkeys(("it", "ia", "film", "early"), "after_stage1")
    figure = plots.exchange_sketches()
    assert "ia, after stage1: weights alone" in figure.words and len(figure.axes) == len(CROSSES) + 1
