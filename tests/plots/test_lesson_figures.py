"""The figures of the lessons say what was computed."""

import numpy as np

from avlib import FUSIONS
from workbook import plots
from workbook.plots.lessons import CROSSES, place_of


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
    figure = plots.exchange_sketches(["ia", "concat", "bilinear"])
    assert "ia, after stage1: weights alone" in figure.words and len(figure.axes) == 4
