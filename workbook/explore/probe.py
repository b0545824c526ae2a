"""One clip, changed in many ways: what a network then says, where it attends, what speaks for its answer.

Only what a change touches is computed again. A frame network sees each frame alone, so the frames of a clip are
described once for each gain and each noise of the picture. Masked frames are black, and black is described once.

`Change` says in one value what is done. Where a condition of `conditions` does the same, so does this: `shift` is
`Shift`, `voice` is `Swap` of the audio with a clip of choice, a gain of 0 and a mask over everything are `Missing`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf
from threading import Lock

import numpy as np
import pandas as pd
import torch

from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.attention.vectors import maps_and_vectors, relative_vectors, step_times
from workbook.data.window import SAMPLE_RATE, WINDOW, cut_window, span_of
from workbook.evaluate.conditions import Condition, Context, paper_conditions, shifted_audio
from workbook.train.batches import Clips
from workbook.train.descriptors import behind_frames, describe

SEED = 1  # of all noise, so that the same change is the same clip
THREE = tuple(paper_conditions("none")[:3])  # AV, A, V
KEPT = 64  # answers
DESCRIBED = 256  # descriptions of a clip's frames, 60 kB each: enough for all places of two sliders
PIECE = 5  # frames that are described at a time: who needs others waits no longer than for these
Span = tuple[float, float]


@dataclass(frozen=True)
class Change:
    """What is done to a clip before a network gets it. The default leaves the clip as it is."""

    audio_gain: float = 1.0  # the input is multiplied by it, as soft modality dropout does; in [0, 1]
    video_gain: float = 1.0
    audio_noise: float = inf  # decibels that the clip is louder than the noise; inf = no noise
    video_noise: float = inf
    shift: float = 0.0  # how much later the window of the sound begins: seconds, of features a share of the clip
    audio_masked: tuple[Span, ...] = ()  # spans on the clock of the window that are zeros in the input
    video_masked: tuple[Span, ...] = ()
    voice: str = ""  # the clip whose sound is heard; "" = its own

    def of(self, modality: str) -> "Change":
        """What is done to one modality: two changes with the same are the same to hear, or to see."""
        names = [field.name for field in fields(self) if field.name.startswith(modality)]
        names += ["shift", "voice"] if modality == "audio" else []
        return Change(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Subject:
    """A trained network, and what is known of it."""

    net: AudiovisualNet
    predictions: pd.DataFrame | None = None  # of the test clips, to choose clips by the answer; None = not known
    conditions: Sequence[Condition] = THREE  # AV, A and V as the network was tested


@dataclass(frozen=True)
class Answer:
    """What a network says about a clip, and its attention with both modalities."""

    outputs: dict[str, np.ndarray]  # condition -> probabilities (classes,), or the score of sentiment (1,)
    maps: dict[str, np.ndarray]  # direction -> (H, Tq, Tk)
    vectors: dict[str, np.ndarray]  # modality -> (T,) in multiples of even attention
    times: dict[str, np.ndarray]  # modality -> step centres (T,) of maps and vectors, on the clock of the window

    def best(self, condition: str = "AV") -> int:
        """The index of the class with the highest probability; 0 for a score."""
        return int(self.outputs[condition].argmax())


class Inputs:
    """The audio and video that a network gets of a changed clip, and what there is to hear of it."""

    def __init__(self, clips: Clips):
        """clips : among which the clip and its voice are found by name"""
        self.clips = Clips(clips.store, clips.rows, clips.labels, clips.task, clips.device, scales=clips.scales)
        self.table = clips.table.set_index("clip", drop=False)
        self.place = {name: place for place, name in enumerate(clips.table["clip"])}
        self.has_sound = "audio_path" in clips.table  # a corpus of features has none
        self.length = WINDOW if clips.store.video.ndim == 5 else 1.0  # of the clock
        steps = {"audio": clips.store.audio.shape[-1], "video": clips.store.video.shape[1]}
        self.times = step_times(clips.store, {name: np.zeros(T) for name, T in steps.items()})
        self._seen = lru_cache(2)(self._video)  # 9 MB each
        self._whole = lru_cache(8)(self._read)
        self._window = lru_cache(8)(self._cut)
        self._heard = lru_cache(16)(self._audio)

    def chosen(self, clip: str) -> torch.Tensor:
        """The position (1,) of a clip. Raises InputError for a name that is not there."""
        if clip not in self.place:
            raise InputError(f"there is no clip '{clip}' among these {len(self.place)} clips")
        return torch.tensor([self.place[clip]])

    def audio(self, clip: str, change: Change) -> torch.Tensor:
        """The audio (1, C, Ta) of a changed clip. Raises InputError where a sound cannot be read any more."""
        values = self._heard(change.voice or clip, change.shift, change.audio_noise)
        return _without(values, self.masked("audio", change), axis=2) * change.audio_gain

    def video(self, clip: str, change: Change) -> torch.Tensor:
        """The video (1, Tv, 3, S, S) in [0, 1], or features (1, Tv, C), of a changed clip."""
        values = self._seen(clip, change.video_noise)
        return _without(values, self.masked("video", change), axis=1) * change.video_gain

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

    def _video(self, clip: str, noise: float) -> torch.Tensor:
        """The video (1, Tv, ...) of a clip, noisy, before masks and gain."""
        values = self.clips.video_of(self.chosen(clip))
        if noise == inf:
            return values
        noisy = values + _noise(values, noise)
        return noisy.clamp(0, 1) if values.ndim == 5 else noisy

    def _audio(self, name: str, shift: float, noise: float) -> torch.Tensor:
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

    def _cut(self, name: str, shift: float, noise: float) -> np.ndarray:
        about = self.table.loc[name]
        samples = cut_window(self._whole(name), about["window_start"] + shift, span_of(about))
        return samples if noise == inf else samples + _noise(torch.from_numpy(samples), noise).numpy()

    def _read(self, name: str) -> np.ndarray:
        from workbook.data.media import read_audio

        return read_audio(self.table.loc[name, "audio_path"])


class Probe:
    """A network before one clip at a time."""

    def __init__(self, net: AudiovisualNet, inputs: Inputs, conditions: Sequence[Condition] = THREE):
        """conditions : what is asked beside the clip as it was changed; the first one takes nothing away"""
        self.net, self.inputs, self.device = net.eval(), inputs, inputs.clips.device
        self.conditions = [one for one in conditions if not set(net.fusion.modalities) <= set(one.removes)]
        self.answer = lru_cache(KEPT)(self._answer)
        self.attribution = lru_cache(KEPT)(self._attribution)
        self._pieces = lru_cache(DESCRIBED)(lambda clip, gain, noise: [])
        self._replaced = lru_cache(None)(self._replace)
        self._describing = Lock()

    def _answer(self, clip: str, change: Change) -> Answer:
        """What the network says about a changed clip. Conditions that the clip cannot be asked in are left out."""
        with torch.inference_mode(), precision(self.device):
            audio, video = self.inputs.audio(clip, change), self.descriptors(clip, change)
            about = self.inputs.table.loc[clip]
            asked = [one for one in self.conditions if all(about[f"has_{name}"] for name in one.needs)]
            pairs = [self._under(one, audio, video) for one in asked]
            audios, videos = (torch.cat(values) for values in zip(*pairs, strict=True))
            output = self.net.fuse(*self.net.encode(audios, videos))
        logits = output.logits.float().cpu()
        found = torch.stack(list(self.inputs.clips.task.columns(logits).values()), dim=1).numpy()
        attention = {name: seen[:1].float().cpu().numpy() for name, seen in output.attention.items()}
        maps, vectors = maps_and_vectors(attention)[0], relative_vectors(attention)
        times = step_times(self.inputs.clips.store, attention)
        one = [{name: values[0] for name, values in several.items()} for several in (maps, vectors)]
        return Answer(dict(zip([condition.name for condition in asked], found, strict=True)), *one, times)

    def descriptors(self, clip: str, change: Change) -> torch.Tensor:
        """The descriptors (1, Tv, C) of a changed clip; of features, these; black where masked or at a gain of 0."""
        black = self._replaced("black").expand(1, len(self.inputs.times["video"]), -1)
        if change.video_gain == 0 or "video" not in self.net.fusion.modalities:
            return black
        *_, pieces = self.describing(clip, change)
        masked = self.inputs.masked("video", change).to(self.device)[None, :, None]
        return torch.where(masked, black, torch.cat(pieces, dim=1))

    def describing(self, clip: str, change: Change) -> Iterator[list[torch.Tensor]]:
        """Describes the frames of a clip at a gain and a noise of the picture, some more for each `next`.

        Each frame is described once: who needs frames that another thread has begun with goes on where that one is.
        """
        seen = Change(video_gain=change.video_gain, video_noise=change.video_noise)
        pieces = self._pieces(clip, seen.video_gain, seen.video_noise)
        starts = range(0, len(self.inputs.times["video"]), PIECE)
        frames = self.inputs.video(clip, seen) if len(pieces) < len(starts) else None
        while len(pieces) < len(starts):
            with self._describing, torch.inference_mode():
                if len(pieces) < len(starts):  # still, now that it is our turn
                    start = starts[len(pieces)]
                    pieces.append(describe(self.net, frames[:, start : start + PIECE]))
            yield pieces
        yield pieces

    def _attribution(self, clip: str, change: Change, steps: int = 16) -> dict[str, np.ndarray]:
        """Integrated gradients of the answer, from zeros among descriptors: by modality a score (T,) for each step."""
        from workbook.attention.attribution import integrated_gradients  # captum takes a second
        from workbook.evaluate.baselines import Baselines

        audio, video = self.inputs.audio(clip, change).clone(), self.descriptors(clip, change).clone()
        nothing = Baselines(torch.zeros_like(audio), self._replaced("black").expand_as(video), "zeros")
        target = self.answer(clip, change).best()
        found = integrated_gradients(behind_frames(self.net), audio, video, target, nothing, steps=steps)
        given = {"video": found.video, "audio": found.audio}
        return {name: scores[0] for name, scores in given.items() if scores is not None}

    def _under(
        self, condition: Condition, audio: torch.Tensor, video: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Audio and descriptors as a condition leaves them."""
        frames = self._like_video()
        generator = torch.Generator(self.device).manual_seed(SEED)
        changed_audio, changed_video = condition(audio, frames, Context(self.inputs.clips, None, generator))
        changed_audio = torch.zeros_like(audio) if changed_audio is None else changed_audio
        if changed_video is frames:
            return changed_audio, video
        replaced = self._replaced("black" if changed_video is None else condition)
        return changed_audio, replaced.expand_as(video)

    def _replace(self, by: Condition | str) -> torch.Tensor:
        """The descriptors of what stands in for the picture: (1, 1, C) of black, (1, Tv, C) of a condition's noise."""
        with torch.inference_mode():
            frames = self._like_video()
            if "video" not in self.net.fusion.modalities:
                return torch.zeros(1, 1, 1, device=self.device)
            if by == "black":
                return describe(self.net, frames[:, :1].contiguous())
            generator = torch.Generator(self.device).manual_seed(SEED)
            return describe(
                self.net, by(torch.zeros(1, 1, 1, device=self.device), frames, Context(None, None, generator))[1]
            )

    def _like_video(self) -> torch.Tensor:
        """Zeros in the shape of a clip's video; they take no memory."""
        _, Tv, *rest = self.inputs.clips.store.video.shape
        shape = (1, Tv, rest[-1], *rest[:-1]) if len(rest) == 3 else (1, Tv, *rest)
        return torch.zeros(1, device=self.device).expand(shape)


def in_words(answer: Answer, names: Sequence[str]) -> str:
    """What a network says about a clip under each condition, in one sentence; names : of the outputs."""
    given = {"AV": "with both modalities", "A": "with the sound alone", "V": "with the picture alone"}
    score = len(names) == 1
    said = [
        f"{given[condition]} {found[0]:+.2f}"
        if score
        else f"{given[condition]} {names[found.argmax()]} ({found.max():.0%})"
        for condition, found in answer.outputs.items()
    ]
    return f"The network says {', '.join(said)}."


def changes_of_picture(change: Change, gains: Sequence[float], noises: Sequence[float]) -> list[Change]:
    """The gain and the noise of the picture as they are, then where one move of either slider leads, the nearest first.

    gains, noises : the places of the two sliders, in order
    """
    gain, noise = change.video_gain, change.video_noise
    far = {(one, noise): abs(k - gains.index(gain)) for k, one in enumerate(gains)}
    far |= {(gain, one): abs(k - noises.index(noise)) for k, one in enumerate(noises)}
    return [Change(video_gain=one, video_noise=other) for one, other in sorted(far, key=far.get) if one]


def _noise(values: torch.Tensor, decibels: float) -> torch.Tensor:
    """Normal noise in the shape of the values, so many decibels weaker than they: 20 dB has a tenth of their size."""
    generator = torch.Generator(values.device).manual_seed(SEED)
    size = values.float().square().mean().sqrt() * 10 ** (-decibels / 20)
    return size * torch.randn(values.shape, generator=generator, device=values.device)


def _without(values: torch.Tensor, masked: torch.Tensor, axis: int) -> torch.Tensor:
    """The values with zeros where `masked` (T,) is True, along an axis."""
    if not masked.any():
        return values
    shape = [1] * values.ndim
    shape[axis] = len(masked)
    return values.masked_fill(masked.to(values.device).view(shape), 0)


def compare(probe: Probe, clip: str, changes: dict[str, Change]) -> pd.DataFrame:
    """The probability (or score) of a clip's first answer after each change: a row per change, a column per condition.

    The first row is the clip without a change.
    """
    answers = {name: probe.answer(clip, change) for name, change in ({"no change": Change()} | changes).items()}
    best = answers["no change"].best()
    rows = {name: {cond: row[best] for cond, row in answer.outputs.items()} for name, answer in answers.items()}
    return pd.DataFrame(rows).T


def largest_change(table: pd.DataFrame) -> str:
    """The change that moves the answer with both modalities most, in Markdown; table : as `compare`."""
    moved = (table["AV"] - table.loc["no change", "AV"]).drop("no change")
    name = moved.abs().idxmax()
    return f"**{moved[name]:+.3f}** with both modalities: '{name}' changes the answer most."
