"""Each frame is described alone: to the same bits in any company, and as the plain network does."""

import pytest
import torch
from torch import nn

from avlib import build_model
from workbook.train import descriptors
from workbook.train.descriptors import TILE, describe, folded

FRAMES, S = 37, 64


def network(vision="efficientface", **settings):
    """A network in eval mode whose batch norms change what they get."""
    torch.manual_seed(5)
    net = build_model("ia", image_size=S, vision=vision, **settings).eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return net


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def frames():
    return torch.rand(1, FRAMES, 3, S, S, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_frame_has_the_same_bits_in_pieces_of_any_size_and_in_any_company(net, frames, threads, monkeypatch):
    before, every = torch.get_num_threads(), describe(net, frames)
    torch.set_num_threads(threads)
    try:
        for tiles in (1, 2, 3):
            monkeypatch.setattr(descriptors, "PIECE", tiles * TILE * S * S)
            assert torch.equal(describe(net, frames), every)
        for few in ([36], [3, 1], [20, 0, 35, 7, 7], list(range(30, 5, -1))):
            assert torch.equal(describe(net, frames[:, few]), every[:, few])
            assert torch.equal(describe(net, frames[0, few, None]), every[0, few, None]), "as many clips of one frame"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("vision", ["efficientface", "timm:resnet18", "timm:test_vit"])
def test_descriptors_are_those_of_the_plain_network(vision, frames):
    net, few = network(vision).double(), frames[:, :5].double()
    torch.testing.assert_close(folded(net.frame_network)(few[0]), net.describe(few)[0], rtol=1e-9, atol=1e-9)
    net, few = net.float(), few.float()
    plain = net.describe(few).detach()
    torch.testing.assert_close(describe(net, few), plain, rtol=0, atol=2e-6 * float(plain.abs().max()))


def test_folding_leaves_no_norm_of_efficientface_and_changes_no_weight(net, frames):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    describe(net, frames)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded(net.frame_network).modules())
    assert any(isinstance(part, nn.BatchNorm2d) for part in net.frame_network.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_changed_weights_describe_otherwise(frames):
    net = network()
    first = describe(net, frames)
    assert folded(net.frame_network) is folded(net.frame_network), "kept"
    net.frame_network.last[0].weight.data[0] += 1  # which counts as no new version of the weights
    second = describe(net, frames)
    assert (first != second).any(dim=(0, 1)).nonzero().flatten().tolist() == [0]
    net.frame_network.last[1].running_mean[5] -= 1
    assert (second != describe(net, frames)).any(dim=(0, 1)).nonzero().flatten().tolist() == [5]


def test_black_frames_are_described_as_missing_where_a_vector_is_learned_for_them(frames):
    net, video = network(learned_stand_ins=True), frames[:, :5].clone()
    video[:, 2] = 0
    assert not describe(net, video)[:, 2].any()
    assert describe(net, video)[:, :2].any()
