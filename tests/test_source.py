"""The source of the network, as notebooks show it."""

import pytest
from torch import nn

from avlib import FUSIONS
from avlib.attention import Similarity, attention_vector, attention_weights
from avlib.model import AudiovisualNet
from workbook.source import source


@pytest.mark.parametrize(
    "piece",
    [*FUSIONS.values(), Similarity, attention_weights, attention_vector, AudiovisualNet.fuse],
    ids=lambda piece: piece.__qualname__,
)
def test_the_source_that_notebooks_show_fits_their_width(piece):
    text = source(piece).data
    assert text.startswith("```python\n") and text.endswith("```")
    assert max(map(len, text.splitlines())) <= 88


def test_a_class_written_in_a_notebook_is_named():
    mine = type("Mine", (nn.Module,), {"__module__": "__main__"})
    assert source(mine, attention_vector).data.startswith(
        "`Mine` was written in a notebook cell: read it there.\n\n```"
    )
