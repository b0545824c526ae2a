"""What speaks for an answer: integrated gradients of every time step of sound and picture, by captum.

A score says how much a step raises the target: an output of the network, which is a class's logit or the score of
sentiment. Positive scores speak for it. The clip is compared with a baseline: an empty picture and an empty sound.
Another baseline gives other scores, so a baseline has a name, and every result carries it.

    integrated_gradients    a score for each step; together they are the change from the baseline to the clip
    branches                how much of the change each modality brings

A frame network sees each frame alone, so a clip's frames are described once. `train.descriptors.describe_once` does it
for all clips of a split. Networks are put into eval mode. From the descriptors on they compute in float32, also on a
GPU: in bfloat16, gradients do not add up.

In-place ReLUs are a trap. captum gives a network leaves of the graph, which no in-place operation may change. In
captum 0.9 such a ReLU breaks LayerIntegratedGradients at the layer before it, and all methods on a network that begins
with it. Here captum begins at the inputs, after the frame network or after stage 1, and the rest works on copies.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients

from avlib.model import AudiovisualNet
from workbook.evaluate.baselines import TIME, Baselines
from workbook.train.batches import Clips
from workbook.train.descriptors import behind_frames, describe
from workbook.train.memory import channels_last, memory_kept

log = logging.getLogger(__name__)
STEPS = 32  # of integrated gradients
ATTEMPTS = (32, 64, 128, 256)  # steps, until the scores add up
WITHIN = 0.05  # by how much the scores may miss the change, of the mean change of the clips
CHUNK = 8  # clips read at a time
Values = tuple[torch.Tensor, ...]  # of each modality that a network reads, audio first


@dataclass(frozen=True)
class Attribution:
    """How much each input step of N clips speaks for the target; None = a modality that the network does not read."""

    baseline: str  # its name
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
    steps: int | None = None,
    batch: int | None = None,
    pixels: bool = False,
) -> Attribution:
    """Integrated gradients (Sundararajan et al., ICML 2017), summed over all values of a time step.

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
    integrate, batch = IntegratedGradients(start.outputs).attribute, batch or (4 if pixels else 32)
    changes, scores = start.change(), {name: [] for name in start.modalities}
    tolerance = WITHIN * np.abs(changes).mean()
    for (values, output), change in zip(start, changes, strict=True):
        for points in [steps] if steps else ATTEMPTS:
            gradients = integrate(values, start.baseline, output, n_steps=points, internal_batch_size=batch)
            if abs(float(sum(part.sum() for part in gradients)) - change) <= tolerance:
                break
        for name, part in zip(start.modalities, gradients, strict=True):
            scores[name].append(part.movedim(TIME[name], 1).flatten(2).sum(dim=2))
    scores = {name: torch.cat(parts).detach().cpu().numpy() for name, parts in scores.items()}
    result = Attribution(baseline.name, scores.get("audio"), scores.get("video"), changes)
    if not steps and result.incomplete > WITHIN:
        text = "integrated gradients miss the change by %.0f %% with %d steps: do not add them up, or give more steps"
        log.warning(text, 100 * result.incomplete, ATTEMPTS[-1])
    return result


@without_tf32()
def branches(
    net: AudiovisualNet,
    audio: torch.Tensor,
    video: torch.Tensor,
    target: int | torch.Tensor,
    baseline: Baselines,
    steps: int = STEPS,
    batch: int = 32,
) -> pd.DataFrame:
    """How much each modality raises the target: a row per clip, columns audio, video, change, together.

    audio, video : integrated gradients at the outputs of stage 1, before the branches meet; they add up to `change`
    change : the target's output for the clip minus that for the baseline
    together : what only the two can say together: the change by both minus the changes by each alone. It is 0 where
        the branches meet in a sum, as in a network without exchange and with a linear classifier.
    A modality that the network does not read has 0. Arguments as in `integrated_gradients`
    """
    start = _start(net, audio, video, target, baseline, "stage 1")
    integrate, rows = IntegratedGradients(start.outputs).attribute, []
    for values, output in start:
        parts = integrate(values, start.baseline, output, n_steps=steps, internal_batch_size=batch)
        rows.append({name: float(part.sum()) for name, part in zip(start.modalities, parts, strict=True)})
    table = pd.DataFrame(rows).reindex(columns=[*TIME], fill_value=0.0).assign(change=start.change(), together=0.0)
    if len(start.modalities) == 2:
        table["together"] = table["change"] - start.change(without="audio") - start.change(without="video")
    return table


# ------------------------------------------------------------------------------------------ of the network's own answer


def answers(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output (N,) that gives each answer, and its sign (N,): the likeliest class and 1; of sentiment 0 and ±1."""
    if logits.shape[1] > 1:
        return logits.argmax(dim=1), torch.ones(len(logits))
    return torch.zeros(len(logits), dtype=torch.long), torch.where(logits[:, 0] > 0, 1.0, -1.0)


def answer_gradients(net: AudiovisualNet, clips: Clips, baseline: Baselines, steps: int = STEPS) -> dict:
    """The integrated gradients of each clip's own answer: {"audio": (N, Ta), "video": (N, Tv)}, one or both."""
    tables = []
    for arguments, sign in _with_answers(net, clips, baseline):
        scores = integrated_gradients(*arguments, steps=steps)
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
    """A few clips at a time: the arguments of `branches` for their own answers, and the signs of these.

    Frames are described once, and the network takes descriptors.
    """
    behind, net = behind_frames(net.eval()), net
    described = baseline._replace(video=describe(net, baseline.video))
    for audio, video, _ in clips.batches(CHUNK):
        video = describe(net, video)
        with torch.no_grad():
            target, sign = answers(behind(audio, video).logits.cpu())
        yield (behind, audio, video, target, described), sign.numpy()


# -------------------------------------------------------------------------------------------- where captum begins


@dataclass(frozen=True)
class _Start:
    """Where captum begins in a network: the values of N clips there, those of the baseline, and the rest of the net."""

    modalities: list[str]  # that the network reads, in the order of all values
    outputs: Callable[..., torch.Tensor]  # from values (B, ...) to outputs (B, outputs)
    clips: Values  # (N, ...)
    baseline: Values  # (1, ...)
    targets: list[int]  # an output for each clip

    def __iter__(self) -> Iterator[tuple[Values, int]]:
        """The values (1, ...) and the target of each clip."""
        for clip, target in enumerate(self.targets):
            yield tuple(values[clip : clip + 1] for values in self.clips), target

    @torch.no_grad()
    def change(self, without: str | None = None) -> np.ndarray:
        """The target's output for each clip minus that for the baseline, (N,).

        without : a modality in which the clips are replaced by the baseline
        """
        nothing, changes = self.outputs(*self.baseline)[0], []
        for values, target in self:
            parts = zip(self.modalities, values, self.baseline, strict=True)
            values = [base if name == without else own for name, own, base in parts]
            changes.append(self.outputs(*values)[0, target] - nothing[target])
        return torch.stack(changes).cpu().numpy()


@memory_kept()
@torch.no_grad()
def _start(net: AudiovisualNet, audio, video, target, baseline: Baselines, at: str = "descriptors") -> _Start:
    """The network from there on, in eval mode; at : pixels | descriptors | stage 1"""
    net.eval()
    reads = [name for name in TIME if name in net.fusion.modalities]

    def rest(*values: torch.Tensor) -> torch.Tensor:
        copies = {name: value.clone() for name, value in zip(reads, values, strict=True)}
        if at == "pixels" and "video" in reads:
            frames = copies["video"]
            copies["video"] = net.describe(channels_last(frames) if frames.ndim == 5 else frames)
        branches = copies.get("audio"), copies.get("video")
        return net.fuse(*(branches if at == "stage 1" else net.encode(*branches))).logits

    def values_at(audio: torch.Tensor, video: torch.Tensor) -> Values:
        sides = {"audio": audio, "video": video}
        if at != "pixels" and "video" in reads:
            sides["video"] = describe(net, video)
        if at == "stage 1":
            read = [sides[name] if name in reads else None for name in TIME]
            sides = dict(zip(TIME, net.encode(*read), strict=True))
        return tuple(sides[name] for name in reads)

    targets = output_of_each(target, len(audio))
    return _Start(reads, rest, values_at(audio, video), values_at(*baseline[:2]), targets)


def output_of_each(target: int | torch.Tensor, clips: int) -> list[int]:
    """The index of the output that the scores of each clip speak for."""
    return torch.as_tensor(target).expand(clips).tolist()
