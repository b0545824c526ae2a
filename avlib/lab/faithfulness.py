"""Faithfulness: does the answer depend on the steps that an order of importance puts first?

Steps of one modality are replaced by a baseline, most important first ("delete"), or put back into the baseline, most
important first ("insert"), while the other modality stays as it is. The score is the probability of the answer that the
network gave to the whole clip. If an order is faithful, the score falls soon in deletion and rises soon in insertion.

Four choices keep the comparison fair. All orders rank the same segments of equal length: single steps deleted here and
there harm a convolution more than the same number in a row. Ties are broken at random, so that even scores are a random
order. Random orders are averaged over several draws. Frames are described once, and their descriptors are deleted.

Sources: Petsiuk et al., RISE (BMVC 2018), for deletion and insertion; Samek et al., IEEE TNNLS 2017, for the area.
"""

import copy
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.stats import bootstrap, kendalltau, spearmanr

from avlib.batches import Clips
from avlib.lab.attribution import Baselines, integrated_gradients
from avlib.lab.clips import maps_and_vectors, step_times
from avlib.lab.truth import shares, summary
from avlib.model import AudiovisualNet, precision
from avlib.speed.memory import channels_last

RANDOM = "random"
Importance = dict[str, np.ndarray]  # modality -> (N, S): how much each segment of each clip matters


@dataclass(frozen=True)
class Material:
    """Clips whose frames are described, and what takes the place of their steps."""

    net: AudiovisualNet  # it takes descriptors in place of frames
    clips: Clips
    inputs: dict[str, torch.Tensor]  # audio (N, Ca, Ta), video (N, Tv, C)
    baseline: Baselines  # audio (1, Ca, Ta), video (1, Tv, C)
    undescribed: Baselines  # the same with its frame
    segments: dict[str, np.ndarray]  # (T,) the segment, from 0, of each step
    times: dict[str, np.ndarray]  # (T,) the centre of each step, as `step_times`
    answers: torch.Tensor  # (N,) class of the highest logit; of sentiment its sign, 1 or -1

    @property
    def ordered(self) -> list[str]:
        """The modalities with more than one segment: with one there is nothing to order."""
        return [name for name, segments in self.segments.items() if segments.max() > 0]

    def segment_means(self, name: str, values: np.ndarray) -> np.ndarray:
        """The mean (N, S) over the steps of each segment, of values (N, T)."""
        segments = self.segments[name]
        return np.stack([values[:, segments == number].mean(axis=1) for number in range(segments.max() + 1)], axis=1)

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
    The lengths of the segments of a modality differ by one step at most.
    """
    net.eval()
    given = [clips[chosen] for chosen in clips.chunks(32)]
    inputs = {
        "audio": torch.cat([audio for audio, _, _ in given]),
        "video": torch.cat([describe(net, video) for _, video, _ in given]),
    }
    described = baseline._replace(video=describe(net, baseline.video))
    steps = {"audio": inputs["audio"].shape[-1], "video": inputs["video"].shape[1]}
    parts = {name: np.arange(T) * min(T, segments) // T for name, T in steps.items()}
    times = step_times(clips.store, {}, {name: np.zeros(T) for name, T in steps.items()})
    behind = behind_frames(net)
    logits = forward(behind, inputs)[0]
    answers = logits.argmax(dim=1) if logits.shape[1] > 1 else torch.where(logits[:, 0] > 0, 1, -1)
    return Material(behind, clips, inputs, described, baseline, parts, times, answers)


@torch.inference_mode()
def describe(net: AudiovisualNet, video: torch.Tensor) -> torch.Tensor:
    """The descriptors (B, Tv, C) of frames (B, Tv, 3, S, S), float32; features unchanged."""
    with precision(video.device):
        return net.describe(channels_last(video) if video.ndim == 5 else video).float().clone()


def behind_frames(net: AudiovisualNet) -> AudiovisualNet:
    """A copy of the network that takes descriptors (B, Tv, C) in place of frames."""
    behind = copy.deepcopy(net)
    behind.frame_network = torch.nn.Identity()
    return behind


def by_attention(material: Material, net: AudiovisualNet | None = None) -> Importance:
    """The attention that each segment receives; of a fusion in one direction, for one modality alone.

    net : another network than the material's, such as one with other weights
    """
    attention = forward(net or material.net, material.inputs)[1]
    maps, vectors = maps_and_vectors({name: weights.numpy() for name, weights in attention.items()})
    times = step_times(material.clips.store, maps, vectors)
    found = {}
    for name, vector in vectors.items():
        at_inputs = [np.interp(material.times[name], times[name], row) for row in vector]
        found[name] = material.segment_means(name, np.stack(at_inputs))
    return found


def by_gradients(material: Material, net: AudiovisualNet | None = None, steps: int = 32) -> Importance:
    """The integrated gradients of the answer, mean over each segment's steps; `net` as in `by_attention`."""
    sentiment = material.net.classifier.out_features == 1
    target = torch.zeros_like(material.answers) if sentiment else material.answers
    given = material.inputs["audio"], material.inputs["video"], target, material.baseline
    found = integrated_gradients(net or material.net, *given, steps=steps)
    sign = material.answers.numpy()[:, None] if sentiment else 1
    return {name: sign * material.segment_means(name, getattr(found, name)) for name in material.segments}


def by_leaving_out(material: Material) -> Importance:
    """How much the score falls when a segment alone is deleted."""
    whole = material.score(material.inputs)[0]
    found = {}
    for name, segments in material.segments.items():
        kept = ~np.eye(segments.max() + 1, dtype=bool)[:, None].repeat(len(whole), axis=1)  # (S, N, S)
        left = [material.score(material.without(name, each))[0] for each in kept]
        found[name] = np.stack([whole - score for score in left], axis=1)
    return found


def places(importance: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The place (N, S) of every segment in the order, 0 = most important; ties are broken at random."""
    order = np.lexsort((generator.random(importance.shape), -importance), axis=-1)
    return order.argsort(axis=-1)


def curves(material: Material, orders: dict[str, Importance], draws: int = 5, seed: int = 0) -> pd.DataFrame:
    """Deletion and insertion in each order and in random order, one row per clip, modality, order, curve and share.

    orders : by name, such as {"attention": by_attention(material)}
    Columns: clip, actor, modality, order, curve (delete | insert), share of the segments deleted or inserted (0 to 1),
    score and kept as in `Material.score`; of random order their means over the draws.
    A random order inserts what its reverse deletes, so the same draws give both of its curves.
    """
    rng, tables = np.random.default_rng(seed), []
    for name in material.ordered:
        N, S = len(material.answers), material.segments[name].max() + 1
        drawn = [places(np.zeros((N, S)), rng) for _ in range(draws)]
        deleted = np.mean([_levels(material, name, place, "delete") for place in drawn], axis=0)
        found = {(RANDOM, "delete"): deleted, (RANDOM, "insert"): deleted[:, ::-1]}
        for order in (order for order in orders if name in orders[order]):
            place = places(orders[order][name], rng)
            found |= {(order, curve): _levels(material, name, place, curve) for curve in ("delete", "insert")}
        tables += [_long(material, name, *key, levels) for key, levels in found.items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _levels(material: Material, name: str, place: np.ndarray, curve: str) -> np.ndarray:
    """(2, S + 1, N) score and kept answers, with 0 to S segments deleted or inserted."""
    levels = range(place.shape[1] + 1)
    kept = [place >= level if curve == "delete" else place < level for level in levels]
    return np.stack([material.score(material.without(name, each)) for each in kept], axis=1).astype(float)


def _long(material: Material, name: str, order: str, curve: str, levels: np.ndarray) -> pd.DataFrame:
    _, count, N = levels.shape
    about = material.clips.table[["clip", "actor"]]
    rows = pd.concat([about] * count, ignore_index=True).assign(modality=name, order=order, curve=curve)
    share = np.repeat(np.linspace(0, 1, count), N)
    return rows.assign(share=share, score=levels[0].ravel(), kept=levels[1].ravel())


def interval(values: np.ndarray, actors: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Mean, low and high: the mean over actors of their mean value, and its 95 % interval by bootstrap over actors.

    Values that are NaN do not count. With one actor there is no interval: low and high are NaN.
    """
    means = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(actors)).mean().dropna().to_numpy()
    low = high = np.nan
    if len(means) > 1:
        drawn = bootstrap((means,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed))
        low, high = drawn.confidence_interval
    return {"mean": means.mean() if len(means) else np.nan, "low": float(low), "high": float(high)}


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """The areas under the curves, one row per clip, modality and order: delete, insert, and between.

    An area is the mean score along the curve. between = insert - delete: how much more the segments that the order puts
    first say than those that it puts last. It is 0 for random order.
    """
    keys = ["clip", "actor", "modality", "order"]
    rows = table.sort_values("share").groupby([*keys, "curve"], sort=False)[["share", "score"]]
    found = rows.apply(lambda curve: np.trapezoid(curve["score"], curve["share"])).unstack("curve").reset_index()
    return found.assign(between=found["insert"] - found["delete"]).rename_axis(columns=None)


def area_summary(per_clip: pd.DataFrame) -> pd.DataFrame:
    """One row per modality and order: delete and insert, their means; between, with low and high as in `interval`."""
    rows = []
    for (modality, order), every in per_clip.groupby(["modality", "order"], sort=False):
        between = interval(every["between"], every["actor"])
        means = {name: interval(every[name], every["actor"])["mean"] for name in ("delete", "insert")}
        rows.append({"modality": modality, "order": order, **means, "between": between.pop("mean"), **between})
    return pd.DataFrame(rows)


def differences(per_clip: pd.DataFrame, first: str = "attention") -> pd.DataFrame:
    """By how much the area between of `first` exceeds that of every other order: mean, low, high."""
    rows = []
    for modality, every in per_clip.groupby("modality", sort=False):
        wide = every.pivot(index=["clip", "actor"], columns="order", values="between")
        for other in wide.columns.drop(first) if first in wide else []:
            found = interval(wide[first] - wide[other], wide.index.get_level_values("actor"))
            rows.append({"modality": modality, "first": first, "other": other, **found})
    return pd.DataFrame(rows)


def agreement(material: Material, orders: dict[str, Importance]) -> pd.DataFrame:
    """How alike two orders rank the segments of a clip: a row per modality and pair.

    Columns: modality, first, second; mean, low and high of Spearman's rank correlation, as in `interval`; kendall, the
    mean of Kendall's tau; clips, those that count. 1 = the same order, 0 = unrelated, -1 = reversed. A clip in which
    one of the two scores is even has no order and does not count.
    """
    rows = []
    for name in material.ordered:
        for first, second in combinations([order for order in orders if name in orders[order]], 2):
            found = correlations(orders[first][name], orders[second][name])
            kendall = [
                kendalltau(*pair).statistic if uneven(*pair) else np.nan
                for pair in zip(orders[first][name], orders[second][name], strict=True)
            ]
            mean = np.nanmean(kendall) if np.isfinite(kendall).any() else np.nan
            counted = {"kendall": mean, "clips": int(np.isfinite(found).sum())}
            rows.append(
                {"modality": name, "first": first, "second": second}
                | interval(found, material.clips.table["actor"])
                | counted
            )
    return pd.DataFrame(rows)


def uneven(*scores: np.ndarray) -> bool:
    """Whether each of the scores (S,) differs among its segments by more than rounding."""
    return all(np.ptp(score) > 1e-6 * np.abs(score).max() for score in scores)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (N,) of the scores of each clip, both (N, S); NaN where one is even."""
    pairs = zip(first, second, strict=True)
    return np.array([spearmanr(*pair).statistic if uneven(*pair) else np.nan for pair in pairs])


def cue_shares(material: Material, orders: dict[str, Importance], cues: pd.DataFrame) -> pd.DataFrame:
    """The share of each score inside the true cue, a row per order and modality: `truth.summary`, with the order.

    Scores below 0, which speak against the answer, count as 0. A clip without any score above 0 counts as even.
    """
    tables = []
    for order, importance in orders.items():
        vectors = {}
        for name in (name for name in material.ordered if name in importance):
            positive = importance[name].clip(min=0)[:, material.segments[name]]  # (N, T)
            vectors[name] = np.where(positive.sum(axis=1, keepdims=True) > 0, positive, 1.0)
        if vectors:
            found = summary(shares(material.clips.table, vectors, material.times, cues))
            tables.append(found.assign(order=order))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def with_net(material: Material, net: AudiovisualNet) -> Material:
    """The same clips and answers with another network, and descriptors by its frame network."""
    video = torch.cat([describe(net, material.clips.video_of(chosen)) for chosen in material.clips.chunks(32)])
    baseline = material.undescribed._replace(video=describe(net, material.undescribed.video))
    inputs = material.inputs | {"video": video}
    return replace(material, net=behind_frames(net), inputs=inputs, baseline=baseline)
