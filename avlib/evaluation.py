"""The paper's test with incomplete data: one table with the predictions for every clip in every condition."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from avlib import InputError
from avlib.batches import Clips
from avlib.conditions import Condition, Context
from avlib.fusion import FUSIONS
from avlib.model import AudiovisualNet, precision
from avlib.speed.memory import channels_last, memory_kept

TILE = 8  # clips: a product of matrices rounds rows in groups of so many, or fewer, and otherwise those that are left


@memory_kept()
@torch.inference_mode()
def logits(
    net: AudiovisualNet, clips: Clips, conditions: Sequence[Condition], seed: int, batch_size: int = 32
) -> dict[str, torch.Tensor]:
    """The logits (N, outputs) of all clips, by the condition's name.

    seed : of each condition's random numbers
    Frames that a condition does not change are described once for all conditions, and a black frame once in all.
    On a CPU the logits of a clip are the same to the last digit whatever other clips there are, except with noise.
    """
    net.eval()
    generators = [torch.Generator(clips.device).manual_seed(seed) for _ in conditions]
    found: dict[str, list[torch.Tensor]] = {condition.name: [] for condition in conditions}
    described = _Described(net, clips.has_frames)
    for chosen in clips.chunks(batch_size):
        audio, video, _ = clips[chosen]
        with precision(clips.device):
            for condition, generator in zip(conditions, generators, strict=True):
                changed_audio, changed_video = condition(audio, video, Context(clips, chosen, generator))
                changed_audio = torch.zeros_like(audio) if changed_audio is None else changed_audio
                output = net.fuse(*net.encode(_tiled(changed_audio), described(changed_video, like=video)))
                found[condition.name].append(output.logits[: len(chosen)].float().cpu())
    return {name: torch.cat(batches) for name, batches in found.items()}


def _tiled(values: torch.Tensor) -> torch.Tensor:
    """A batch (B, …) with its first clip repeated at its end, so that TILE divides the number of its clips."""
    return torch.cat([values, values[:1].expand(-len(values) % TILE, *values.shape[1:])])


class _Described:
    """Descriptors of video, of as many clips as TILE wants; the unchanged video of a batch is described once."""

    def __init__(self, net: AudiovisualNet, has_frames: bool):
        self.net, self.has_frames = net, has_frames
        self.video = self.descriptors = self.black = None

    def __call__(self, video: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """The descriptors (B, Tv, C) of a video; None = black frames in the shape of `like`, the batch's video."""
        if video is None:
            if self.black is None:
                self.black = self._describe(torch.zeros_like(like[:1, :1]))
            return self.black.expand(len(like) + -len(like) % TILE, like.shape[1], *self.black.shape[2:])
        if video is not like:
            return self._describe(_tiled(video))
        if video is not self.video:
            self.video, self.descriptors = video, self._describe(_tiled(video))
        return self.descriptors

    def _describe(self, video: torch.Tensor) -> torch.Tensor:
        return self.net.describe(channels_last(video) if self.has_frames else video)


def predict(
    net: AudiovisualNet,
    clips: Clips,
    conditions: Sequence[Condition],
    *,
    fold: int,
    seed: int,
    batch_size: int = 32,
) -> pd.DataFrame:
    """One row per clip and condition: clip, actor, fold, condition, label, and the prediction.

    The prediction is one probability per class (p0, p1, …), or a score of sentiment (value).

    A clip that lacks a modality has rows only in conditions that do not need it. A condition that removes all that the
    net reads, such as V for the audio branch alone, has none.
    """
    wanted = [condition for condition in conditions if not set(net.fusion.modalities) <= set(condition.removes)]
    tables = []
    for condition, found in zip(wanted, logits(net, clips, wanted, seed, batch_size).values(), strict=True):
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
