"""How important each moment of a clip is: by attention, by integrated gradients, by leaving it out.

The moments are segments of equal length. Frames are described once; from there on a network takes descriptors.

Where whole steps do not divide equally, a segment may be a step longer than another. What it then has is, by method:

    attention             the mean over its steps, 1 = even: as a sum, even attention would put long segments first
    integrated gradients  the sum over its steps, since all of them are deleted: the sums add up to the whole change
    leave one out         measured as it is deleted, whole
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.attention.attribution import branches, integrated_gradients
from workbook.attention.vectors import relative_vectors, step_times
from workbook.evaluate.baselines import Baselines
from workbook.evaluate.evaluation import check_attention
from workbook.train.batches import Clips
from workbook.train.descriptors import describe, with_frame_network

Importance = dict[str, np.ndarray]  # modality -> (N, S): how much each segment of each clip matters


@dataclass(frozen=True)
class Material:
    """Clips whose frames are described, and what takes the place of their steps."""

    net: AudiovisualNet  # it takes descriptors in place of frames
    clips: Clips
    inputs: dict[str, torch.Tensor]  # audio (N, Ca, Ta), video (N, Tv, C)
    baseline: Baselines  # audio (1, Ca, Ta), video (1, Tv, C)
    undescribed: Baselines  # the same, with frames
    segments: dict[str, np.ndarray]  # (T,) the segment, from 0, of each step
    times: dict[str, np.ndarray]  # (T,) the centre of each step, as `step_times`
    answers: torch.Tensor  # (N,) to the whole clips, as `answers`

    @property
    def ordered(self) -> list[str]:
        """The modalities with more than one segment: with one there is nothing to order."""
        return [name for name, segments in self.segments.items() if segments.max() > 0]

    def segment_means(self, name: str, values: np.ndarray) -> np.ndarray:
        """The mean (N, S) over the steps of each segment, of values (N, T)."""
        segments = self.segments[name]
        return np.stack([values[:, segments == number].mean(axis=1) for number in range(segments.max() + 1)], axis=1)

    def segment_sums(self, name: str, values: np.ndarray) -> np.ndarray:
        """The sum (N, S) over the steps of each segment, of values (N, T)."""
        return self.segment_means(name, values) * np.bincount(self.segments[name])

    def without(self, name: str, kept: np.ndarray) -> dict[str, torch.Tensor]:
        """The inputs with the baseline in place of some segments of a modality; kept (N, S): True = unchanged."""
        steps = torch.from_numpy(kept[:, self.segments[name]]).to(self.inputs[name].device)  # (N, T)
        steps = steps[:, None] if name == "audio" else steps[..., None]
        return self.inputs | {name: torch.where(steps, self.inputs[name], getattr(self.baseline, name))}

    def score(self, inputs: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """How much the network still says its answer (N,), and whether it is still the answer (N,) bool.

        The first is the probability of the answer; of sentiment the score times the sign of the answer.
        """
        logits = forward(self.net, inputs)[0]
        if logits.shape[1] == 1:
            scores = logits[:, 0] * self.answers
            return scores.numpy(), (scores > 0).numpy()
        scores = logits.softmax(dim=1).gather(1, self.answers[:, None])[:, 0]
        return scores.numpy(), (logits.argmax(dim=1) == self.answers).numpy()


@torch.inference_mode()
def forward(net: AudiovisualNet, inputs: dict[str, torch.Tensor], size: int = 128) -> tuple[torch.Tensor, dict]:
    """The logits (N, outputs) and the attention tensors (N, …) of all clips, on the CPU."""
    outputs = []
    for audio, video in zip(inputs["audio"].split(size), inputs["video"].split(size), strict=True):
        with precision(audio.device):
            outputs.append(net(audio, video))
    attention = {name: torch.cat([o.attention[name].float().cpu() for o in outputs]) for name in outputs[0].attention}
    return torch.cat([o.logits.float().cpu() for o in outputs]), attention


def some_clips(clips: Clips, count: int, seed: int = 0) -> Clips:
    """At most `count` of the clips, drawn at random, about as many of each actor; 0 = all."""
    drawn = clips.table.sample(frac=1, random_state=seed)
    drawn = drawn.iloc[drawn.groupby("actor").cumcount().argsort(kind="stable")]
    return clips.where(clips.table.index.isin(drawn.index[: count or None]))


def prepare(net: AudiovisualNet, clips: Clips, baseline: Baselines, segments: int = 20) -> Material:
    """The clips with their frames described, divided into at most this many segments.

    baseline : of these clips, as `attribution.baselines` makes it
    segments : fewer, where the steps then divide equally: 24 steps into at most 20 are 12 segments of 2
    Raises InputError where there are no clips.
    """
    if not len(clips):
        raise InputError("no clip has both modalities")
    net.eval()
    given = [clips[chosen] for chosen in clips.chunks(32)]
    inputs = {
        "audio": torch.cat([audio for audio, _, _ in given]),
        "video": torch.cat([describe(net, video) for _, video, _ in given]),
    }
    described = baseline._replace(video=describe(net, baseline.video))
    steps = {"audio": inputs["audio"].shape[-1], "video": inputs["video"].shape[1]}
    parts = {name: equal_parts(T, segments) for name, T in steps.items()}
    times = step_times(clips.store, {name: np.zeros(T) for name, T in steps.items()})
    behind = behind_frames(net)
    logits = forward(behind, inputs)[0]
    return Material(behind, clips, inputs, described, baseline, parts, times, answers(logits))


def equal_parts(steps: int, most: int) -> np.ndarray:
    """The segment (T,), from 0, of each step: at most `most` segments, as equal as whole steps allow.

    24 steps into at most 20 are 12 segments of 2, not 16 of 1 and 4 of 2. Lengths differ by one step at most.
    """
    length = -(-steps // most)
    return np.arange(steps) * -(-steps // length) // steps


def answers(logits: torch.Tensor) -> torch.Tensor:
    """The class (N,) of the highest logit; of sentiment (N, 1) the sign, 1 or -1."""
    return logits.argmax(dim=1) if logits.shape[1] > 1 else torch.where(logits[:, 0] > 0, 1, -1)


def behind_frames(net: AudiovisualNet) -> AudiovisualNet:
    """The network with the same weights that takes descriptors (B, Tv, C) in place of frames."""
    return with_frame_network(net, torch.nn.Identity())


def by_attention(material: Material, net: AudiovisualNet | None = None) -> Importance:
    """The attention that each segment's steps receive in the mean, 1 = even; of one modality alone, if one attends.

    Each step's attention is compared with what even attention gives to this step, as `relative_vectors` has it.
    net : another network than the material's, such as one with other weights
    Raises InputError where the fusion has no attention.
    """
    check_attention(net or material.net, material.clips)
    attention = forward(net or material.net, material.inputs)[1]
    vectors = relative_vectors({name: weights.numpy() for name, weights in attention.items()})
    times = step_times(material.clips.store, vectors)
    found = {}
    for name, vector in vectors.items():
        at_inputs = [np.interp(material.times[name], times[name], row) for row in vector]
        found[name] = material.segment_means(name, np.stack(at_inputs))
    return found


def by_gradients(material: Material, net: AudiovisualNet | None = None, steps: int = 32) -> Importance:
    """The integrated gradients of the answer, summed over each segment's steps; `net` as in `by_attention`."""
    target, sign = _asked(material)
    given = material.inputs["audio"], material.inputs["video"], target, material.baseline
    found = integrated_gradients(net or material.net, *given, steps=steps)
    return {name: sign[:, None] * material.segment_sums(name, getattr(found, name)) for name in material.segments}


def by_branches(material: Material, steps: int = 32) -> pd.DataFrame:
    """How much each modality raises the answer's output: as `attribution.branches`, with each clip's emotion."""
    target, sign = _asked(material)
    found = branches(material.net, material.inputs["audio"], material.inputs["video"], target, material.baseline, steps)
    return found.mul(sign, axis=0).assign(emotion=material.clips.table["emotion"].to_numpy())


def _asked(material: Material) -> tuple[torch.Tensor, np.ndarray]:
    """The output (N,) that gives the answer, and its sign (N,): -1 where the answer is a sentiment below 0."""
    if material.net.classifier.out_features == 1:
        return torch.zeros_like(material.answers), material.answers.numpy()
    return material.answers, np.ones(len(material.answers))


def by_leaving_out(material: Material) -> Importance:
    """How much the score falls when a segment alone is deleted."""
    whole = material.score(material.inputs)[0]
    found = {}
    for name, segments in material.segments.items():
        kept = ~np.eye(segments.max() + 1, dtype=bool)[:, None].repeat(len(whole), axis=1)  # (S, N, S)
        left = [material.score(material.without(name, each))[0] for each in kept]
        found[name] = np.stack([whole - score for score in left], axis=1)
    return found


def with_net(material: Material, net: AudiovisualNet) -> Material:
    """The same clips and answers with another network, and descriptors by its frame network."""
    video = torch.cat([describe(net, material.clips.video_of(chosen)) for chosen in material.clips.chunks(32)])
    baseline = material.undescribed._replace(video=describe(net, material.undescribed.video))
    inputs = material.inputs | {"video": video}
    return replace(material, net=behind_frames(net), inputs=inputs, baseline=baseline)
