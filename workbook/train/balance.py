"""Gradient balancing: the modality that answers better alone learns more slowly (OGM-GE, Peng et al., CVPR 2022)."""

import torch

from avlib.model import AudiovisualNet, precision
from workbook.train.batches import Batch

ALPHA = 0.5  # of the paper's equation 10; a larger one slows the stronger modality more


@torch.no_grad()
def balance_gradients(net: AudiovisualNet, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weakens, in place, the gradients of the branch whose modality answers better alone; returns both factors.

    A branch's convolutions get their gradients times its factor, plus noise of the gradients' own deviation, as in the
    authors' code. The score of a modality is the mean probability of the label with the other modality at zero. The
    paper takes it from the modality's half of the classifier; behind an exchange, no half belongs to one modality.

    batch : full clips; those that lack a modality do not count
    """
    factors = balance_factors(*scores_alone(net, batch))
    for modules, factor in zip(((net.audio,), (net.video, net.frame_network)), factors.values(), strict=True):
        for weight in (weight for module in modules for weight in module.parameters()):
            if weight.grad is not None and weight.ndim > 2:  # of a convolution
                noise = torch.randn(weight.shape, generator=generator, device=weight.device)
                weight.grad = weight.grad * factor + noise * weight.grad.std()
    return factors


def scores_alone(net: AudiovisualNet, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over the complete clips of the probability of the label, by sound alone and by picture alone."""
    audio, video, labels = batch
    complete = audio.flatten(1).any(dim=1) & video.flatten(1).any(dim=1)  # (B,)
    net.eval()  # so that batch norm does not meet the missing modality
    with precision(labels.device):
        logits = [net(*pair).logits.float() for pair in ((audio, video * 0), (audio * 0, video))]
    net.train()
    probabilities = [each.softmax(dim=1).gather(1, labels[:, None])[:, 0] for each in logits]
    return tuple((each * complete).sum() for each in probabilities)


def balance_factors(audio: torch.Tensor, video: torch.Tensor) -> dict[str, torch.Tensor]:
    """The factor of each branch (equation 10): 1 - tanh(α ratio) for the one with the higher score, 1 for the other."""
    ratio = (audio / video).nan_to_num(1.0)  # no complete clip: 0 / 0
    return {
        "audio": torch.where(ratio > 1, 1 - torch.tanh(ALPHA * ratio), 1.0),
        "video": torch.where(ratio < 1, 1 - torch.tanh(ALPHA / ratio), 1.0),
    }
