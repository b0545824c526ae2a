"""One training step with modality dropout: avlib's, with reading and augmentation, beside the original loop's.

avlib's is the mean over the steps of a short epoch, because keeping memory between steps is part of its gain. The
original code gets a ready batch: its reading and augmentation, done by sixteen processes, cost nothing here. On a GPU
the step is also compared with the GPU's limits, and the hours of the paper's Table II are projected.
"""

import math
import time

import torch

from avlib import build_model
from benchmarks import ceilings
from benchmarks.peer import Peer, theirs
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn, once, ratio_aims
from workbook.train.batches import Clips
from workbook.train.training import optimizer_and_schedule, train_epoch, validate

FUSION, DROPOUT, LEARNING_RATE = "ia", "softhard", 0.04
STEPS = 4  # in an epoch
BATCH = 8  # clips
AIM, AIM_CUDA = 7, 8  # times the original
SETTINGS = {"fusion": FUSION, "heads": 1, "dropout": DROPOUT}


def measure(options) -> dict:
    """Seconds of a step on both sides; on a GPU also the share of its ceilings and the hours of Table II."""
    size, clips = options.image_size or 224, options.batch or BATCH
    trainer = Trainer(options.frames, size, clips, options.device)
    runs = {"avlib": trainer.step}
    if options.peer:
        peer = Peer(options.peer)
        net = peer.network(FUSION, CLASSES, options.frames, size, options.device)
        step = peer.trainer(net, DROPOUT, LEARNING_RATE, options.device)
        batch = tuple(part.cpu() for part in theirs(*trainer.clips[torch.arange(clips)]))
        runs["original"] = lambda: step(batch)
    result = in_turn(runs, options.rounds, clips)
    result |= ratio_aims(result, AIM_CUDA if options.device == "cuda" else AIM)
    result |= {"settings": SETTINGS | {"batch": clips, "frames": options.frames, "image_size": size}}
    if options.device == "cuda":
        one = Trainer(options.frames, size, clips, options.device, clips)  # an epoch of one step
        result |= {"ceilings": ceilings.share(one.step, result["runs"]["avlib"]["seconds"]["median"])}
        result |= {"table II": table_two(options.frames, size, clips)}
    return result


class Trainer:
    """A fresh network with its optimizer, on a store in memory."""

    def __init__(self, frames: int, image_size: int, batch: int, device: str, clips: int | None = None):
        torch.manual_seed(0)
        self.clips, self.batch = all_clips(synthetic_store(clips or STEPS * batch, frames, image_size), device), batch
        net = build_model(FUSION, 1, CLASSES, image_size)
        self.net = net.to(device, memory_format=torch.channels_last)
        self.sgd, _ = optimizer_and_schedule(self.net, LEARNING_RATE, "authors")
        self.generators = {"order": torch.Generator(), "device": torch.Generator(device)}

    def step(self) -> float:
        """The seconds of one step: the mean over an epoch."""
        begin = time.perf_counter()
        self.epoch(DROPOUT)  # ends with numbers that wait for the device
        return (time.perf_counter() - begin) / math.ceil(len(self.clips) / self.batch)

    def epoch(self, dropout: str) -> None:
        """One epoch with a kind of modality dropout."""
        how = {"dropout": dropout, "batch_size": self.batch, "generators": self.generators}
        train_epoch(self.net, self.clips, self.sgd, **how)


def table_two(frames: int, image_size: int, batch: int) -> dict:
    """Seconds of an epoch, validation included, by kind of dropout, and the hours of Table II's RAVDESS half."""
    trainer = Trainer(frames, image_size, batch, "cuda", ceilings.TRAINING_CLIPS)
    heard: Clips = all_clips(synthetic_store(ceilings.VALIDATION_CLIPS, frames, image_size), "cuda")
    trainer.step()
    seconds = {}
    for dropout in ceilings.DROPOUTS:
        training, _ = once(lambda dropout=dropout: trainer.epoch(dropout))
        validation, _ = once(lambda: validate(trainer.net, heard, batch))
        seconds[dropout] = training + validation
    return {"seconds of an epoch": seconds, "hours": ceilings.projected_hours(seconds)}
