"""One clip, changed in many ways: a network's answer, its attention, and what speaks for the answer.

Only what a change touches is computed again. The frames of a clip are described once for each gain and each noise of
the picture. Masked frames are black, and black is described once.

A `Change` is one value. Where a condition of `evaluate.conditions` does the same, the results agree: `shift` is
`Shift`, `voice` the audio of a clip of choice, a gain of 0 and a mask over everything are `Missing`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from math import inf
from threading import Lock

import numpy as np
import pandas as pd
import torch

from avlib.model import AudiovisualNet, precision
from workbook.attention.vectors import maps_and_vectors, relative_vectors, step_times
from workbook.data.window import SAMPLE_RATE, cut_window, span_of
from workbook.evaluate.baselines import TIME, Baselines
from workbook.evaluate.conditions import Condition, Context, paper_conditions, shifted_audio
from workbook.train.batches import Clips
from workbook.train.descriptors import TILE, behind_frames, describe, describe_black

POINTS = 16  # of integrated gradients
SEED = 1  # of all noise, so that the same change is the same clip
THREE = tuple(paper_conditions("none")[:3])  # AV, A, V
CACHED = 64  # answers
DESCRIBED = 256  # descriptions of a clip's frames, 60 kB each: enough for all places of two sliders
PIECE = TILE  # frames described at a time, the longest wait for a step of the explorer: fewer take as long
Span = tuple[float, float]


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


class Inputs:
    """The audio and video that a network gets of a changed clip, and its sound for a listener."""

    def __init__(self, clips: Clips):
        """clips : among which the clip and its voice are found by name"""
        self.clips = Clips(clips.store, clips.rows, clips.labels, clips.task, clips.device, scales=clips.scales)
        self.table = clips.table.set_index("clip", drop=False)
        self.place = {name: place for place, name in enumerate(clips.table["clip"])}
        self.has_sound = "audio_path" in clips.table  # a corpus of features has none
        steps = {"audio": clips.store.audio.shape[-1], "video": clips.store.video.shape[1]}
        self.times = step_times(clips.store, {name: np.zeros(T) for name, T in steps.items()})
        self._video = lru_cache(2)(self._noisy_video)  # 9 MB each
        self.samples = lru_cache(8)(self._read_samples)
        self._window = lru_cache(8)(self._noisy_window)
        self._audio = lru_cache(16)(self._noisy_audio)

    def chosen(self, clip: str) -> torch.Tensor:
        """The position (1,) of a clip."""
        return torch.tensor([self.place[clip]])

    def audio(self, clip: str, change: Change) -> torch.Tensor:
        """The audio (1, C, Ta) of a changed clip. Raises InputError where a sound cannot be read any more."""
        values = self._audio(change.voice or clip, change.shift, change.audio_noise)
        return self._with_mask("audio", values, change) * change.audio_gain

    def video(self, clip: str, change: Change) -> torch.Tensor:
        """The video (1, Tv, 3, S, S) in [0, 1], or features (1, Tv, C), of a changed clip."""
        values = self._video(clip, change.video_noise)
        return self._with_mask("video", values, change) * change.video_gain

    def sound(self, clip: str, change: Change) -> np.ndarray | None:
        """The 3.6 s (79380,) of sound that the network hears, silent where masked; None where there is none."""
        name = change.voice or clip
        if not self.has_sound or not self.table.loc[name, "has_audio"]:
            return None
        samples = self._window(name, change.shift, change.audio_noise).copy()
        for start, end in change.audio_masked:
            samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
        return samples

    def masked(self, modality: str, change: Change) -> torch.Tensor:
        """(T,) bool, True for the input steps whose centre is in a masked span."""
        times, spans = self.times[modality], getattr(change, f"{modality}_masked")
        inside = [(times >= start) & (times <= end) for start, end in spans]
        return torch.from_numpy(np.any([np.zeros(len(times), bool), *inside], axis=0))

    def _with_mask(self, modality: str, values: torch.Tensor, change: Change) -> torch.Tensor:
        """The values with zeros at masked steps."""
        masked, shape = self.masked(modality, change), [1] * values.ndim
        if not masked.any():
            return values
        shape[TIME[modality]] = -1
        return values.masked_fill(masked.to(values.device).view(shape), 0)

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

    def _read_samples(self, name: str) -> np.ndarray:
        from workbook.data.media import read_audio

        return read_audio(self.table.loc[name, "audio_path"])


class Probe:
    """Caches a network's answers about edited clips."""

    def __init__(self, net: AudiovisualNet, inputs: Inputs, conditions: Sequence[Condition] = THREE):
        """conditions : each changed clip is answered under each of these; the first one takes nothing away"""
        self.net, self.inputs, self.device = net.eval(), inputs, inputs.clips.device
        self.conditions = [each for each in conditions if not set(net.fusion.modalities) <= set(each.removes)]
        self.answer = lru_cache(CACHED)(self._answer)
        self.attribution = lru_cache(CACHED)(self._attribution)
        self._pieces = lru_cache(DESCRIBED)(lambda clip, gain, noise: [])
        self._stand_ins: dict[Condition, torch.Tensor] = {}  # descriptors (1, Tv, C) of a condition's noise
        self._lock = Lock()

    def _answer(self, clip: str, change: Change) -> Answer:
        """The network's answer about a changed clip; conditions whose modalities the clip lacks are left out."""
        with torch.inference_mode(), precision(self.device):
            audio, video = self.inputs.audio(clip, change), self.descriptors(clip, change)
            row = self.inputs.table.loc[clip]
            conditions = [each for each in self.conditions if all(row[f"has_{name}"] for name in each.needs)]
            pairs = [self.under(condition, audio, video) for condition in conditions]
            audios, videos = (torch.cat(values) for values in zip(*pairs, strict=True))
            output = self.net.fuse(*self.net.encode(audios, videos))
        columns = self.inputs.clips.task.columns(output.logits.float().cpu()).values()
        outputs = torch.stack(list(columns), dim=1).numpy()
        attention = {name: weights[:1].float().cpu().numpy() for name, weights in output.attention.items()}
        maps, vectors = maps_and_vectors(attention)[0], relative_vectors(attention)
        times = step_times(self.inputs.clips.store, attention)
        maps, vectors = ({name: values[0] for name, values in each.items()} for each in (maps, vectors))
        return Answer(
            {condition.name: row for condition, row in zip(conditions, outputs, strict=True)}, maps, vectors, times
        )

    @cached_property
    def black(self) -> torch.Tensor:
        """The descriptor (1, 1, C) of a black frame; zeros for features, and for a network without video."""
        if "video" not in self.net.fusion.modalities:
            return torch.zeros(1, 1, 1, device=self.device)
        with torch.inference_mode():
            return describe_black(self.net, self.inputs.clips)

    def descriptors(self, clip: str, change: Change) -> torch.Tensor:
        """The descriptors (1, Tv, C) of a changed clip; of features, these; black where masked or at a gain of 0."""
        black = self.black.expand(1, len(self.inputs.times["video"]), -1)
        if change.video_gain == 0 or "video" not in self.net.fusion.modalities:
            return black
        *_, pieces = self.describing(clip, change)
        masked = self.inputs.masked("video", change).to(self.device)[None, :, None]
        return torch.where(masked, black, torch.cat(pieces, dim=1))

    def describing(self, clip: str, change: Change) -> Iterator[list[torch.Tensor]]:
        """Describes the frames of a clip at a gain and a noise of the picture, a piece for each `next`.

        Each frame is described once: pieces that another thread has described are not described again.
        """
        change = Change(video_gain=change.video_gain, video_noise=change.video_noise)
        pieces = self._pieces(clip, change.video_gain, change.video_noise)
        starts = range(0, len(self.inputs.times["video"]), PIECE)
        frames = self.inputs.video(clip, change) if len(pieces) < len(starts) else None
        while len(pieces) < len(starts):
            with self._lock, torch.inference_mode():
                if len(pieces) < len(starts):  # another thread may have described the last one meanwhile
                    start = starts[len(pieces)]
                    pieces.append(describe(self.net, frames[:, start : start + PIECE]))
            yield pieces
        yield pieces

    def _attribution(self, clip: str, change: Change) -> dict[str, np.ndarray]:
        """Integrated gradients of the answer, from zeros among descriptors: by modality a score (T,) for each step."""
        from workbook.attention.attribution import integrated_gradients  # captum takes a second

        audio, video = self.inputs.audio(clip, change).clone(), self.descriptors(clip, change).clone()
        baseline = Baselines(torch.zeros_like(audio), self.black.expand_as(video), "zeros")
        target = self.answer(clip, change).best
        result = integrated_gradients(behind_frames(self.net), audio, video, target, baseline, steps=POINTS)
        scores = {"video": result.video, "audio": result.audio}
        return {name: values[0] for name, values in scores.items() if values is not None}

    def under(
        self, condition: Condition, audio: torch.Tensor, video: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Audio and descriptors under a condition."""
        frames = self._black_frames()
        generator = torch.Generator(self.device).manual_seed(SEED)
        changed_audio, changed_frames = condition(audio, frames, Context(self.inputs.clips, None, generator))
        audio = torch.zeros_like(audio) if changed_audio is None else changed_audio
        if changed_frames is frames or "video" not in self.net.fusion.modalities:
            return audio, video
        if changed_frames is None:
            return audio, self.black.expand_as(video)
        if condition not in self._stand_ins:
            self._stand_ins[condition] = describe(self.net, changed_frames)
        return audio, self._stand_ins[condition]

    def _black_frames(self) -> torch.Tensor:
        """Zeros in the shape of a clip's video; they take no memory."""
        _, Tv, *rest = self.inputs.clips.store.video.shape
        shape = (1, Tv, rest[-1], *rest[:-1]) if len(rest) == 3 else (1, Tv, *rest)
        return torch.zeros(1, device=self.device).expand(shape)


def changes_in_words(change: Change, unit: str, voice: str = "") -> list[str]:
    """Each change in words, such as `sound x 0.5`; unit : of the clock      voice : the name of the other clip"""
    words = [f"voice of {voice}"] * bool(change.voice)
    for name, word in {"audio": "sound", "video": "picture"}.items():
        gain, noise = getattr(change, f"{name}_gain"), getattr(change, f"{name}_noise")
        words += [f"{word} × {gain:g}"] * (gain != 1) + [f"noise in {word} {noise:g} dB"] * (noise != inf)
        spans = getattr(change, f"{name}_masked")
        words += [f"{word} masked {', '.join(f'{start:.2f}–{end:.2f}' for start, end in spans)} {unit}"] * bool(spans)
    return words + [f"sound early by {change.shift:+.2f} {unit}"] * (change.shift != 0)


def in_words(answer: Answer, names: Sequence[str]) -> str:
    """A network's answer about a clip under each condition, in Markdown; names : of the outputs."""
    inputs = {"AV": "with both modalities", "A": "with the sound alone", "V": "with the picture alone"}
    parts = []
    for condition, output in answer.outputs.items():
        best = f"{output[0]:+.2f}" if len(names) == 1 else f"{output.max():.0%} {names[output.argmax()]}"
        parts.append(f"**{best}** {inputs[condition]}")
    return f"{', '.join(parts)}: the answer of the network."


def compare(probe: Probe, clip: str, changes: dict[str, Change]) -> pd.DataFrame:
    """The probability (or score) of a clip's first answer after each change: a row per change, a column per condition.

    The first row is the clip without a change.
    """
    answers = {name: probe.answer(clip, change) for name, change in ({"no change": Change()} | changes).items()}
    best = answers["no change"].best
    rows = {
        name: {condition: values[best] for condition, values in answer.outputs.items()}
        for name, answer in answers.items()
    }
    return pd.DataFrame(rows).T


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
    distances = {(other, noise): abs(k - gains.index(gain)) for k, other in enumerate(gains)}
    distances |= {(gain, other): abs(k - noises.index(noise)) for k, other in enumerate(noises)}
    nearest = sorted(distances, key=distances.get)
    return [Change(video_gain=gain, video_noise=noise) for gain, noise in nearest if gain]


def _noise(values: torch.Tensor, decibels: float) -> torch.Tensor:
    """Normal noise in the shape of the values and `decibels` weaker: at 20 dB a tenth of their size."""
    generator = torch.Generator(values.device).manual_seed(SEED)
    size = values.float().square().mean().sqrt() * 10 ** (-decibels / 20)
    return size * torch.randn(values.shape, generator=generator, device=values.device)
