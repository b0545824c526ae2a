"""Perturbations: steps of the input replaced, attention replaced, weights shuffled. What becomes of the answer?

Steps are replaced by those of a baseline, a segment at a time. Frames are described once, and descriptors are replaced.

The network knows nothing of this: attention is replaced where PyTorch computes a softmax.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from avlib.fusion import Fusion
from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.attention.attribution import answers
from workbook.attention.vectors import step_times
from workbook.evaluate.baselines import Baselines, baselines
from workbook.evaluate.evaluation import as_predictions, check_attention
from workbook.evaluate.metrics import right
from workbook.train.batches import Clips
from workbook.train.descriptors import behind_frames, describe

SOFTMAX = (torch.ops.aten._softmax, torch.ops.aten.softmax)  # the mode of autograd decides which is called
Importance = dict[str, np.ndarray]  # modality -> (N, S): how much each segment of each clip matters
Inputs = dict[str, torch.Tensor]  # audio (N, Ca, Ta), video (N, Tv, C): descriptors or features


@dataclass(frozen=True)
class SegmentedClips:
    """Inputs, segments and baseline of a perturbation, and the answers to the unchanged clips."""

    net: AudiovisualNet
    clips: Clips
    inputs: Inputs
    baseline: Baselines  # audio (1, Ca, Ta), video (1, Tv, C)
    segments: dict[str, np.ndarray]  # (T,) the segment, from 0, of each step
    times: dict[str, np.ndarray]  # (T,) the centre of each step, as `step_times`
    target: torch.Tensor  # (N,) the output that gives the answer, as `answers`
    sign: torch.Tensor  # (N,)

    @property
    def ordered(self) -> list[str]:
        """The modalities with more than one segment: with one there is nothing to order."""
        return [name for name, segments in self.segments.items() if segments.max() > 0]

    @torch.inference_mode()
    def forward(self, inputs: Inputs, size: int = 128) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """The logits (N, outputs) and the attention tensors (N, …) for all inputs, on the CPU."""
        net, outputs = behind_frames(self.net), []
        for audio, video in zip(inputs["audio"].split(size), inputs["video"].split(size), strict=True):
            with precision(audio.device):
                outputs.append(net(audio, video))
        tensors = {name: torch.cat([o.attention[name].float().cpu() for o in outputs]) for name in outputs[0].attention}
        logits = torch.cat([output.logits.float().cpu() for output in outputs])
        return logits, {name: tensor.numpy() for name, tensor in tensors.items()}

    def score(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """How much the network still says its answer (N,), and whether it is still the answer (N,) bool.

        The first is the probability of the answer; of sentiment the score times the sign of the answer.
        """
        logits = self.forward(inputs)[0]
        outputs = logits.softmax(dim=1) if logits.shape[1] > 1 else logits
        scores = self.sign * outputs.gather(1, self.target[:, None])[:, 0]
        return scores.numpy(), self.is_answer(logits)

    def is_answer(self, logits: torch.Tensor) -> np.ndarray:
        """Whether logits (N, outputs) give the answers to the unchanged clips, (N,) bool."""
        target, sign = answers(logits)
        return ((target == self.target) & (sign == self.sign)).numpy()

    def replaced(self, name: str, kept: np.ndarray) -> Inputs:
        """The inputs with the baseline in place of some segments of a modality; kept (N, S): True = unchanged."""
        steps = torch.from_numpy(kept[:, self.segments[name]]).to(self.inputs[name].device)  # (N, T)
        steps = steps[:, None] if name == "audio" else steps[..., None]
        return self.inputs | {name: torch.where(steps, self.inputs[name], getattr(self.baseline, name))}

    def means(self, name: str, values: np.ndarray) -> np.ndarray:
        """The mean (N, S) over the steps of each segment, of values (N, T)."""
        segments = self.segments[name]
        return np.stack([values[:, segments == number].mean(axis=1) for number in range(segments.max() + 1)], axis=1)

    def sums(self, name: str, values: np.ndarray) -> np.ndarray:
        """The sum (N, S) over the steps of each segment, of values (N, T)."""
        return self.means(name, values) * np.bincount(self.segments[name])


def segment_clips(net: AudiovisualNet, clips: Clips, baseline: str = "mean", most: int = 20) -> SegmentedClips:
    """The clips with their frames described, in at most `most` segments.

    baseline : a name of `evaluate.baselines.BASELINES`      most : as in `equal_segments`
    Raises InputError where the fusion has no attention or there is no clip.
    """
    check_attention(net, clips)
    net.eval()
    batches = [(audio, describe(net, video)) for audio, video, _ in clips.batches(32)]
    inputs = dict(zip(("audio", "video"), map(torch.cat, zip(*batches, strict=True)), strict=True))
    nothing = baselines(clips, baseline)
    nothing = nothing._replace(video=describe(net, nothing.video))
    steps = {"audio": inputs["audio"][:, 0], "video": inputs["video"][..., 0]}  # (N, T)
    segments = {name: equal_segments(values.shape[1], most) for name, values in steps.items()}
    segmented = SegmentedClips(net, clips, inputs, nothing, segments, step_times(clips.store, steps), None, None)
    target, sign = answers(segmented.forward(inputs)[0])
    return replace(segmented, target=target, sign=sign)


def equal_segments(steps: int, most: int) -> np.ndarray:
    """The segment (T,), from 0, of each step: at most `most` segments, as equal as whole steps allow.

    24 steps into at most 20 are 12 segments of 2, not 16 of 1 and 4 of 2. Lengths differ by one step at most.
    """
    length = -(-steps // most)
    return np.arange(steps) * -(-steps // length) // steps


def draw_clips(clips: Clips, count: int) -> Clips:
    """At most `count` of the clips, drawn at random, about as many of each actor; 0 = all."""
    table = clips.table.sample(frac=1, random_state=0)
    table = table.iloc[table.groupby("actor").cumcount().argsort(kind="stable")]
    return clips.where(clips.table.index.isin(table.index[: count or None]))


def by_leaving_out(segmented: SegmentedClips) -> Importance:
    """How much the score falls when a segment alone is deleted."""
    score, importance = segmented.score(segmented.inputs)[0], {}
    for name, segments in segmented.segments.items():
        kept = ~np.eye(segments.max() + 1, dtype=bool)[:, None].repeat(len(score), axis=1)  # (S, N, S)
        without = [segmented.score(segmented.replaced(name, each))[0] for each in kept]
        importance[name] = np.stack([score - left for left in without], axis=1)
    return importance


def ranks(importance: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The rank (N, S) of every segment, 0 = most important; ties are broken at random."""
    largest = np.abs(importance).max(axis=1, keepdims=True)
    importance = np.round(importance / np.where(largest > 0, largest, 1), 5)
    order = np.lexsort((generator.random(importance.shape), -importance), axis=-1)
    return order.argsort(axis=-1)


def random_ranks(segmented: SegmentedClips, name: str, draws: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Ranks (N, S) of a modality's segments in random order."""
    even = np.zeros((len(segmented.clips), segmented.segments[name].max() + 1))
    return [ranks(even, generator) for _ in range(draws)]


def levels(segmented: SegmentedClips, name: str, rank: np.ndarray, curve: str) -> np.ndarray:
    """(2, S + 1, N) score and kept answers with 0 to S segments changed; curve : delete | insert (into the baseline)"""
    counts = range(rank.shape[1] + 1)
    kept = [rank >= count if curve == "delete" else rank < count for count in counts]
    return np.stack([segmented.score(segmented.replaced(name, each)) for each in kept], axis=1).astype(float)


class replaced_attention(TorchDispatchMode):
    """A block in which every softmax returns other weights; each row still sums to 1. `count` says how many did.

    weights : from scores, whose first axis is the batch or batch times heads, and the softmax, to other weights
    It is no TorchFunctionMode, because MULT's attention computes its softmax inside a function of PyTorch.
    """

    def __init__(self, weights: Callable[[torch.Tensor, Callable], torch.Tensor]):
        super().__init__()
        self.weights, self.count = weights, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket not in SOFTMAX:
            return function(*args, **(kwargs or {}))
        self.count += 1
        scores, *rest = args
        return self.weights(scores, lambda scores: function(scores, *rest, **(kwargs or {})))


def even_attention() -> replaced_attention:
    """A block in which attention is even; keys that are hidden (scores of minus infinity) stay hidden."""
    return replaced_attention(lambda scores, softmax: softmax(torch.where(scores.isneginf(), scores, 0)))


def swapped_attention(partner: torch.Tensor) -> replaced_attention:
    """A block in which each clip of a batch gets the attention of another one.

    partner : (B,) for each clip the place of the other in the batch
    """

    def weights(scores: torch.Tensor, softmax: Callable) -> torch.Tensor:
        own = softmax(scores)  # (B, …), or (B H, …) in nn.MultiheadAttention
        return own.unflatten(0, (len(partner), -1))[partner].flatten(0, 1)

    return replaced_attention(weights)


def attention_changed(segmented: SegmentedClips, draws: int = 3) -> pd.DataFrame:
    """How each clip's answer changes if all attention of the network is replaced: a row per clip and change.

    Changes: "attention even"; "attention of another clip", drawn `draws` times; and, to compare with, "audio deleted"
    and "video deleted", which put the baseline in place of a whole modality.
    Columns: clip, actor, change, changed (the share of draws with another answer), right_before and right (whether the
    answer is the label, NaN for a sentiment of 0).
    Raises InputError where the fusion computes no softmax.
    """
    inputs, generator = segmented.inputs, torch.Generator().manual_seed(0)
    swaps = [swapped_attention(partners(len(segmented.clips), generator)) for _ in range(draws)]
    trials = [("attention even", even_attention(), inputs)]
    trials += [("attention of another clip", swap, inputs) for swap in swaps]
    for name, values in inputs.items():
        deleted = getattr(segmented.baseline, name).expand_as(values)
        trials.append((f"{name} deleted", nullcontext(), inputs | {name: deleted}))
    right_before, tables = right(as_predictions(segmented.clips, segmented.forward(inputs)[0])), []
    for change, block, values in trials:
        with block:
            logits = segmented.forward(values, size=len(right_before))[0]
        if isinstance(block, replaced_attention) and not block.count:
            name = type(segmented.net.fusion).__name__
            raise InputError(f"{name} computes no softmax: its attention cannot be replaced")
        table = as_predictions(segmented.clips, logits, change=change, right_before=right_before)
        tables.append(table.assign(changed=~segmented.is_answer(logits), right=right(table)))
    keys = ["change", "clip", "actor"]
    return pd.concat(tables).groupby(keys, sort=False)[["changed", "right_before", "right"]].mean().reset_index()


def partners(clips: int, generator: torch.Generator) -> torch.Tensor:
    """For each clip another one, drawn at random; each is drawn once."""
    order = torch.randperm(clips, generator=generator)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def layers(net: AudiovisualNet) -> dict[str, list[nn.Parameter]]:
    """The weights of each layer, from the classifier back to the inputs."""
    branches = [getattr(branch, "branch", branch) for branch in (net.audio, net.video)]  # behind a stand-in
    later = [branch.later for branch in branches if hasattr(branch, "later")]
    early = type(net.fusion).after_stage1 is not Fusion.after_stage1  # True = the fusion lies before stage 2
    middle = [("fusion", [net.fusion]), ("stage 2", later)]
    groups = [("classifier", [net.classifier]), ("dense head", [net.dense]), *(middle[::-1] if early else middle)]
    groups += [("stage 1", [net.audio, net.video]), ("frame network", [net.frame_network])]
    weights, ids = {}, set()
    for name, modules in groups:
        own = [weight for module in modules for weight in module.parameters() if id(weight) not in ids]
        ids |= {id(weight) for weight in own}
        weights |= {name: own} if own else {}
    return weights


@torch.no_grad()
def shuffle(weights: list[nn.Parameter], generator: torch.Generator) -> None:
    """Shuffles the values within each tensor of weights: their distribution stays, what was learnt goes."""
    for weight in weights:
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.copy_(weight.flatten()[order].view_as(weight))
