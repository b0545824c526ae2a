"""Gradient balancing (OGM-GE): which branch is slowed, and by how much."""

import math

import pytest
import torch

from avlib import build_model
from workbook import InputError
from workbook.task import Classification, Sentiment
from workbook.train.balance import ALPHA, balance_factors, balance_gradients, scores_alone
from workbook.train.batches import Clips
from workbook.train.training import fit, train_step


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(7, 5, 29), torch.randn(7, 3, 11), torch.arange(7) % 3


def network(fusion="concat"):
    torch.manual_seed(2)
    return build_model(fusion, classes=3, audio_channels=5, video_channels=11)


@pytest.mark.parametrize("audio, video, slowed", [(6.0, 2.0, "audio"), (2.0, 6.0, "video"), (3.0, 3.0, "")])
def test_only_the_modality_with_the_higher_score_is_slowed(audio, video, slowed):
    factors = balance_factors(torch.tensor(audio), torch.tensor(video))
    expected = {name: 1 - math.tanh(3 * ALPHA) if name == slowed else 1 for name in ("audio", "video")}
    assert {name: float(value) for name, value in factors.items()} == pytest.approx(expected)


def test_the_score_of_a_modality_is_the_probability_of_the_label_without_the_other(batch):
    net, (audio, video, labels) = network(), batch
    audio[0] = 0  # it lacks its sound, and does not count
    expected = []
    for pair in ((audio, torch.zeros_like(video)), (torch.zeros_like(audio), video)):
        probabilities = net.eval()(*pair).logits.softmax(dim=1)
        expected.append(sum(float(probabilities[k, labels[k]]) for k in range(1, 7)))
    before = {name: value.clone() for name, value in net.train().state_dict().items()}
    assert [float(score) for score in scores_alone(net, (audio, video, labels))] == pytest.approx(expected, rel=1e-5)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("fusion", ["concat", "ia", "lt"])
def test_the_slower_branch_keeps_its_factor_of_the_gradient_and_the_rest_stays(fusion, batch):
    net = network(fusion)
    torch.nn.functional.cross_entropy(net(*batch[:2]).logits, batch[2]).backward()
    before = {name: weight.grad.clone() for name, weight in net.named_parameters()}
    factors = balance_gradients(net, batch, torch.Generator().manual_seed(0))
    assert min(factors.values()) < 1 == max(factors.values())
    for name, weight in net.named_parameters():
        branch, old = name.split(".")[0], before[name]
        if branch in factors and weight.ndim > 2:
            noise = weight.grad - float(factors[branch]) * old
            assert float(noise.std() / old.std()) == pytest.approx(1, abs=0.05)
            assert abs(float(noise.mean() / old.std())) < 0.05
        else:
            assert torch.equal(weight.grad, old)


def test_a_balanced_step_differs_from_a_plain_one_only_in_the_convolutions_of_the_branches(batch):
    nets = []
    for balanced in (False, True):
        net, generator = network("ia"), torch.Generator().manual_seed(0)
        sgd = torch.optim.SGD(net.parameters(), 0.1)
        settings = {"task": Classification(("a", "b", "c")), "dropout": "none", "generator": generator}
        train_step(net, batch, sgd, balanced=balanced, **settings)
        nets.append(dict(net.named_parameters()))
    changed = {name for name in nets[0] if not torch.equal(nets[0][name], nets[1][name])}
    convolutions = {name for name, weight in nets[0].items() if weight.ndim > 2}
    assert changed == convolutions and all(name.startswith(("audio.", "video.")) for name in changed)


def test_sentiment_is_not_balanced(tiny_store, tmp_path):
    clips = Clips(tiny_store, range(8), torch.zeros(48).numpy(), Sentiment())
    settings = {"dropout": "none", "epochs": 1, "batch_size": 4, "learning_rate": 0.1, "seed": 1}
    with pytest.raises(InputError, match="balanced is true, but sentiment has no probabilities"):
        list(fit(build_model("ia", classes=1, image_size=64), clips, clips, tmp_path, balanced=True, **settings))
