"""What speaks for an answer: integrated gradients of every time step, and Grad-CAM of every face, by captum.

A score says how much a step raises the target: an output of the network, which is a class's logit or the score of
sentiment. Positive scores speak for it. The clip is compared with a baseline: an empty picture and an empty sound.
Another baseline gives other scores.

Frames are described first, once, and captum begins at the descriptors or after stage 1. Networks are put into eval mode
and compute in float32, also on a GPU: in bfloat16, gradients do not add up. They work on copies of what captum gives
them: leaves of the graph, which an in-place ReLU must not change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam
from torch import nn

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.evaluate.baselines import TIME, Baselines
from workbook.train.batches import Clips
from workbook.train.descriptors import behind_frames, describe
from workbook.train.memory import channels_last, memory_kept

STEPS, BATCH = 32, 32  # points of integrated gradients; inputs that are computed at a time
CHUNK = 8  # clips read at a time
Values = dict[str, torch.Tensor]  # by modality, of those that a network reads, audio first


@dataclass(frozen=True)
class Attribution:
    """How much each input step of N clips speaks for the target; None = a modality that the network does not read."""

    audio: np.ndarray | None  # (N, Ta), a score for each MFCC step
    video: np.ndarray | None  # (N, Tv), a score for each frame
    change: np.ndarray  # (N,) the target's output for the clip minus that for the baseline

    @property
    def incomplete(self) -> float:
        """Σ |sum of scores - change| / Σ |change| over all clips: 0 where the scores add up."""
        total = sum(scores.sum(axis=1) for scores in (self.audio, self.video) if scores is not None)
        return float(np.abs(total - self.change).sum() / np.abs(self.change).sum())


@contextmanager
def without_tf32() -> Iterator[None]:
    """A block in which a GPU multiplies in float32; TF32, torch's choice for convolutions, rounds inputs to 10 bits."""
    settings = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


@memory_kept()
@without_tf32()
def integrated_gradients(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    steps: int = STEPS,
) -> Attribution:
    """Integrated gradients (Sundararajan et al., ICML 2017), summed over all values of a time step.

    The network's gradients are averaged at `steps` points on the straight way from the baseline to the clip, and
    multiplied by clip minus baseline. The scores of a clip add up to `change`, if the points are many enough.

    audio : (N, C, Ta)      video : (N, Tv, 3, S, S) in [0, 1], or features (N, Tv, C)
    target : the output that the scores speak for: a class, (N,) classes, or 0 for a score of sentiment
    `mult` gives a step of exact zeros no position. With baseline zeros its output jumps there, and no gradient sees it.
    """
    start = _Start(net, audio, video, target, baseline)
    gradients = start.gradients(steps)
    scores = {name: part.movedim(TIME[name], 1).flatten(2).sum(dim=2).cpu().numpy() for name, part in gradients.items()}
    return Attribution(scores.get("audio"), scores.get("video"), start.change())


@without_tf32()
def branches(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    steps: int = STEPS,
) -> pd.DataFrame:
    """How much each modality raises the target: a row per clip, columns audio, video, change, together.

    audio, video : integrated gradients at the outputs of stage 1, before the branches meet; they add up to `change`
    change : the target's output for the clip minus that for the baseline
    together : the part that only both explain: the change by both minus the changes by each alone. It is 0 where the
        branches meet in a sum, as in a network without exchange and with a linear classifier.
    A modality that the network does not read has 0. Arguments as in `integrated_gradients`
    """
    start = _Start(net, audio, video, target, baseline, after_stage1=True)
    totals = {name: part.flatten(1).sum(dim=1).double().cpu().numpy() for name, part in start.gradients(steps).items()}
    change, together = start.change(), 0.0
    if len(totals) == 2:
        together = change - start.change(without="audio") - start.change(without="video")
    table = pd.DataFrame(totals).reindex(columns=[*TIME], fill_value=0.0)
    return table.assign(change=change, together=together)


def answers(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output (N,) that gives each answer, and its sign (N,): the likeliest class and 1; of sentiment 0 and ±1."""
    if logits.shape[1] > 1:
        return logits.argmax(dim=1), torch.ones(len(logits))
    return torch.zeros(len(logits), dtype=torch.long), torch.where(logits[:, 0] > 0, 1.0, -1.0)


def answer_gradients(net: AudiovisualNet, clips: Clips, baseline: Baselines, steps: int = STEPS) -> dict:
    """The integrated gradients of each clip's own answer: {"audio": (N, Ta), "video": (N, Tv)}, one or both."""
    tables = []
    for arguments, sign in _with_answers(net, clips, baseline):
        scores = integrated_gradients(*arguments, steps)
        tables.append({name: sign[:, None] * getattr(scores, name) for name in net.fusion.modalities})
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def answer_branches(net: AudiovisualNet, clips: Clips, baseline: Baselines, steps: int = STEPS) -> pd.DataFrame:
    """How much each modality raises each clip's own answer: the table of `branches`, with the clip's emotion."""
    tables = [branches(*arguments, steps).mul(sign, axis=0) for arguments, sign in _with_answers(net, clips, baseline)]
    return pd.concat(tables, ignore_index=True).assign(emotion=clips.table["emotion"].to_numpy())


def branches_sentence(table: pd.DataFrame) -> str:
    """The mean change of the answer by each modality, in Markdown; table : as `answer_branches`."""
    parts = [f"**{table[name].mean():+.2f}** by {name}" for name in ("audio", "video")]
    together = f"{table['together'].mean():+.2f} only by both together"
    return f"{', '.join(parts)}; {together}: the mean change of the answer's output over {len(table)} clips."


def _with_answers(net: AudiovisualNet, clips: Clips, baseline: Baselines) -> Iterator[tuple[tuple, np.ndarray]]:
    """A few clips at a time: the arguments of `branches` for their own answers, and the signs of these."""
    behind = behind_frames(net.eval())
    described = baseline._replace(video=describe(net, baseline.video))
    for audio, video, _ in clips.batches(CHUNK):
        video = describe(net, video)
        with torch.no_grad():
            target, sign = answers(behind(audio, video).logits.cpu())
        yield (behind, audio, video, target, described), sign.numpy()


class _Start:
    """Where captum begins in a network: at the descriptors of N clips and a baseline, or behind stage 1."""

    @memory_kept()
    @torch.no_grad()
    def __init__(self, net: AudiovisualNet, audio, video, target, baseline: Baselines, after_stage1: bool = False):
        self.net, self.after_stage1 = net.eval(), after_stage1
        self.clips, self.baseline = self._values(audio, video), self._values(baseline.audio, baseline.video)
        self.targets = torch.as_tensor(target, device=audio.device).expand(len(audio))  # an output for each clip

    def _values(self, audio: torch.Tensor, video: torch.Tensor) -> Values:
        sides = audio, describe(self.net, video)
        sides = self.net.encode(*sides) if self.after_stage1 else sides
        return {name: side for name, side in zip(TIME, sides, strict=True) if name in self.net.fusion.modalities}

    def outputs(self, *values: torch.Tensor) -> torch.Tensor:
        """The outputs (B, outputs) of the rest of the network, from the values (B, ...) of each modality."""
        copies = {name: value.clone() for name, value in zip(self.clips, values, strict=True)}
        sides = copies.get("audio"), copies.get("video")
        return self.net.fuse(*(sides if self.after_stage1 else self.net.encode(*sides))).logits

    def gradients(self, steps: int) -> Values:
        """The integrated gradients (N, ...) of each modality."""
        values, nothing = tuple(self.clips.values()), tuple(self.baseline.values())
        batch = {"n_steps": steps, "internal_batch_size": max(BATCH, len(self.targets))}
        parts = IntegratedGradients(self.outputs).attribute(values, nothing, self.targets, **batch)
        return dict(zip(self.clips, parts, strict=True))

    @torch.no_grad()
    def change(self, without: str | None = None) -> np.ndarray:
        """The target's output for each clip minus that for the baseline, (N,).

        without : a modality in which the clips are replaced by the baseline
        """
        values = [self.baseline[name].expand_as(own) if name == without else own for name, own in self.clips.items()]
        change = self.outputs(*values) - self.outputs(*self.baseline.values())
        return change.gather(1, self.targets[:, None])[:, 0].cpu().numpy()


@memory_kept()
def grad_cam(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor, target: int | torch.Tensor) -> np.ndarray:
    """Where in each face the frame network's last maps speak for the target: (N, Tv, S, S) in [0, 1].

    Grad-CAM (Selvaraju et al., ICCV 2017), enlarged to the frames. 1 is the place that speaks most for it in the clip,
    so that its frames can be compared; a clip in which no place does is 0. Arguments as in `integrated_gradients`
    Raises InputError for features, and for a frame network without maps.
    """
    attribute = LayerGradCam(lambda video, audio: net(audio, channels_last(video)).logits, last_maps(net, video))
    targets, clips = torch.as_tensor(target).expand(len(audio)).tolist(), []
    for frames, sound, output in zip(video.split(1), audio.split(1), targets, strict=True):
        heat = attribute.attribute(frames, output, sound, relu_attributions=True).detach()  # (Tv, 1, s, s)
        heat = F.interpolate(heat, video.shape[-2:], mode="bilinear")[:, 0]
        clips.append((heat / heat.max().clamp(min=1e-12)).cpu())
    return torch.stack(clips).numpy()


def heat_sentence(heat: np.ndarray, times: np.ndarray) -> str:
    """Which frame of a clip speaks most for the answer, in Markdown.

    heat : (Tv, S, S) in [0, 1], as `grad_cam` returns      times : (Tv,) of the frames, seconds
    """
    if not heat.any():
        return "No place in the faces speaks for the answer."
    frame = int(heat.mean(axis=(1, 2)).argmax())
    share, place = 100 * heat[frame].sum() / heat.sum(), f"{times[frame]:.2f} s (even: {100 / len(heat):.0f} %)"
    return f"**{share:.0f} %** of all that speaks for the answer lies in the frame at {place}."


def last_maps(net: AudiovisualNet, video: torch.Tensor) -> nn.Module:
    """The part of the frame network that returns its last maps (frames, C, s, s), with s from 2 to S / 8.

    Raises InputError where there is none: features, sound alone, a network that keeps no places.
    """
    parts, largest = [], video.shape[-1] // 8  # wider squares are attention maps

    def note(module: nn.Module, inputs: tuple, maps: torch.Tensor) -> None:
        shape = getattr(maps, "shape", ())
        if len(shape) == 4 and shape[-2] == shape[-1] and 1 < shape[-1] <= largest:
            parts.append(module)

    hooks = [part.register_forward_hook(note) for part in net.eval().frame_network.modules()]
    try:
        if video.ndim == 5 and "video" in net.fusion.modalities:
            net.describe(channels_last(video[:1, :1]))
    finally:
        for hook in hooks:
            hook.remove()
    if not parts:
        raise InputError("Grad-CAM needs maps (C, s, s) of the frames: this network has none for these inputs")
    return parts[-1]
