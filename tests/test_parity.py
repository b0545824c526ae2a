"""Our networks against what the authors' own code returned for the same weights and clips (parity/fixture.npz).

Weights and inputs come from parity/formula.py: a function of each entry's name in the original code.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from parity.formula import clips, weight
from torch import nn

from avlib import build_model
from avlib.authors import from_authors, to_authors

FIXTURE = np.load(Path(__file__).parent / "parity" / "fixture.npz")
SYSTEMS = [(fusion, heads) for fusion in ("lt", "it", "ia") for heads in (1, 4)]


def close(ours, theirs, tolerance=1e-4):
    """Equal within a share of the largest value: both sides are float32, whose rounding adds up to about half of it."""
    theirs = torch.as_tensor(theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.fixture(scope="module", params=SYSTEMS, ids=lambda system: f"{system[0]}{system[1]}")
def run(request):
    """One forward and backward in train mode, then eval mode with that batch's statistics, as the fixture was made."""
    fusion, heads = request.param
    net = build_model(fusion, heads)
    theirs = {name: torch.as_tensor(weight(name, tuple(value.shape))) for name, value in to_authors(net).items()}
    net.load_state_dict(from_authors(net, theirs))
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    audio, video, labels = (torch.as_tensor(array) for array in clips())
    logits = net.train()(audio, video).logits
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    return f"{fusion}{heads}", net.eval(), audio, video, logits.detach(), loss.detach()


def test_training_logits_and_loss_agree_with_the_authors(run):
    system, _, _, _, logits, loss = run
    close(logits, FIXTURE[f"{system}/train_logits"])
    close(loss, FIXTURE[f"{system}/train_loss"])


def test_every_gradient_norm_agrees_with_the_authors(run):
    system, net = run[:2]
    gradients = to_authors(net, {name: weight.grad for name, weight in net.named_parameters()})
    norms = dict(zip(FIXTURE[f"{system}/grad_names"], FIXTURE[f"{system}/grad_norms"], strict=True))
    assert set(norms) == set(gradients)
    rounding = 1e-5 * float(max(norms.values()))  # a bias in front of a batch norm has no gradient but rounding errors
    for name, norm in norms.items():
        assert float(gradients[name].norm()) == pytest.approx(norm, rel=1e-3, abs=rounding), name


def test_evaluation_logits_agree_with_the_authors_with_and_without_each_modality(run):
    system, net, audio, video, _, _ = run
    with torch.inference_mode():
        close(net(audio, video).logits, FIXTURE[f"{system}/eval_logits"])
        close(net(audio, video * 0).logits, FIXTURE[f"{system}/eval_logits_without_video"])
        close(net(audio * 0, video).logits, FIXTURE[f"{system}/eval_logits_without_audio"])


def test_every_attention_map_agrees_with_the_authors(run):
    system, net, audio, video, _, _ = run
    with torch.inference_mode():
        attention = net(audio, video).attention
    keys = [key for key in FIXTURE.files if key.startswith(f"{system}/attention/")]
    assert len(keys) == 2
    for key in keys:
        ours = attention["video_to_audio" if "/av" in key else "audio_to_video"]
        close(ours, FIXTURE[key], tolerance=1e-3)
