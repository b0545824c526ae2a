"""Training as in section IV: SGD or MULT's Adam, modality dropout, the weights of the best validation epoch.

Every epoch writes a checkpoint. On a CPU, a run that was killed and started again ends with the same bits.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn, optim
from torch.optim.lr_scheduler import LinearLR, MultiStepLR, ReduceLROnPlateau

from avlib.dropout import IN_PLACE, Modalities, variants
from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.files import atomic_write, write_table
from workbook.task import Task
from workbook.train import sharing
from workbook.train.balance import balance_gradients
from workbook.train.batches import Batch, Clips
from workbook.train.descriptors import freeze
from workbook.train.memory import channels_last, memory_kept

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-3
DAMPENING = 0.9  # from the authors' code, not in the paper; a learning rate of 0.04 then acts like 0.004
PATIENCE = 10  # epochs without a lower validation loss before the learning rate falls (paper)
STEPS = (40, 55, 65, 70)  # epochs at which it falls in the authors' code, counted from 1
MULT_PATIENCE = 20  # of MULT's code, which section IV.2 follows on CMU-MOSEI
LAST_RATE = 0.05  # of protocol falling: a share of the first learning rate
LARGEST_GRADIENT = {"mult": 0.8, "falling": 0.8}  # protocol -> norm to which gradients are clipped; others are not
LARGEST_ROTATION = 10  # degrees, to either side
PROGRESS_EVERY = 0.25  # seconds between two calls of `progress`

Progress = Callable[[int, int, float], None]  # batches done, batches of the epoch, mean loss so far
log = logging.getLogger(__name__)


def augment(video: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each clip flipped left to right with probability 1/2 and turned by up to 10 degrees, all its frames alike.

    video : (B, Tv, 3, S, S); what lies outside of a frame is black
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


def optimizer_and_schedule(net: nn.Module, learning_rate: float, protocol: str, epochs: int = 100):
    """The optimizer, and the schedule that lowers its learning rate, by protocol.

    paper : SGD, plateau of 10 epochs      authors : SGD, fixed epochs      mult : Adam, plateau of 20 epochs
    falling : Adam, evenly from the first of the `epochs` to a twentieth in the last
    """
    if protocol == "falling":
        adam = optim.Adam(net.parameters(), learning_rate)
        return adam, LinearLR(adam, 1.0, LAST_RATE, max(1, epochs - 1))
    if protocol == "mult":
        adam = optim.Adam(net.parameters(), learning_rate)
        return adam, ReduceLROnPlateau(adam, patience=MULT_PATIENCE)
    sgd = optim.SGD(net.parameters(), learning_rate, MOMENTUM, DAMPENING, WEIGHT_DECAY)
    if protocol == "authors":
        return sgd, MultiStepLR(sgd, [step - 1 for step in STEPS])
    return sgd, ReduceLROnPlateau(sgd, patience=PATIENCE)


def informative(variants: list[Modalities]) -> torch.Tensor:
    """The rows of the batch of all variants (V B,) to train on, (N,): those in which a modality is present.

    Dropout may remove the only modality that a clip has.
    """
    present = [[tensor.flatten(1).any(dim=1) for tensor in pair if tensor is not None] for pair in variants]
    return torch.cat([torch.stack(modalities).any(dim=0) for modalities in present]).nonzero()[:, 0]


class EpochMetrics:
    """Mean loss over the batches of an epoch, and accuracy in percent over the clips that count for the task."""

    def __init__(self, task: Task):
        self.task = task
        self.loss, self.clips, self.right, self.counted = 0.0, 0, 0, 0

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Adds a batch. Does not wait for the device."""
        right, counted = self.task.right(logits, labels)
        self.loss = self.loss + loss.detach() * len(labels)
        self.clips, self.right, self.counted = self.clips + len(labels), self.right + right, self.counted + counted

    def row(self, split: str) -> dict[str, float]:
        """Both numbers, under the names of their columns in the history."""
        accuracy = 100 * float(self.right) / max(1, int(self.counted))
        return {f"{split}_loss": float(self.loss) / self.clips, f"{split}_accuracy": accuracy}


def train_step(
    net: AudiovisualNet,
    batch: Batch,
    optimizer: optim.Optimizer,
    *,
    task: Task,
    dropout: str,
    generator: torch.Generator,
    complete: bool = True,
    largest_gradient: float | None = None,
    balanced: bool = False,
    shared: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step on all variants of a batch: the loss, their logits (N, outputs) and labels (N,).

    dropout, generator : as in `modality_dropout`      complete : True = every clip has both modalities
    balanced : True weakens the gradients of the stronger modality, see `workbook.train.balance`
    shared : True computes once what variants have in common, see `workbook.train.sharing`
    """
    audio, video, labels = batch
    pairs = variants(dropout, audio, video, generator)
    labels, kept = labels.repeat(len(pairs)), None
    if not complete or dropout in IN_PLACE:  # among the clips are empty ones, which sharing computes once
        kept = informative(pairs)
        labels = labels[kept]
    with precision(labels.device):
        logits = (sharing.forward if shared else sharing.plain_forward)(net, pairs, kept).logits.float()
    loss = task.loss(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    if balanced:
        balance_gradients(net, batch, generator)
    if largest_gradient:
        nn.utils.clip_grad_norm_(net.parameters(), largest_gradient)
    optimizer.step()
    return loss, logits, labels


@memory_kept()
def train_epoch(
    net: AudiovisualNet,
    clips: Clips,
    optimizer: optim.Optimizer,
    *,
    batch_size: int,
    generators: dict[str, torch.Generator],
    progress: Progress | None = None,
    **settings,
) -> dict[str, float]:
    """Mean loss and accuracy in percent over one shuffled epoch; every variant counts as a clip.

    generators : "order" of the clips, "device" of all else      settings : dropout and more, as in `train_step`
    """
    net.train()
    clips.keep_on_device()
    settings |= {"task": clips.task, "generator": generators["device"], "complete": clips.complete}
    metrics, reported = EpochMetrics(clips.task), time.monotonic()
    order = torch.randperm(len(clips), generator=generators["order"])
    count = len(clips.chunks(batch_size))
    for number, (audio, video, labels) in enumerate(clips.batches(batch_size, order), 1):
        if clips.has_frames:
            video = channels_last(augment(video, generators["device"]))
        metrics.add(*train_step(net, (audio, video, labels), optimizer, **settings))
        if progress and (time.monotonic() - reported > PROGRESS_EVERY or number == count):
            reported = time.monotonic()
            progress(number, count, float(metrics.loss) / metrics.clips)  # waits for the device
    return metrics.row("train")


@memory_kept()
@torch.inference_mode()
def validate(net: AudiovisualNet, clips: Clips, batch_size: int) -> dict[str, float]:
    """Mean loss and accuracy in percent, without dropout and augmentation."""
    net.eval()
    clips.keep_on_device()
    metrics = EpochMetrics(clips.task)
    for audio, video, labels in clips.batches(batch_size):
        with precision(clips.device):
            logits = net(audio, channels_last(video) if clips.has_frames else video).logits.float()
        metrics.add(clips.task.loss(logits, labels), logits, labels)
    return metrics.row("validation")


class Checkpoint:
    """All that a run needs to resume, in one file that every epoch replaces; the best weights lie beside it."""

    def __init__(self, folder: Path, net: nn.Module, optimizer: optim.Optimizer, schedule, generators: dict):
        self.folder, self.net, self.generators = folder, net, generators
        self.parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
        self.history: list[dict[str, float]] = []
        self.shared: bool | None = None  # whether variants share frames; None = not yet tried

    def load(self) -> None:
        """Restores the state of the last finished epoch. Raises InputError for a file that is no such state."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            self._write()  # epoch 0, so that an interrupted first epoch starts from the same weights again
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.history, self.shared, generators = state["history"], state["shared"], state["generators"]
        except Exception as error:  # of many kinds
            raise InputError(f"{path} is damaged or of another network: resume = False starts over") from error
        for name, generator in self.generators.items():
            if name in generators and generators[name].numel() == generator.get_state().numel():
                generator.set_state(generators[name])
            else:
                log.info("the run began on another kind of device: its random numbers start over on this one")

    def save(self, row: dict[str, float]) -> None:
        """Adds an epoch. The checkpoint is written last: a run killed before it repeats the epoch."""
        if row["best"]:
            with atomic_write(self.folder / "model.safetensors") as path:
                save_file({name: value.contiguous().cpu() for name, value in self.net.state_dict().items()}, path)
        self.history.append(row)
        write_table(self.folder / "history.csv", pd.DataFrame(self.history))
        self._write()

    def _write(self) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state["generators"] = {name: generator.get_state() for name, generator in self.generators.items()}
        state |= {"history": self.history, "shared": self.shared}
        with atomic_write(self.folder / "checkpoint.pt") as path:
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
    train_vision: bool = True,
    balanced: bool = False,
    share: bool = True,
    progress: Progress | None = None,
) -> Iterator[dict[str, float]]:
    """Yields a row of the history after every epoch, first the rows of an interrupted run in `folder`.

    net : fresh weights, on the device of the clips      dropout : as in `modality_dropout`
    protocol : paper | authors | mult | falling, as in `optimizer_and_schedule`
    train_vision : False freezes the frame network; epochs take seconds, see `workbook.train.descriptors`
    balanced : True weakens the gradients of the stronger modality, see `workbook.train.balance`
    share : False computes every variant in full, see `workbook.train.sharing`
    progress : called several times a second with the batches done, the batches of the epoch, and the mean loss so far
    Writes checkpoint.pt and history.csv, and model.safetensors after every best epoch. Raises InputError where the loss
    is not finite, and where sentiment is to be `balanced`.
    """
    if balanced and train.task.outputs == 1:
        raise InputError("balanced is true, but sentiment has no probabilities to compare: leave it at false")
    net.to(train.device, memory_format=torch.channels_last)
    optimizer, schedule = optimizer_and_schedule(net, learning_rate, protocol, epochs)
    generators = {
        "order": torch.Generator().manual_seed(seed),
        "device": torch.Generator(train.device).manual_seed(seed + 1),
        "torch": torch.default_generator,  # of nn.Dropout in mult
    }
    if train.device.type == "cuda":  # there nn.Dropout draws from the GPU's
        generators["cuda"] = torch.cuda.default_generators[train.device.index or 0]
    checkpoint = Checkpoint(folder, net, optimizer, schedule, generators)
    checkpoint.load()
    yield from checkpoint.history
    if not train_vision:
        net, (train, validation) = freeze(net, train, validation)
    if checkpoint.shared is None:
        checkpoint.shared = share and _shares(net, train, dropout, batch_size)
    settings = {"dropout": dropout, "largest_gradient": LARGEST_GRADIENT.get(protocol), "balanced": balanced}
    settings |= {"batch_size": batch_size, "generators": generators, "progress": progress}
    for epoch in range(len(checkpoint.history) + 1, epochs + 1):
        row = {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"]}
        row |= train_epoch(net, train, optimizer, shared=checkpoint.shared, **settings)
        row |= validate(net, validation, batch_size)
        if not math.isfinite(row["train_loss"] + row["validation_loss"]):
            raise InputError(f"the loss is not finite in epoch {epoch}: give a learning_rate below {learning_rate:g}")
        merits = [train.task.merit(earlier) for earlier in checkpoint.history]
        row["best"] = train.task.merit(row) > max(merits, default=-math.inf)  # True = better than all before it
        schedule.step(*([row["validation_loss"]] if isinstance(schedule, ReduceLROnPlateau) else []))
        checkpoint.save(row)
        yield row


@memory_kept()
def _shares(net: AudiovisualNet, clips: Clips, dropout: str, batch_size: int) -> bool:
    """Whether to compute once what variants have in common: where that is exact and, on a GPU, faster."""
    audio, video, _ = clips[torch.arange(min(batch_size, len(clips)))]
    if not sharing.can_share(net, audio, video):
        return False
    if clips.device.type != "cuda":
        return True
    pairs = variants(dropout, audio, video, torch.Generator(clips.device).manual_seed(0))
    return sharing.is_faster(net, pairs, None if clips.complete and dropout not in IN_PLACE else informative(pairs))


def describe_history(history: pd.DataFrame, clips: str = "clips") -> str:
    """Which epoch is the best, and how far apart the losses of the last one are; clips : trained on, in words."""
    best, last = history[history.best].iloc[-1], history.iloc[-1]
    losses = f"training loss {last.train_loss:.2f} and validation loss {last.validation_loss:.2f}"
    return (
        f"**{best.validation_accuracy:.1f} %** of the validation {clips} are right in epoch {best.epoch:.0f}, the "
        f"best; the last epoch has {losses}."
    )
