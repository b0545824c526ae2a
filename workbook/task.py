"""The two tasks of section IV: classes of emotion (RAVDESS) and sentiment scores (CMU-MOSEI).

A task has a loss, tells right answers from wrong ones, and scores epochs.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

AVERAGED = ("AV", "A", "V")  # the conditions whose mean is M
LARGEST_SENTIMENT = 3  # scores run from -3, very negative, to 3


@dataclass(frozen=True)
class Classification:
    """One of several classes, with cross-entropy. Labels (B,) are indices of `names`.

    weights : of each class in the loss; () = all clips count alike
    """

    names: tuple[str, ...]
    weights: tuple[float, ...] = ()
    label = "emotion"  # the kind of label
    score = "probability of the answer"  # the name of the output, in figures
    dtype = torch.long
    measures = ("loss", "accuracy (%)")  # names of loss and accuracy in figures

    @property
    def outputs(self) -> int:
        """The size of the network's answer."""
        return len(self.names)

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in percent, where all classes are equally frequent."""
        return 100 / len(self.names)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of logits (B, classes), weighted by class where there are weights."""
        return F.cross_entropy(logits, labels, torch.tensor(self.weights).to(logits) if self.weights else None)

    def right(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The number of right answers, and of clips that count: all."""
        return (logits.argmax(dim=1) == labels).sum(), len(labels)

    def merit(self, epoch: dict[str, float]) -> float:
        """The score of an epoch, highest for the best: validation accuracy in percent."""
        return epoch["validation_accuracy"]

    def columns(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """One probability (B,) per class, p0, p1, …"""
        return {f"p{k}": column for k, column in enumerate(logits.softmax(dim=1).unbind(dim=1))}


@dataclass(frozen=True)
class Sentiment:
    """A score from -3 (very negative) to 3, with absolute error, as in MULT's code. Labels (B,) are scores."""

    names = ("−3", "−2", "−1", "0", "+1", "+2", "+3")  # of rounded scores, as in Acc-7
    label = "sentiment"
    score = "score, signed as the answer (points)"
    outputs = 1
    chance = None
    dtype = torch.float32
    measures = ("mean absolute error", "sign right (%)")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean absolute error of logits (B, 1)."""
        return F.l1_loss(logits[:, 0], labels)

    def right(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The number of clips with the right sign, and of clips that count: all that are not neutral."""
        counted = labels != 0
        return (((logits[:, 0] > 0) == (labels > 0)) & counted).sum(), counted.sum()

    def merit(self, epoch: dict[str, float]) -> float:
        """The score of an epoch, highest for the best: minus the validation error."""
        return -epoch["validation_loss"]

    def columns(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """The score (B,), as `value`."""
        return {"value": logits[:, 0]}


Task = Classification | Sentiment


def count_answers(truth: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """The numbers of clips by true (rows) and predicted class (columns): (classes, classes).

    truth, answers : (N,) classes from 0
    """
    return np.bincount(classes * truth + answers, minlength=classes**2).reshape(classes, classes)
