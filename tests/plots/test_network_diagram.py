"""The diagram of a network shows the shapes of its own tensors."""

import pytest
import torch

from avlib import FUSIONS, build_model
from workbook import plots

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
