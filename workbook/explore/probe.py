"""One clip, changed in many ways: a network's answer, its attention, and what speaks for the answer.

Only what a change touches is computed again. The frames of a clip are described once for each gain and each noise of
the picture. Masked frames are black, and black is described once.

A `Change` is one value. Where a condition of `evaluate.conditions` does the same, the results agree: `shift` is
`Shift`, `voice` the audio of another clip, a gain of 0 and a mask over everything are `Missing`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from math import inf
from threading import Lock

import numpy as np
import pandas as pd
import torch

from avlib.model import AudiovisualNet, precision
from workbook.attention.truth import inside
from workbook.attention.vectors import MAP_ONTO, map_name, relative_vector, step_times
from workbook.data.media import read_audio
from workbook.data.window import SAMPLE_RATE, cut_window, span_of
from workbook.evaluate.baselines import Baselines
from workbook.evaluate.conditions import Condition, Context, paper_conditions, shifted_audio
from workbook.task import Sentiment, Task
from workbook.text import in_markdown
from workbook.train.batches import Clips
from workbook.train.descriptors import TILE, behind_frames, describe, describe_black

POINTS = 16  # of integrated gradients
SEED = 1  # of all noise, so that the same change is the same clip
THREE = tuple(paper_conditions("none")[:3])  # AV, A, V
CACHED = 64  # answers
DESCRIBED = 256  # descriptions of a clip's frames, 60 kB each: enough for all places of two sliders
PIECE = TILE  # frames described at a time: a step of the explorer waits for one piece at most; fewer take as long
Span = tuple[float, float]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Change:
    """How a clip is changed before a network gets it. The default changes nothing."""

    audio_gain: float = 1.0  # the input is multiplied by it, as soft modality dropout does; in [0, 1]
    video_gain: float = 1.0
    audio_noise: float = inf  # decibels that the clip is louder than the noise; inf = no noise
    video_noise: float = inf
    shift: float = 0.0  # how much later the window of the sound begins: seconds, of features a share of the clip
    audio_masked: tuple[Span, ...] = ()  # spans on the clock of the window that are zeros in the input
    video_masked: tuple[Span, ...] = ()
    voice: str = ""  # the clip whose sound is heard; "" = its own

    def of(self, modality: str) -> "Change":
        """The part that concerns one modality: two changes with the same part sound, or look, the same."""
        names = [field.name for field in fields(self) if field.name.startswith(modality)]
        names += ["shift", "voice"] if modality == "audio" else []
        return Change(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Subject:
    """A trained network, with its answers to the test clips."""

    net: AudiovisualNet
    predictions: pd.DataFrame | None = None  # of the test clips, to choose clips by the answer; None = not known
    conditions: Sequence[Condition] = THREE  # AV, A and V as the network was tested
    about: Sequence[str] = ()  # sentences: what it has learnt from, and how well it does


@dataclass(frozen=True)
class Answer:
    """A network's outputs for a clip, and its attention with both modalities."""

    outputs: dict[str, np.ndarray]  # condition -> probabilities (classes,), or the score of sentiment (1,)
    maps: dict[str, np.ndarray]  # direction -> (H, Tq, Tk)
    vectors: dict[str, np.ndarray]  # modality -> (T,) in multiples of even attention
    times: dict[str, np.ndarray]  # modality -> step centres (T,) of maps and vectors, on the clock of the window

    @property
    def best(self) -> int:
        """The index of the class with the highest probability with both modalities; 0 for a score."""
        return int(self.outputs["AV"].argmax())

    @property
    def sign(self) -> int:
        """-1 for a negative score, which lower outputs speak for; else 1."""
        return 1 if self.outputs["AV"][self.best] > 0 else -1

    @property
    def heads(self) -> dict[str, tuple[str, int]]:
        """The direction and the head (from 0) of each map, by its name, such as `audio looks at video, head 1`."""
        return {
            map_name(direction) + f", head {head + 1}" * (len(maps) > 1): (direction, head)
            for direction, maps in self.maps.items()
            for head in range(len(maps))
        }


class Inputs:
    """The audio and video that a network gets of a changed clip, and its sound for a listener."""

    def __init__(self, clips: Clips):
        """clips : among which the clip and its voice are found by name"""
        self.clips = replace(clips, modalities=("audio", "video"))
        self.table = clips.table.set_index("clip", drop=False)
        self.place = {name: place for place, name in enumerate(clips.table["clip"])}
        self.has_sound = "audio_path" in clips.table  # a corpus of features has none
        self.times = step_times(clips.store, {name: np.empty(T) for name, T in self.clips.steps.items()})
        self.samples = lru_cache(8)(lambda clip: read_audio(self.table.loc[clip, "audio_path"]))
        self._video = lru_cache(2)(self._noisy_video)  # 9 MB each
        self._window = lru_cache(8)(self._noisy_window)
        self._audio = lru_cache(16)(self._noisy_audio)

    @property
    def names(self) -> list[str]:
        """The names of a network's outputs: the classes, or `sentiment`."""
        task = self.clips.task
        return ["sentiment"] if isinstance(task, Sentiment) else list(task.names)

    def truth(self, clip: str) -> str:
        """The true class of a clip, or its true score."""
        label = self.clips.labels[self.place[clip]].item()
        return f"{label:+.2f}" if isinstance(self.clips.task, Sentiment) else self.names[label]

    def chosen(self, clip: str) -> torch.Tensor:
        """The position (1,) of a clip."""
        return torch.tensor([self.place[clip]])

    def audio(self, clip: str, change: Change) -> torch.Tensor:
        """The audio (1, C, Ta) of a changed clip. Raises InputError where a sound cannot be read any more."""
        audio = self._audio(change.voice or clip, change.shift, change.audio_noise) * change.audio_gain
        audio[..., self.masked("audio", change)] = 0
        return audio

    def video(self, clip: str, change: Change) -> torch.Tensor:
        """The video (1, Tv, 3, S, S) in [0, 1], or features (1, Tv, C), of a changed clip."""
        video = self._video(clip, change.video_noise) * change.video_gain
        video[:, self.masked("video", change)] = 0
        return video

    def sound(self, clip: str, change: Change) -> np.ndarray | None:
        """The 3.6 s (79380,) of sound that the network hears, silent where masked; None where there is none."""
        name = change.voice or clip
        if not self.has_sound or not self.table.loc[name, "has_audio"]:
            return None
        samples = self._window(name, change.shift, change.audio_noise).copy()
        for start, end in change.audio_masked:
            samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
        return samples

    def masked(self, modality: str, change: Change) -> np.ndarray:
        """(T,) bool, True for the input steps whose centre is in a masked span."""
        masked = np.zeros(len(self.times[modality]), bool)
        for span in getattr(change, f"{modality}_masked"):
            masked |= inside(self.times[modality], span)
        return masked

    def _noisy_video(self, clip: str, noise: float) -> torch.Tensor:
        """The video (1, Tv, ...) of a clip, noisy, before masks and gain."""
        values = self.clips.video_of(self.chosen(clip))
        if noise == inf:
            return values
        noisy = values + _noise(values, noise)
        return noisy.clamp(0, 1) if values.ndim == 5 else noisy

    def _noisy_audio(self, name: str, shift: float, noise: float) -> torch.Tensor:
        """The audio (1, C, Ta) of a clip, shifted and noisy, before masks and gain."""
        chosen = self.chosen(name)
        if not self.table.loc[name, "has_audio"] or (shift == 0 and noise == inf):
            return self.clips.audio_of(chosen)
        if not self.has_sound:
            values = shifted_audio(self.clips, chosen, shift)
            return values if noise == inf else values + _noise(values, noise)
        from workbook.data.audio import features_of  # librosa takes a second

        features = features_of(self.clips.store, self._window(name, shift, noise))
        return torch.from_numpy(features)[None].to(self.clips.device)

    def _noisy_window(self, name: str, shift: float, noise: float) -> np.ndarray:
        row = self.table.loc[name]
        samples = cut_window(self.samples(name), row["window_start"] + shift, span_of(row))
        return samples if noise == inf else samples + _noise(torch.from_numpy(samples), noise).numpy()


class Probe:
    """Caches a network's answers about edited clips."""

    def __init__(self, net: AudiovisualNet, inputs: Inputs, conditions: Sequence[Condition] = THREE):
        """conditions : each changed clip is answered under each of these; the first one takes nothing away"""
        self.net, self.inputs, self.device = net.eval(), inputs, inputs.clips.device
        self.conditions = [each for each in conditions if not set(net.fusion.modalities) <= set(each.removes)]
        self.answer = lru_cache(CACHED)(self._answer)
        self.attribution = lru_cache(CACHED)(self._attribution)
        self.stand_ins = cache(self._stand_ins)
        self._pieces = lru_cache(DESCRIBED)(lambda clip, change: {})  # first frame -> descriptors
        self._lock = Lock()

    @property
    def reads_video(self) -> bool:
        """Whether the network gets the picture at all."""
        return "video" in self.net.fusion.modalities

    def _answer(self, clip: str, change: Change) -> Answer:
        """The network's answer about a changed clip; conditions whose modalities the clip lacks are left out."""
        row = self.inputs.table.loc[clip]
        conditions = [each for each in self.conditions if all(row[f"has_{name}"] for name in each.needs)]
        stand_ins, clips = map(self.stand_ins, conditions), self.inputs.clips
        with torch.inference_mode(), precision(self.device):
            inputs = self.inputs.audio(clip, change), self.descriptors(clip, change)
            results = answers(self.net, clips.task, stand_ins, *inputs)
        arrays = {name: values.cpu().numpy() for name, values in results.items()}
        outputs = {condition.name: row for condition, row in zip(conditions, arrays.pop("outputs"), strict=True)}
        maps = {name: arrays.pop(name) for name in list(arrays) if "_to_" in name}
        return Answer(outputs, maps, vectors=arrays, times=step_times(clips.store, maps | arrays))

    def _attribution(self, clip: str, change: Change) -> dict[str, np.ndarray]:
        """Integrated gradients of the answer, from zeros among descriptors: by modality a score (T,) for each step."""
        from workbook.attention.attribution import integrated_gradients  # captum takes a second

        audio, video = self.inputs.audio(clip, change), self.descriptors(clip, change)
        baseline = Baselines(torch.zeros_like(audio), self.black.expand_as(video), "zeros")
        answer = self.answer(clip, change)
        result = integrated_gradients(behind_frames(self.net), audio, video, answer.best, baseline, steps=POINTS)
        return {name: answer.sign * getattr(result, name)[0] for name in self.net.fusion.modalities}

    @cached_property
    def black(self) -> torch.Tensor:
        """The descriptor (1, 1, C) of a black frame; zeros for features, and for a network without video."""
        if not self.reads_video:
            return torch.zeros(1, 1, 1, device=self.device)
        with torch.inference_mode(False):  # a graph can hold it
            return describe_black(self.net, self.inputs.clips)

    def descriptors(self, clip: str, change: Change) -> torch.Tensor:
        """The descriptors (1, Tv, C) of a changed clip; of features, these; black where masked or at a gain of 0."""
        descriptors = self.black.repeat(1, len(self.inputs.times["video"]), 1)
        if self.reads_video and change.video_gain:
            visible = ~self.inputs.masked("video", change)
            descriptors[:, visible] = torch.cat([*self.describing(clip, change)], dim=1)[:, visible]
        return descriptors

    def describing(self, clip: str, change: Change) -> Iterator[torch.Tensor]:
        """The descriptors (1, PIECE, C) of a clip's frames, piece by piece, at a gain and a noise of the picture.

        Each frame is described once: a piece that another thread has described is not described again.
        """
        change = Change(video_gain=change.video_gain, video_noise=change.video_noise)
        pieces = self._pieces(clip, change)
        for start in range(0, len(self.inputs.times["video"]), PIECE):
            if start not in pieces:
                frames = self.inputs.video(clip, change)[:, start : start + PIECE]
                with self._lock, torch.inference_mode():
                    if start not in pieces:  # another thread may have described it meanwhile
                        pieces[start] = describe(self.net, frames)
            yield pieces[start]

    @torch.inference_mode(False)
    def _stand_ins(self, condition: Condition) -> Tensors:
        """What a condition puts in place of a modality: audio (1, C, Ta), descriptors (1, Tv, C), or none."""
        generator = torch.Generator(self.device).manual_seed(SEED)
        inputs = [torch.ones_like(values) for values in self.inputs.clips[torch.tensor([0])][:2]]
        audio, frames = condition(*inputs, Context(self.inputs.clips, None, generator))
        stand_ins = {}
        if audio is not inputs[0]:
            stand_ins["audio"] = torch.zeros_like(inputs[0]) if audio is None else audio
        if self.reads_video and frames is not inputs[1]:
            black = self.black.expand(1, inputs[1].shape[1], -1)
            stand_ins["video"] = black if frames is None else describe(self.net, frames)
        return stand_ins


def answers(
    net: AudiovisualNet, task: Task, stand_ins: Iterable[Tensors], audio: torch.Tensor, video: torch.Tensor
) -> Tensors:
    """By name the outputs (K, outputs) under K conditions, then, under the first, maps (H, Tq, Tk) and vectors (T,).

    stand_ins : as `Probe.stand_ins`      audio : (1, C, Ta)      video : descriptors (1, Tv, C)
    Vectors are in multiples of even attention.
    """
    clips = [{"audio": audio, "video": video} | changed for changed in stand_ins]
    output = net.fuse(*net.encode(*(torch.cat([clip[name] for clip in clips]) for name in ("audio", "video"))))
    outputs = torch.stack(list(task.columns(output.logits.float()).values()), dim=1)
    attention, vectors = {name: weights[:1].float() for name, weights in output.attention.items()}, {}
    for name, direction in MAP_ONTO.items():
        if name in attention:
            vectors[name] = attention[name][0] / attention[name].mean()
        elif direction in attention:
            vectors[name] = relative_vector(attention[direction])[0].float()
    maps = {name: weights[0] for name, weights in attention.items() if "_to_" in name}
    return {"outputs": outputs} | maps | vectors


def changes_in_words(change: Change, unit: str, voice: str = "") -> list[str]:
    """Each change in words, such as `sound x 0.5`; unit : of the clock      voice : the name of the other clip"""
    words = [f"voice of {voice}"] if change.voice else []
    for modality, word in {"audio": "sound", "video": "picture"}.items():
        gain, noise, masked = (getattr(change, f"{modality}_{name}") for name in ("gain", "noise", "masked"))
        spans = ", ".join(f"{start:.2f}–{end:.2f}" for start, end in masked)
        words += [f"{word} × {gain:g}"] if gain != 1 else []
        words += [f"noise in {word} {noise:g} dB"] if noise != inf else []
        words += [f"{word} masked {spans} {unit}"] if masked else []
    return words + ([f"sound early by {change.shift:+.2f} {unit}"] if change.shift else [])


def in_words(answer: Answer, names: Sequence[str]) -> str:
    """A network's answer about a clip under each condition, in Markdown; names : of the outputs."""
    inputs = {"AV": "with both modalities", "A": "with the sound alone", "V": "with the picture alone"}
    parts = []
    for condition, output in answer.outputs.items():
        best = f"{output[0]:+.2f}" if len(names) == 1 else f"{output.max():.0%} {in_markdown(names[output.argmax()])}"
        parts.append(f"**{best}** {inputs[condition]}")
    return f"{', '.join(parts)}: the answer of the network."


def compare(probe: Probe, clip: str, changes: dict[str, Change]) -> pd.DataFrame:
    """The probability (or score) of a clip's first answer after each change: a row per change, a column per condition.

    The first row is the clip without a change.
    """
    rows = {name: probe.answer(clip, change).outputs for name, change in ({"no change": Change()} | changes).items()}
    best = rows["no change"]["AV"].argmax()
    return pd.DataFrame.from_dict(rows, orient="index").map(lambda output: output[best])


def largest_change(table: pd.DataFrame) -> str:
    """The change that moves the answer with both modalities most, in Markdown; table : as `compare`."""
    moves = (table["AV"] - table.loc["no change", "AV"]).drop("no change")
    name = moves.abs().idxmax()
    return f"**{moves[name]:+.3f}** with both modalities: '{name}' changes the answer most."


def changes_of_picture(change: Change, gains: Sequence[float], noises: Sequence[float]) -> list[Change]:
    """The picture's gain and noise unchanged, then those that one move of either slider reaches, the nearest first.

    gains, noises : the places of the two sliders, in order
    """
    gain, noise = change.video_gain, change.video_noise
    places = {(abs(k - gains.index(gain)), other, noise) for k, other in enumerate(gains)}
    places |= {(abs(k - noises.index(noise)), gain, other) for k, other in enumerate(noises)}
    return [Change(video_gain=gain, video_noise=noise) for _, gain, noise in sorted(places) if gain]


def noise_of(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Standard normal noise, the same each time."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(SEED), device=device)


def _noise(values: torch.Tensor, decibels: float) -> torch.Tensor:
    """Normal noise in the shape of the values and `decibels` weaker: at 20 dB a tenth of their size."""
    return values.float().square().mean().sqrt() * 10 ** (-decibels / 20) * noise_of(values.shape, values.device)
