import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avlib import build_model, modality_dropout
from avlib.dropout import DROPOUTS, distinct_views
from avlib.speed.sharing import Counting, CountingNorm1d, CountingNorm2d, Counts, share, statistics
from avlib.training import with_something

B, Tv, S = 3, 2, 64
DISTINCT = {"none": B * Tv, "hard": B * Tv + 1, "soft": 2 * B * Tv, "softhard": 2 * B * Tv + 1, "noise": 2 * B * Tv}


def clips(dtype=torch.float64):
    torch.manual_seed(5)
    return torch.randn(B, 10, 156, dtype=dtype), torch.rand(B, Tv, 3, S, S, dtype=dtype), torch.tensor([2, 0, 1])


def trained_on(net, audio, video, labels):
    """Logits, all gradients and all running statistics of one pass forward and back, each as one vector."""
    logits = net.train()(audio, video).logits
    F.cross_entropy(logits, labels).backward()
    gradients = torch.cat([weight.grad.flatten() for weight in net.parameters()])
    running = torch.cat([buffer.flatten().to(logits.dtype) for buffer in net.buffers()])
    return logits.detach(), gradients, running


def check_the_same(one, other, tolerance):
    for ours, plain in zip(one, other, strict=True):
        assert float((ours - plain).norm()) <= tolerance * float(plain.norm())


def both(fusion, kind, dtype, incomplete=False, changed=lambda net: net):
    """What a net learns from the distinct frames, and what from the plain batch."""
    audio, video, labels = clips(dtype)
    if incomplete:
        audio[0], video[1] = 0, 0
    net = changed(build_model(fusion, image_size=S)).to(dtype)
    shared = distinct_views(kind, audio, video, labels, torch.Generator().manual_seed(1))
    plain = modality_dropout(kind, audio, video, labels, torch.Generator().manual_seed(1))
    if incomplete:
        kept = plain[0].flatten(1).any(dim=1) | plain[1].flatten(1).any(dim=1)
        shared, plain = with_something(*shared), tuple(part[kept] for part in plain)
        assert len(plain[2]) < len(kept) or kind in ("none", "soft", "noise")
    return trained_on(copy.deepcopy(net), *shared), trained_on(net, *plain)


@pytest.mark.parametrize("fusion", ["ia", "lt"])
@pytest.mark.parametrize("kind", DROPOUTS)
def test_distinct_frames_teach_exactly_what_the_plain_batch_does(fusion, kind):
    check_the_same(*both(fusion, kind, torch.float64), 1e-9)


def without_kinks(module):
    """The module with a smooth function for every ReLU, at whose kink rounding alone turns gradients by percents."""
    for name, child in module.named_children():
        setattr(module, name, nn.Softplus() if isinstance(child, nn.ReLU) else without_kinks(child))
    return module


@pytest.mark.parametrize("kind", ["softhard", "noise"])
def test_distinct_frames_teach_the_same_in_single_precision(kind):
    check_the_same(*both("ia", kind, torch.float32, changed=without_kinks), 1e-3)


@pytest.mark.parametrize("kind", DROPOUTS)
def test_clips_that_lack_a_modality_teach_the_same(kind):
    check_the_same(*both("ia", kind, torch.float64, incomplete=True), 1e-9)


@pytest.mark.parametrize("fusion, vision", [("mult", "efficientface"), ("ia", "timm:mobilenetv3_small_050")])
def test_other_networks_take_distinct_frames_too(fusion, vision):
    audio, video, labels = clips(torch.float32)
    net = build_model(fusion, image_size=S, vision=vision).eval()
    shared, plain = (views("hard", audio, video, labels) for views in (distinct_views, modality_dropout))
    torch.testing.assert_close(net(*shared[:2]).logits, net(*plain[:2]).logits, rtol=1e-4, atol=1e-5)


def test_features_are_shared_like_frames():
    audio, video, labels = torch.randn(B, 7, 29), torch.randn(B, Tv, 11), torch.arange(B)
    net = build_model("ia", audio_channels=7, video_channels=11).eval()
    shared, plain = (
        views("softhard", audio, video, labels, torch.Generator().manual_seed(0))
        for views in (distinct_views, modality_dropout)
    )
    torch.testing.assert_close(net(*shared[:2]).logits, net(*plain[:2]).logits)


@pytest.mark.parametrize("kind", DROPOUTS)
def test_distinct_views_are_the_plain_ones_from_the_same_draws(kind):
    shared, plain = (
        views(kind, *clips(), torch.Generator().manual_seed(7)) for views in (distinct_views, modality_dropout)
    )
    assert torch.equal(shared[0], plain[0]) and torch.equal(shared[2], plain[2])
    assert torch.equal(shared[1].spread(), plain[1])
    assert len(shared[1].values) == DISTINCT[kind] == sum(shared[1].counts.sizes)


@pytest.mark.parametrize("kind", DROPOUTS)
def test_counts_are_how_often_each_frame_stands_in_the_batch(kind):
    video = distinct_views(kind, *clips(), torch.Generator().manual_seed(7))[1]
    column = video.counts.column(torch.zeros(len(video.values)))
    assert torch.equal(column.long(), video.places.flatten().bincount(minlength=len(video.values)))
    assert video.counts.total == video.places.numel()


def test_views_that_are_left_out_take_their_frames_with_them():
    video = clips()[1]
    video[1] = 0
    kept = torch.tensor([True, False, True, True, True, False])
    left = share([video, None]).where(kept)
    assert torch.equal(left.spread(), torch.cat([video, torch.zeros_like(video)])[kept])
    assert len(left.values) == 2 * Tv + 1  # two clips, and the black frame of all others
    column = left.counts.column(torch.zeros(len(left.values)))
    assert torch.equal(column.long(), left.places.flatten().bincount())


def test_moments_far_from_zero_keep_their_digits():
    maps = torch.randn(5, 3, 7, 7) + 1000
    mean, variance = statistics(maps, Counts((2, 3), (3, 1)))
    plain = maps.double()[[0, 0, 0, 1, 1, 1, 2, 3, 4]].transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), plain.mean(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), plain.var(dim=1, correction=0), rtol=1e-3, atol=0)


def test_maps_in_bfloat16_have_their_statistics_in_float32_as_torch_does_it():
    torch.manual_seed(3)
    counts = Counts((2, 3), (3, 1))
    maps = (torch.randn(5, 7, 11, 13) + 20).bfloat16()
    theirs, ours = nn.BatchNorm2d(7), CountingNorm2d(7)
    expected, found = theirs(maps.repeat_interleave(torch.tensor([3, 3, 1, 1, 1]), dim=0)), ours(maps, counts)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(found, expected[[0, 3, 6, 7, 8]])


def test_a_step_in_bfloat16_learns_what_the_plain_batch_does_within_its_precision():
    net = build_model("ia", image_size=S)
    audio, video, labels = clips(torch.float32)
    losses = []
    for lay_out in (distinct_views, modality_dropout):
        with torch.autocast("cpu", torch.bfloat16):
            *views, targets = lay_out("softhard", audio, video, labels, torch.Generator().manual_seed(1))
            logits = copy.deepcopy(net).train()(*views).logits.float()
        losses.append(F.cross_entropy(logits, targets))
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.02)


@pytest.mark.parametrize(
    "ours, theirs, shape", [(CountingNorm1d, nn.BatchNorm1d, (5, 3)), (CountingNorm2d, nn.BatchNorm2d, (5, 3, 7, 7))]
)
def test_without_counts_the_norm_is_that_of_torch(ours, theirs, shape):
    one, other, maps = ours(3), theirs(3), torch.randn(shape)
    assert torch.equal(one(maps), other(maps))
    assert torch.equal(one.eval()(maps, Counts((5,), (2,))), other.eval()(maps))
    assert {name: value.tolist() for name, value in one.state_dict().items()} == {
        name: value.tolist() for name, value in other.state_dict().items()
    }


def test_every_batch_norm_that_looks_at_frames_is_told_their_counts():
    front = build_model("video", image_size=S).video.front
    assert all(
        isinstance(norm, Counting) for norm in front.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)
    )
