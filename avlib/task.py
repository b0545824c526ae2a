"""What a network is asked: to name the class of a clip, or to say how positive its speaker is.

The two tasks of section IV: categorical emotions (RAVDESS) and sentiment scores (CMU-MOSEI). Each knows its loss, what
counts as right, and which epoch is the best.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

LARGEST_SENTIMENT = 3  # scores run from -3, very negative, to 3


@dataclass(frozen=True)
class Classification:
    """One of several classes, by cross-entropy. Labels are (B,) whole numbers, an index of `names`."""

    names: tuple[str, ...]
    dtype = torch.long
    measures = ("loss", "accuracy (%)")  # what loss and accuracy are called in figures

    @property
    def outputs(self) -> int:
        """How many numbers the network returns for a clip."""
        return len(self.names)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of logits (B, classes)."""
        return F.cross_entropy(logits, labels)

    def right(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
        """How many clips were named right, and how many count: all."""
        return (logits.argmax(dim=1) == labels).sum(), len(labels)

    def merit(self, epoch: dict[str, float]) -> float:
        """What an epoch is judged by, more is better: its validation accuracy in percent."""
        return epoch["validation_accuracy"]

    def columns(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """One probability (B,) per class, p0, p1, …"""
        return {f"p{k}": column for k, column in enumerate(logits.softmax(dim=1).unbind(dim=1))}


@dataclass(frozen=True)
class Sentiment:
    """A score from -3 (very negative) to 3, by absolute error, as in MULT's protocol. Labels are (B,) such scores."""

    names = ("−3", "−2", "−1", "0", "+1", "+2", "+3")  # of rounded scores, as Acc-7 has them; with a minus sign
    outputs = 1
    dtype = torch.float32
    measures = ("mean absolute error", "sign right (%)")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean absolute error of logits (B, 1)."""
        return F.l1_loss(logits[:, 0], labels)

    def right(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How many clips were rightly told positive from negative, and how many count: those that are not neutral."""
        counted = labels != 0
        return ((logits[:, 0] > 0) == (labels > 0))[counted].sum(), counted.sum()

    def merit(self, epoch: dict[str, float]) -> float:
        """What an epoch is judged by, more is better: how small its absolute error in validation is."""
        return -epoch["validation_loss"]

    def columns(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """The score (B,), as `value`."""
        return {"value": logits[:, 0]}


Task = Classification | Sentiment
