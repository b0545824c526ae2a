"""Each frame is described alone, to the same bits in any company, and once where the frame network is frozen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import EMOTION, parts
from torch import nn

from avlib import build_model
from workbook.train import descriptors
from workbook.train.batches import Clips
from workbook.train.descriptors import TILE, describe, descriptor_file, folded, freeze
from workbook.train.training import fit

FRAMES, S = 37, 64


def network(vision="efficientface", seed=5, **settings):
    """A network in eval mode whose batch norms change what they get."""
    torch.manual_seed(seed)
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


@pytest.fixture
def clips(tiny_store):
    yield parts(tiny_store)
    for path in tiny_store.path.parent.glob("*descriptors*"):
        path.unlink()


def run(folder, clips, net, epochs=2, dropout="softhard"):
    folder.mkdir(exist_ok=True)
    settings = {"dropout": dropout, "epochs": epochs, "batch_size": 8, "learning_rate": 0.1, "seed": 3}
    return list(fit(net, *clips, folder, **settings, train_vision=False))


@pytest.mark.parametrize("learned", [False, True])
def test_the_net_behind_a_frozen_frame_network_says_what_the_whole_net_does(clips, learned):
    """Also with a learned stand-in, where a network without it has kept its descriptors of the same store before."""
    net = network()
    if learned:
        freeze(net, *clips)
        net = network(learned_stand_ins=True)
        nn.init.normal_(net.video.stand_in)
    behind, (train, _) = freeze(net, *clips)
    chosen = torch.tensor([5, 17, 2])
    (audio, video, labels), (_, descriptors, again) = clips[0][chosen], train[chosen]
    assert descriptors.shape == (3, 3, 1024) and torch.equal(labels, again)
    video[1], descriptors[1] = 0, 0
    expected = net.eval()(audio, video).logits
    torch.testing.assert_close(behind.eval()(audio, descriptors).logits, expected, rtol=1e-4, atol=1e-5)


def test_black_frames_have_descriptors_of_zeros(clips):
    video = clips[0].store.video.copy()
    video[2], video[5, 1:] = 0, 0
    dark = Clips(replace(clips[0].store, video=video), np.arange(7), clips[0].labels[:7], EMOTION)
    descriptors = freeze(network(), dark)[1][0][torch.arange(7)][1]
    shown = descriptors.any(dim=2)
    assert shown.tolist() == [[row != 2 and not (row == 5 and frame) for frame in range(3)] for row in range(7)]


def test_the_frame_network_stays_frozen_and_all_the_rest_learns(tmp_path, clips):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run(tmp_path / "run", clips, net)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("frame_network."), name


def test_a_frozen_run_resumes_bit_for_bit(tmp_path, clips):
    whole = run(tmp_path / "whole", clips, network(), epochs=2)
    run(tmp_path / "broken", clips, network(), epochs=1)
    assert run(tmp_path / "broken", clips, network(), epochs=2) == whole


def test_descriptors_are_kept_for_a_frame_network_of_the_same_weights(tmp_path, clips):
    net, again, looked_at = network(), network(), []
    freeze(net, *clips)
    again.frame_network.register_forward_hook(lambda module, inputs, output: looked_at.append(len(output)))
    run(tmp_path / "run", clips, again, epochs=2)
    assert looked_at == [TILE]  # the black one, in the time of these
    path = descriptor_file(clips[0], net)
    assert path.exists() and descriptor_file(clips[0], network(seed=4)) != path
    assert not list(path.parent.glob(".*"))


def test_a_frame_like_the_one_before_is_not_described_again(clips):
    net, looked_at, described = network(), [], []
    net.frame_network.register_forward_hook(lambda module, inputs, output: looked_at.append(len(output)))
    video = np.array(clips[0].store.video)
    video[:8] = video[:8, :1]  # still pictures: 8 frames to describe in place of 24
    for store in (clips[0].store, replace(clips[0].store, video=video)):
        described.append(freeze(net, replace(clips[0], store=store))[1][0][torch.arange(32)][1])
        descriptor_file(clips[0], net).unlink()
    moving, still = described
    assert sum(looked_at[len(looked_at) // 2 :]) == sum(looked_at[: len(looked_at) // 2]) - TILE
    assert torch.equal(still[8:], moving[8:]) and torch.equal(still[:8], moving[:8, :1].expand(-1, 3, -1))
