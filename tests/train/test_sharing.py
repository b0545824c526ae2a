import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avlib import build_model, modality_dropout
from avlib.dropout import DROPOUTS, variants
from workbook.train import sharing
from workbook.train.sharing import Counts, can_share, counted, plain_forward, share, weights_of
from workbook.train.training import informative

B, Tv, S = 3, 2, 64
MOBILENET = "timm:mobilenetv3_small_050"
DISTINCT_VIDEOS = {"none": B, "hard": B + 1, "soft": 2 * B, "softhard": 2 * B + 1, "noise": 2 * B, "sampled": B}
DISTINCT_VIDEOS["learned"] = DISTINCT_VIDEOS["softhard"]


def clips(dtype=torch.float64):
    torch.manual_seed(5)
    return torch.randn(B, 10, 156, dtype=dtype), torch.rand(B, Tv, 3, S, S, dtype=dtype)


def pairs_of(kind, audio, video):
    return variants(kind, audio, video, torch.Generator().manual_seed(1))


def learnt(net, forward, pairs, kept=None):
    """Logits, all gradients and all running statistics of one pass forward and back, each as one vector."""
    net = copy.deepcopy(net).train()
    logits = forward(net, pairs, kept).logits
    F.cross_entropy(logits, torch.arange(len(logits)) % 8).backward()
    gradients = torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None])
    running = torch.cat([buffer.flatten().to(logits.dtype) for buffer in net.buffers()])
    return logits.detach(), gradients, running


def check_the_same(net, pairs, tolerance, kept=None):
    """Sharing gives what the plain batch gives, within a share of its norm."""
    shared, plain = (learnt(net, forward, pairs, kept) for forward in (sharing.forward, plain_forward))
    for ours, theirs in zip(shared, plain, strict=True):
        assert float((ours - theirs).norm()) <= tolerance * float(theirs.norm())


@pytest.mark.parametrize("vision", ["efficientface", MOBILENET])
@pytest.mark.parametrize("kind", DROPOUTS)
def test_shared_clips_teach_exactly_what_the_plain_batch_does(kind, vision):
    net = build_model("ia", image_size=S, vision=vision).double()
    check_the_same(net, pairs_of(kind, *clips()), 1e-9)


@pytest.mark.parametrize("kind", DROPOUTS)
def test_clips_that_lack_a_modality_teach_the_same(kind):
    audio, video = clips()
    audio[0], video[1] = 0, 0
    pairs = pairs_of(kind, audio, video)
    kept = informative(pairs)
    assert len(kept) < len(pairs) * B or kind in ("none", "soft", "noise", "sampled")
    check_the_same(build_model("ia", image_size=S).double(), pairs, 1e-9, kept)


@pytest.mark.parametrize("settings", [{"image_size": S}, {"audio_channels": 7, "video_channels": 11}])
def test_learned_stand_ins_are_shared_too(settings):
    net = build_model("ia", **settings, learned_stand_ins=True).double()
    with torch.no_grad():
        for branch in (net.audio, net.video):
            branch.stand_in.normal_()
    features = torch.randn(B, 7, 29).double(), torch.randn(B, Tv, 11).double()
    pairs = pairs_of("learned", *(clips() if "image_size" in settings else features))
    check_the_same(net, pairs, 1e-9)
    assert sharing.can_share(net, *pairs[0])


@pytest.mark.parametrize("kind", DROPOUTS)
def test_shared_clips_are_the_plain_ones_and_counted(kind):
    audio, video = clips()
    pairs = pairs_of(kind, audio, video)
    plain = modality_dropout(kind, audio, video, torch.arange(B), torch.Generator().manual_seed(1))
    for tensors, expected in zip(zip(*pairs, strict=True), plain[:2], strict=True):
        shared = share(tensors)
        assert torch.equal(shared.values[shared.index], expected)
        _, column = weights_of(shared.counts, torch.float32, audio.device)
        assert torch.equal(column.long(), shared.index.bincount(minlength=len(shared.values)))
        assert shared.counts.total == len(expected)
    assert len(share([video for _, video in pairs]).values) == DISTINCT_VIDEOS[kind]


def test_sampled_clips_have_one_black_frame_and_the_frames_of_those_that_are_seen():
    net, described = build_model("ia", image_size=S), []
    pairs = pairs_of("sampled", *clips(torch.float32))
    net.frame_network.register_forward_hook(lambda module, inputs, output: described.append(len(output)))
    sharing.forward(net, pairs, informative(pairs))
    seen = int(pairs[0][1].flatten(1).any(dim=1).sum())
    assert 0 < seen < B and described == [seen * Tv + 1]
    check_the_same(net.double(), pairs_of("sampled", *clips()), 1e-9, informative(pairs))


class Chatty(nn.Module):
    """A frame network that looks across the batch, draws at random, or normalises something else than its rows."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.layers = kind, nn.Conv2d(3, 1024, 8, 8)
        self.norm, self.other = nn.BatchNorm2d(1024, affine=kind != "no weight"), nn.BatchNorm1d(1024)

    def forward(self, images):
        maps = self.layers(images)
        if self.kind == "dropout":
            maps = F.dropout(maps, 0.1, self.training)
        if self.kind == "mean of the batch":
            maps = maps - maps.mean(dim=0)
        if self.kind == "norm of places":
            places = maps.flatten(2).transpose(1, 2)  # (N, places, C)
            return self.other(places.flatten(0, 1)).view_as(places).mean(dim=1)
        return self.norm(maps).mean(dim=(2, 3))


@pytest.mark.parametrize("kind", ["plain", "dropout", "mean of the batch", "norm of places", "no weight"])
def test_a_network_is_tried_before_its_clips_are_shared(kind):
    net = build_model("ia", image_size=S)
    net.frame_network = Chatty(kind)
    audio, video = clips(torch.float32)
    before = torch.get_rng_state()
    assert can_share(net, audio, video) is (kind == "plain")
    assert torch.equal(torch.get_rng_state(), before), "nothing of what follows is drawn otherwise"


@pytest.mark.parametrize(
    "fusion, vision",
    [("ia", "efficientface"), ("mult", "efficientface"), ("lt", MOBILENET), ("audio", "efficientface")],
)
def test_the_networks_of_the_table_can_share(fusion, vision):
    assert can_share(build_model(fusion, image_size=S, vision=vision), *clips(torch.float32))


@pytest.mark.parametrize("momentum, dtype", [(0.1, torch.float64), (None, torch.float64), (0.1, torch.bfloat16)])
def test_a_counted_norm_is_torchs_own_on_the_plain_batch(momentum, dtype):
    torch.manual_seed(3)
    counts, maps = Counts((2, 3), (3, 1)), (torch.randn(5, 7, 11, 13, dtype=torch.float64) + 20).to(dtype)
    weights = torch.float32 if dtype == torch.bfloat16 else dtype  # statistics are in float32, as torch has them
    ours, theirs = (nn.BatchNorm2d(7, momentum=momentum, dtype=weights) for _ in "ab")
    for _ in range(2):
        with counted(counts):
            found = ours(maps)
        expected = theirs(maps.repeat_interleave(torch.tensor([3, 3, 1, 1, 1]), dim=0))
        torch.testing.assert_close(found, expected[[0, 3, 6, 7, 8]])
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    with counted(counts):
        torch.testing.assert_close(ours.eval()(maps), theirs.eval()(maps))


def test_gradients_in_bfloat16_are_rounded_once():
    torch.manual_seed(0)
    counts, times = Counts((2, 3), (3, 1)), torch.tensor([3, 3, 1, 1, 1])
    maps, gradient = (torch.randn(5, 7, 11, 13).bfloat16() for _ in range(2))
    weight, bias = torch.randn(7) + 2, torch.randn(7)

    plain = maps.double().requires_grad_()
    copies = plain.repeat_interleave(times, dim=0)
    normed = F.batch_norm(copies, None, None, weight.double(), bias.double(), training=True)
    normed.backward((gradient.double() / times.view(-1, 1, 1, 1)).repeat_interleave(times, dim=0))
    expected = plain.grad
    maps.requires_grad_()
    sharing.Normalise.apply(maps, weight, bias, counts, 1e-5)[0].backward(gradient)
    rounding = (expected.bfloat16().double() - expected).norm()
    assert (maps.grad.double() - expected).norm() < 1.05 * rounding
