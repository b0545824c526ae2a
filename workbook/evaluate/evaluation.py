"""The paper's test with incomplete data: one table with the predictions for every clip in every condition."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from avlib.fusion import FUSIONS
from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.evaluate.conditions import Condition, Context
from workbook.train.batches import Clips
from workbook.train.memory import channels_last, memory_kept

TILE = 16  # clips: a product of matrices rounds rows in groups of so many, or fewer, and otherwise those that are left


class Described:
    """Descriptors of the frames of some clips. A frame is described once for all conditions that leave it as it is.

    So is a black frame, and one that the condition before has changed in the same way. Given to several calls of
    `predict` with these clips and this net, it serves them all.
    """

    def __init__(self, net: AudiovisualNet, clips: Clips):
        self.net = net
        self.described = clips.has_frames and not isinstance(net.frame_network, nn.Identity)
        self.own: dict[tuple[int, int], torch.Tensor] = {}  # first and last clip of a batch -> its descriptors
        self.black = self.last = None  # the last: a changed video and its descriptors

    def __call__(self, video: torch.Tensor | None, own: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The descriptors (B, Tv, C) of a video; None = black frames.

        own : the unchanged video of the same clips      chosen : (B,) their positions
        """
        if not self.described:  # features
            return self.net.describe(torch.zeros_like(own) if video is None else video)
        if video is own:
            return self._of(own, chosen)
        if self.black is None:
            self.black = self.net.describe(torch.zeros_like(own[:1, :1]))
        if video is None:
            return self.black.expand(*own.shape[:2], -1)
        left = (video == own).flatten(2).all(dim=2)  # (B, Tv) True = the clip's own frame
        found = torch.where(left[..., None], self._of(own, chosen), self.black)
        new = ~left & video.flatten(2).any(dim=2)  # (B, Tv) True = another frame, and not black
        if self.last and self.last[0].shape == video.shape:
            again = (video == self.last[0]).flatten(2).all(dim=2)
            found, new = torch.where((new & again)[..., None], self.last[1], found), new & ~again
        if new.any():
            found[new] = self._describe(video[new][:, None])[:, 0]
        self.last = video, found
        return found

    def _of(self, own: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        key = int(chosen[0]), int(chosen[-1])
        if key not in self.own:
            self.own[key] = self._describe(own)
        return self.own[key]

    def _describe(self, frames: torch.Tensor) -> torch.Tensor:
        return self.net.describe(channels_last(_tiled(frames)))[: len(frames)]


@memory_kept()
@torch.inference_mode()
def logits(
    net: AudiovisualNet,
    clips: Clips,
    conditions: Sequence[Condition],
    seed: int,
    batch_size: int = 32,
    described: Described | None = None,
) -> dict[str, torch.Tensor]:
    """The logits (N, outputs) of all clips, by the condition's name.

    seed : of each condition's random numbers      described : of earlier calls; None = frames are described anew
    On a CPU the logits of a clip are the same to the last digit whatever other clips there are, except with noise.
    """
    net.eval()
    generators = [torch.Generator(clips.device).manual_seed(seed) for _ in conditions]
    found: dict[str, list[torch.Tensor]] = {condition.name: [] for condition in conditions}
    described = described or Described(net, clips)
    for chosen in clips.chunks(batch_size):
        audio, video, _ = clips[chosen]
        with precision(clips.device):
            for condition, generator in zip(conditions, generators, strict=True):
                changed_audio, changed_video = condition(audio, video, Context(clips, chosen, generator))
                changed_audio = torch.zeros_like(audio) if changed_audio is None else changed_audio
                descriptors = described(changed_video, video, chosen)
                output = net.fuse(*net.encode(_tiled(changed_audio), _tiled(descriptors)))
                found[condition.name].append(output.logits[: len(chosen)].float().cpu())
    return {name: torch.cat(batches) for name, batches in found.items()}


def _tiled(values: torch.Tensor) -> torch.Tensor:
    """A batch (B, …) with its first row repeated at its end, so that TILE divides the number of its rows."""
    return torch.cat([values, values[:1].expand(-len(values) % TILE, *values.shape[1:])])


def predict(
    net: AudiovisualNet,
    clips: Clips,
    conditions: Sequence[Condition],
    *,
    fold: int,
    seed: int,
    batch_size: int = 32,
    described: Described | None = None,
) -> pd.DataFrame:
    """One row per clip and condition: clip, actor, fold, condition, label, and the prediction.

    The prediction is one probability per class (p0, p1, …), or a score of sentiment (value).

    A clip that lacks a modality has rows only in conditions that do not need it. A condition that removes all that the
    net reads, such as V for the audio branch alone, has none. seed, described : as in `logits`
    """
    wanted = [condition for condition in conditions if not set(net.fusion.modalities) <= set(condition.removes)]
    tables = []
    for condition, found in zip(wanted, logits(net, clips, wanted, seed, batch_size, described).values(), strict=True):
        columns = {name: column.numpy() for name, column in clips.task.columns(found).items()}
        table = clips.table[["clip", "actor"]].assign(fold=fold, condition=condition.name, label=clips.labels.numpy())
        kept = clips.table[[f"has_{name}" for name in condition.needs]].all(axis=1)  # True = the clip counts
        tables.append(table.assign(**columns)[kept])
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def attention(net: AudiovisualNet, clips: Clips, batch_size: int = 32) -> dict[str, np.ndarray]:
    """The attention tensors (N, …) of the net for all clips, by their names in fusion.py.

    Raises InputError as `check_attention`.
    """
    check_attention(net, clips)
    net.eval()
    batches = []
    for audio, video, _ in clips.batches(batch_size):
        with precision(clips.device):
            batches.append(net(audio, channels_last(video) if clips.has_frames else video).attention)
    return {name: torch.cat([batch[name].float().cpu() for batch in batches]).numpy() for name in batches[0]}


def check_attention(net: AudiovisualNet, clips: Clips) -> None:
    """Raises InputError where there is no attention: no clips, or a fusion without it."""
    if not net.fusion.widths:
        having = ", ".join(name for name, fusion in FUSIONS.items() if fusion.widths)
        raise InputError(f"{type(net.fusion).__name__} has no attention: choose fusion {having}")
    if not len(clips):
        raise InputError("no clip has both modalities: attention compares the two")
