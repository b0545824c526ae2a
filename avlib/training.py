"""Training as in section IV: SGD, modality dropout, the epoch with the best validation accuracy.

A checkpoint follows every epoch. A run that was killed and is started again ends with the numbers that it would have
had, bit for bit on a CPU.
"""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn, optim

from avlib.batches import Clips, colours_last
from avlib.dropout import modality_dropout
from avlib.files import replacing

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-3
DAMPENING = 0.9  # not in the paper; in the authors' code, where it makes a learning rate of 0.04 act like 0.004
PATIENCE = 10  # epochs without a lower validation loss before the learning rate falls (paper)
STEPS = (40, 55, 65, 70)  # epochs at which it falls in the authors' code, counted from 1
LARGEST_ROTATION = 10  # degrees, to either side

LINE = (
    "epoch %(epoch)3d of %(epochs)d   loss %(train_loss).3f   training %(train_accuracy)5.1f %%"
    "   validation %(validation_accuracy)5.1f %%"
)
log = logging.getLogger(__name__)


def augment(video: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each clip flipped left to right with a probability of one half, and turned by up to 10 degrees, all frames alike.

    video : (B, Tv, 3, S, S); what turns in from outside is black
    """
    B = len(video)
    flip = 1 - 2 * torch.randint(2, (B,), generator=generator, device=video.device)  # 1 or -1
    uniform = 2 * torch.rand(B, generator=generator, device=video.device) - 1
    angle = uniform * math.radians(LARGEST_ROTATION)
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros(B, device=video.device)
    turn = torch.stack([flip * cos, -flip * sin, none, sin, cos, none], dim=1).view(B, 2, 3)
    layers = video.flatten(1, 2)  # (B, 3 Tv, S, S): one grid serves all frames of a clip
    grid = F.affine_grid(turn, list(layers.shape), align_corners=False)
    return F.grid_sample(layers, grid, align_corners=False).view_as(video)


def optimizer_and_schedule(net: nn.Module, learning_rate: float, protocol: str):
    """SGD and its schedule: on a plateau of 10 epochs (paper), or at fixed epochs (authors' code)."""
    sgd = optim.SGD(net.parameters(), learning_rate, MOMENTUM, DAMPENING, WEIGHT_DECAY)
    if protocol == "authors":
        return sgd, optim.lr_scheduler.MultiStepLR(sgd, [step - 1 for step in STEPS])
    return sgd, optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=PATIENCE)


def with_something(audio: torch.Tensor, video: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The views in which at least one modality is present; a clip that has one, and loses it, teaches nothing."""
    kept = audio.flatten(1).any(dim=1) | video.flatten(1).any(dim=1)  # True = view kept
    return audio[kept], video[kept], labels[kept]


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware is made for it, float32 on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def train_epoch(
    net: nn.Module, clips: Clips, sgd: optim.Optimizer, *, dropout: str, batch_size: int, generators: dict
) -> dict[str, float]:
    """Mean loss and accuracy in percent over one shuffled epoch, all views of all clips counted alike."""
    net.train()
    complete = bool(clips.table.has_audio.all() and clips.table.has_video.all())
    loss_sum, correct, seen = 0.0, 0, 0
    order = torch.randperm(len(clips), generator=generators["order"])
    for audio, video, labels in clips.batches(batch_size, order):
        video = augment(video, generators["device"])
        audio, video, labels = modality_dropout(dropout, audio, video, labels, generators["device"])
        if not complete:
            audio, video, labels = with_something(audio, video, labels)
        with precision(clips.device):
            logits = net(audio, colours_last(video)).logits
        loss = F.cross_entropy(logits.float(), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        loss_sum += loss.detach() * len(labels)
        correct += (logits.argmax(dim=1) == labels).sum()
        seen += len(labels)
    return {"train_loss": float(loss_sum) / seen, "train_accuracy": 100 * float(correct) / seen}


@torch.inference_mode()
def validate(net: nn.Module, clips: Clips, batch_size: int) -> dict[str, float]:
    """Mean loss and accuracy in percent on clips as they are."""
    net.eval()
    loss_sum, correct = 0.0, 0
    for audio, video, labels in clips.batches(batch_size):
        with precision(clips.device):
            logits = net(audio, colours_last(video)).logits.float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(dim=1) == labels).sum()
    return {"validation_loss": float(loss_sum) / len(clips), "validation_accuracy": 100 * float(correct) / len(clips)}


class Checkpoint:
    """Everything that a run needs to go on: one file, replaced after every epoch, and the best weights beside it."""

    def __init__(self, folder: Path, net: nn.Module, sgd: optim.Optimizer, schedule, generators: dict):
        self.folder, self.net, self.generators = folder, net, generators
        self.parts = {"net": net, "sgd": sgd, "schedule": schedule}
        self.history: list[dict[str, float]] = []

    def load(self) -> None:
        """Take up the state of the last finished epoch, where there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.history = state["history"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])

    def best_accuracy(self) -> float:
        """The highest validation accuracy so far, in percent; -1 before the first epoch."""
        return max((row["validation_accuracy"] for row in self.history), default=-1.0)

    def save(self, row: dict[str, float]) -> None:
        """Add an epoch. The checkpoint goes last: killed in between, the epoch is run again and writes the same."""
        if row["validation_accuracy"] > self.best_accuracy():
            with replacing(self.folder / "model.safetensors") as path:
                save_file({name: value.contiguous() for name, value in self.net.state_dict().items()}, path)
        self.history.append(row)
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state["generators"] = {name: generator.get_state() for name, generator in self.generators.items()}
        state["history"] = self.history
        with replacing(self.folder / "history.csv") as path:
            pd.DataFrame(self.history).to_csv(path, index=False)
        with replacing(self.folder / "checkpoint.pt") as path:
            torch.save(state, path)


def fit(
    net: nn.Module,
    train: Clips,
    validation: Clips,
    folder: Path,
    *,
    dropout: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    protocol: str = "paper",
) -> Iterator[dict[str, float]]:
    """One row of the history after every epoch, those of an interrupted run in `folder` first.

    net : fresh weights, on the device of the clips      dropout : as in `modality_dropout`
    protocol : paper | authors, the schedule of the learning rate
    Writes checkpoint.pt, history.csv and, at every new best validation accuracy, model.safetensors.
    """
    net.to(train.device, memory_format=torch.channels_last)
    sgd, schedule = optimizer_and_schedule(net, learning_rate, protocol)
    generators = {
        "order": torch.Generator().manual_seed(seed),
        "device": torch.Generator(train.device).manual_seed(seed + 1),
    }
    checkpoint = Checkpoint(folder, net, sgd, schedule, generators)
    checkpoint.load()
    yield from checkpoint.history
    for epoch in range(len(checkpoint.history) + 1, epochs + 1):
        row = {"epoch": epoch, "learning_rate": sgd.param_groups[0]["lr"]}
        row |= train_epoch(net, train, sgd, dropout=dropout, batch_size=batch_size, generators=generators)
        row |= validate(net, validation, batch_size)
        schedule.step(*([row["validation_loss"]] if protocol == "paper" else []))
        checkpoint.save(row)
        log.info(LINE, row | {"epochs": epochs})
        yield row
