"""What speaks for an answer: a score for every time step of sound and picture, by captum.

A score says how much a step raises the target's output of the network: its logit, or the score of sentiment. Positive
scores speak for the target. All methods but Grad-CAM compare the clip with a baseline, in which nothing is seen or
heard. Another baseline gives other scores, so a baseline has a name, and every result carries it.

    integrated_gradients    gradients on the way from the baseline to the clip; the scores add up to the whole change
    ablation                each step replaced by the baseline's, one at a time
    occlusion               a window of steps replaced, which moves over the clip
    grad_cam                the places in each face that speak for the target
    branches                how much of the change each modality brought

A frame network sees each frame alone. So a clip's frames are described once, and steps are replaced among the
descriptors: what ablation and occlusion find is the same. `train.descriptors.describe_once` does it for a whole split.
Networks are put into eval mode. From the descriptors on they compute in float32, also on a GPU: in bfloat16, gradients
do not add up.

In-place ReLUs are a trap. captum gives a network leaves of the graph, and perturbed inputs that it needs again: no
in-place operation may change either. In captum 0.9 such a ReLU breaks LayerIntegratedGradients at the layer before it,
and all methods on a network that begins with it. Here captum begins at the inputs, after the frame network or after
stage 1, and what comes next works on copies.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from captum.attr import FeatureAblation, IntegratedGradients, LayerGradCam, Occlusion
from torch import nn

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.evaluate.baselines import TIME, Baselines, baselines
from workbook.train.descriptors import describe
from workbook.train.memory import channels_last, memory_kept

log = logging.getLogger(__name__)
STEPS, MOST_STEPS = 32, 256  # of integrated gradients, which are doubled until the scores add up
WITHIN = 0.05  # by how much the scores may miss the change, of the mean change of the clips
__all__ = ["Attribution", "ablation", "baselines", "branches", "grad_cam", "integrated_gradients", "occlusion"]


@dataclass(frozen=True)
class Attribution:
    """How much each input step of N clips speaks for the target; None = a modality that the network does not read."""

    method: str
    baseline: str
    audio: np.ndarray | None  # (N, Ta), a score for each MFCC step
    video: np.ndarray | None  # (N, Tv), a score for each frame
    change: np.ndarray  # (N,) the target's output for the clip minus that for the baseline

    @property
    def total(self) -> np.ndarray:
        """The sum of all scores of each clip, (N,)."""
        return sum(scores.sum(axis=1) for scores in (self.audio, self.video) if scores is not None)

    @property
    def incomplete(self) -> float:
        """Σ |total - change| / Σ |change| over all clips: 0 where the scores add up, as integrated gradients should."""
        return float(np.abs(self.total - self.change).sum() / np.abs(self.change).sum())


@memory_kept()
def integrated_gradients(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    steps: int | None = None,
    batch: int | None = None,
    pixels: bool = False,
) -> Attribution:
    """Integrated gradients (Sundararajan et al., ICML 2017), summed over all that a time step holds.

    The network's gradients are averaged at `steps` points on the straight way from the baseline to the clip, and
    multiplied by clip minus baseline. The scores of a clip add up to `change`, if the points are many enough.

    audio : (N, C, Ta)      video : (N, Tv, 3, S, S) in [0, 1], or features (N, Tv, C)
    target : the output that the scores speak for: a class, (N,) classes, or 0 for a score of sentiment
    steps : None = 32, doubled up to 256 for a clip whose scores miss its change by more than 5 % of the mean change; a
        warning says so where all scores together still miss more
    batch : points computed at a time; None = 32 among descriptors, 4 among pixels (3 GB for 15 x 224 x 224)
    pixels : True goes the straight way among pixels, so that the frame network has a part in each point: about `steps`
        times as much work. False describes the frames first and goes straight among descriptors.
    `mult` gives a step of exact zeros no position. With baseline zeros its output jumps there, and no gradient sees it.
    """
    start = _start(net, audio, video, target, baseline, "pixels" if pixels else "descriptors")
    integrate, batch = IntegratedGradients(start.rest).attribute, batch or (4 if pixels else 32)
    change = start.change()

    def scores(clip: int, target: int) -> dict[str, torch.Tensor]:
        points, given = steps or STEPS, (start.clip(clip), tuple(start.baseline.values()), target)
        found = integrate(*given, n_steps=points, internal_batch_size=batch)
        while not steps and points < MOST_STEPS and _misses(found, change, clip):
            points *= 2
            found = integrate(*given, n_steps=points, internal_batch_size=batch)
        return {name: _over_time(name, values).sum(dim=2) for name, values in zip(start.clips, found, strict=True)}

    result = start.attribution("integrated gradients", scores)
    if not steps and result.incomplete > WITHIN:
        text = "integrated gradients miss the change by %.0f %% with %d steps: do not add them up, or give more steps"
        log.warning(text, 100 * result.incomplete, MOST_STEPS)
    return result


def _misses(found: tuple[torch.Tensor, ...], change: np.ndarray, clip: int) -> bool:
    """Whether a clip's scores miss its change by more than they may; change : (N,) of all clips."""
    total = float(sum(values.sum() for values in found))
    return abs(total - change[clip]) > WITHIN * np.abs(change).mean()


def ablation(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    batch: int = 64,
) -> Attribution:
    """What is lost when one step is replaced by the baseline's: the output of the whole clip minus that without it.

    Other arguments as in `integrated_gradients`      batch : changed clips computed at a time
    """
    start = _start(net, audio, video, target, baseline)

    def lost(name: str, outputs: Callable, values: torch.Tensor, other: torch.Tensor, target: int) -> torch.Tensor:
        groups = torch.arange(values.shape[TIME[name]], device=values.device)  # all values of a step go together
        groups = groups[None, None] if name == "audio" else groups[None, :, None]
        return FeatureAblation(outputs).attribute(values, other, target, None, groups, batch)

    return start.attribution_of_each("ablation", lost)


def occlusion(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    width: float = 0.2,
    batch: int = 64,
) -> Attribution:
    """What is lost when a window of steps is replaced by the baseline's: for each step the mean over its windows.

    Zeiler and Fergus (ECCV 2014), in time. Other arguments as in `integrated_gradients`
    width : of the window, a share of the clip in (0, 1]; at least one step
    batch : changed clips computed at a time
    """
    if not 0 < width <= 1:
        raise InputError(f"width is {width}: give the share of the clip that the window covers, above 0 and at most 1")
    start = _start(net, audio, video, target, baseline)

    def lost(name: str, outputs: Callable, values: torch.Tensor, other: torch.Tensor, target: int) -> torch.Tensor:
        window = list(values.shape[1:])
        window[TIME[name] - 1] = max(1, round(width * values.shape[TIME[name]]))
        slide = Occlusion(outputs).attribute
        return slide(values, tuple(window), None, other, target, perturbations_per_eval=batch)

    return start.attribution_of_each("occlusion", lost)


def branches(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    steps: int = 32,
    batch: int = 32,
) -> pd.DataFrame:
    """How much each modality raises the target's output: a row per clip, columns audio, video, change, together.

    audio, video : integrated gradients at the outputs of stage 1, before the branches meet; they add up to `change`
    change : the target's output for the clip minus that for the baseline
    together : what only the two can say together: the change by both minus the changes by each alone. It is 0 where
        the branches meet in a sum, as in a network without exchange and with a linear classifier.
    A modality that the network does not read has 0. Arguments as in `integrated_gradients`
    """
    start = _start(net, audio, video, target, baseline, "stage 1")
    integrate = IntegratedGradients(start.rest).attribute
    rows, nothing = [], tuple(start.baseline.values())
    for clip, one in enumerate(start.targets):
        found = integrate(start.clip(clip), nothing, one, n_steps=steps, internal_batch_size=batch)
        brought = {name: float(part.sum()) for name, part in zip(start.clips, found, strict=True)}
        rows.append({"audio": 0.0, "video": 0.0} | brought)
    table = pd.DataFrame(rows).assign(change=start.change(), together=0.0)
    if len(start.clips) == 2:
        table["together"] = table["change"] - start.change(without="audio") - start.change(without="video")
    return table


@memory_kept()
def grad_cam(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor, target: int | torch.Tensor) -> np.ndarray:
    """Where in each face the frame network's last maps speak for the target: (N, Tv, S, S) in [0, 1].

    Grad-CAM (Selvaraju et al., ICCV 2017), enlarged to the frames. 1 is the place that speaks most for it in the clip,
    so that its frames can be compared; a clip in which no place does is 0. Arguments as in `integrated_gradients`
    Raises InputError for features, and for a frame network without maps.
    """
    layer = last_maps(net, video)

    def logits(video: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        return net(audio, channels_last(video)).logits

    found = []
    for clip, one in enumerate(_targets(net, target, len(audio))):
        given = video[clip : clip + 1], one, audio[clip : clip + 1]
        heat = LayerGradCam(logits, layer).attribute(*given, relu_attributions=True).detach()  # (Tv, 1, s, s)
        heat = F.interpolate(heat, video.shape[-2:], mode="bilinear")[:, 0]
        found.append((heat / heat.max().clamp(min=1e-12)).cpu())
    return torch.stack(found).numpy()


def where_in_faces(heat: np.ndarray, times: np.ndarray) -> str:
    """Which frame of a clip speaks most for the answer, and in which quarter of the face, in one sentence.

    heat : (Tv, S, S) in [0, 1], as `grad_cam` finds it      times : (Tv,) of the frames, seconds
    """
    if not heat.any():
        return "No place in the faces speaks for the answer."
    frame, half = int(heat.mean(axis=(1, 2)).argmax()), heat.shape[-1] // 2
    most, total = heat[frame], heat.sum()
    quarters = {"upper left": most[:half, :half], "upper right": most[:half, -half:]}
    quarters |= {"lower left": most[-half:, :half], "lower right": most[-half:, -half:]}
    name, quarter = max(quarters.items(), key=lambda item: item[1].sum())
    return (
        f"The frame at {times[frame]:.2f} s speaks most for the answer, with {100 * most.sum() / total:.0f} % of all "
        f"(even: {100 / len(heat):.0f} %). Its {name} quarter has {100 * quarter.sum() / most.sum():.0f} % of that "
        "(even: 25 %)."
    )


def last_maps(net: AudiovisualNet, video: torch.Tensor) -> nn.Module:
    """The part of the frame network that returns its last maps (frames, C, s, s), with s from 2 to S / 8.

    Raises InputError where there is none: features, sound alone, a network that keeps no places.
    """
    seen, largest = [], video.shape[-1] // 8  # wider squares are attention maps

    def note(module: nn.Module, given: tuple, maps: torch.Tensor) -> None:
        shape = getattr(maps, "shape", ())
        if len(shape) == 4 and shape[-2] == shape[-1] and 1 < shape[-1] <= largest:
            seen.append(module)

    hooks = [part.register_forward_hook(note) for part in net.eval().frame_network.modules()]
    try:
        if video.ndim == 5 and "video" in net.fusion.modalities:
            describe(net, video[:1, :1])
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise InputError("Grad-CAM needs maps (C, s, s) of the frames: this network has none for these inputs")
    return seen[-1]


@dataclass(frozen=True)
class _Start:
    """Where captum begins in a network: the values of N clips there, those of the baseline, and what comes after.

    rest : values (B, ...) of the modalities that the network reads, in the order of `clips`, to outputs (B, outputs)
    """

    rest: Callable[..., torch.Tensor]
    clips: dict[str, torch.Tensor]  # by modality, (N, ...)
    baseline: dict[str, torch.Tensor]  # (1, ...)
    targets: list[int]  # the output that is asked for, of each clip
    name: str  # of the baseline

    def clip(self, clip: int) -> tuple[torch.Tensor, ...]:
        """The values of one clip, (1, ...) each."""
        return tuple(values[clip : clip + 1] for values in self.clips.values())

    def alone(self, modality: str, clip: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """The outputs as a function of one modality (B, ...), while the other stays that of the clip."""

        def outputs(values: torch.Tensor) -> torch.Tensor:
            kept = {name: every[clip].expand(len(values), *every.shape[1:]) for name, every in self.clips.items()}
            return self.rest(*(kept | {modality: values}).values())

        return outputs

    @torch.no_grad()
    def change(self, without: str | None = None) -> np.ndarray:
        """The target's output for each clip minus that for the baseline, (N,).

        without : a modality in which the clips are given as the baseline; None = they are whole
        """
        nothing, changes = self.rest(*self.baseline.values())[0], []
        for clip, one in enumerate(self.targets):
            values = dict(zip(self.clips, self.clip(clip), strict=True))
            values |= {without: self.baseline[without]} if without else {}
            changes.append(self.rest(*values.values())[0, one] - nothing[one])
        return torch.stack(changes).cpu().numpy()

    def attribution_of_each(self, method: str, lost: Callable[..., torch.Tensor]) -> Attribution:
        """The scores of all clips where each modality is changed while the other stays.

        lost : from a modality, the outputs as a function of it, its values, the baseline's (1, ...) and the target to
            what each value loses; all values of a step lose the same
        """

        def scores(clip: int, target: int) -> dict[str, torch.Tensor]:
            found = {}
            for name, values in self.clips.items():
                of_one = lost(name, self.alone(name, clip), values[clip : clip + 1], self.baseline[name], target)
                found[name] = _over_time(name, of_one)[..., 0]
            return found

        return self.attribution(method, scores)

    def attribution(self, method: str, scores: Callable[[int, int], dict[str, torch.Tensor]]) -> Attribution:
        """The scores of all clips; `scores` makes those of one, {modality: (1, T)}, from its number and its target."""
        found = [scores(clip, one) for clip, one in enumerate(self.targets)]
        scores = {name: torch.cat([of_one[name] for of_one in found]).detach().cpu().numpy() for name in self.clips}
        return Attribution(method, self.name, scores.get("audio"), scores.get("video"), self.change())


@memory_kept()
def _start(net: AudiovisualNet, audio, video, target, baseline: Baselines, at: str = "descriptors") -> _Start:
    """The network from there on, in eval mode; at : pixels | descriptors | stage 1"""
    net.eval()
    _check_sizes(audio, video, baseline)
    reads = [name for name in TIME if name in net.fusion.modalities]
    sides = [{"audio": audio, "video": video}, {"audio": baseline.audio, "video": baseline.video}]
    sides = [{name: side[name] for name in reads} for side in sides]  # the clips, the baseline
    if at != "pixels" and "video" in reads:
        sides = [side | {"video": describe(net, side["video"])} for side in sides]
    if at == "stage 1":
        sides = [dict(zip(TIME, _encode(net, side), strict=True)) for side in sides]
        sides = [{name: side[name] for name in reads} for side in sides]

    def rest(*values: torch.Tensor) -> torch.Tensor:
        copies = {name: value.clone() for name, value in zip(reads, values, strict=True)}
        if at == "stage 1":
            return net.fuse(copies.get("audio"), copies.get("video")).logits
        if at == "pixels" and "video" in reads:
            frames = copies["video"]
            copies["video"] = net.describe(channels_last(frames) if frames.ndim == 5 else frames)
        return net.fuse(*net.encode(copies.get("audio"), copies.get("video"))).logits

    return _Start(rest, *sides, _targets(net, target, len(audio)), baseline.name)


@torch.no_grad()
def _encode(net: AudiovisualNet, side: dict[str, torch.Tensor]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    return net.encode(side.get("audio"), side.get("video"))


def _check_sizes(audio: torch.Tensor, video: torch.Tensor, baseline: Baselines) -> None:
    for name, given, other in (("audio", audio, baseline.audio), ("video", video, baseline.video)):
        if given.shape[1:] != other.shape[1:]:
            sizes = f"{tuple(given.shape[1:])} in the clips and {tuple(other.shape[1:])} in the baseline"
            raise InputError(f"{name} is {sizes}: make the baseline from these clips")


def _targets(net: AudiovisualNet, target: int | torch.Tensor, clips: int) -> list[int]:
    """The index of the output that is asked for, for each clip."""
    target, outputs = torch.as_tensor(target), net.classifier.out_features
    targets = target.expand(clips).tolist() if target.ndim == 0 else target.tolist()
    if len(targets) != clips or any(one not in range(outputs) for one in targets):
        raise InputError(
            f"target is {targets}: give the index of one of the {outputs} outputs, or one for each of the {clips} clips"
        )
    return [int(one) for one in targets]


def _over_time(modality: str, values: torch.Tensor) -> torch.Tensor:
    """Values of a modality, time first and all else behind it: (N, T, ·)."""
    return values.movedim(TIME[modality], 1).flatten(2)
