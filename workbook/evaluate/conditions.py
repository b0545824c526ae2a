"""Conditions: how a test changes the clips before the network gets them.

`paper_conditions` are those of section IV; `workbook.evaluate.corruptions` has noise, blur and darkness. Write your own
with the three attributes and the method of `Condition`, as a dataclass: two conditions are the same if their repr is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch

from avlib.dropout import Modalities, noise_like, with_noisy_audio, with_noisy_video, without_audio, without_video
from workbook.evaluate.baselines import TIME, baselines
from workbook.train.batches import Clips

BOTH = ("audio", "video")
PLACES = {"scattered": "here and there", "start": "at the start", "middle": "in the middle", "end": "at the end"}


class Context(NamedTuple):
    """What a condition may use besides the batch itself."""

    clips: Clips  # all clips of the test
    chosen: torch.Tensor  # (B,) positions of the batch in `clips`
    generator: torch.Generator  # of this condition alone


class Condition(Protocol):
    """A change of a batch. It returns None for a modality that it removes, the same tensor for one that it leaves."""

    name: str  # in tables and figures, such as "A"
    needs: tuple[str, ...]  # modalities that a clip must have in order to count
    removes: tuple[str, ...]  # modalities that the network does not get

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities: ...


@dataclass(frozen=True)
class Intact:
    """`AV`: all clips unchanged, also those that lack a modality."""

    name: str = "AV"
    needs = removes = ()

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context | None = None) -> Modalities:
        return audio, video


REPLACED: dict[tuple[str, str], Callable] = {
    ("audio", "zeros"): without_audio,
    ("video", "zeros"): without_video,
    ("audio", "noise"): with_noisy_audio,
    ("video", "noise"): with_noisy_video,
}


@dataclass(frozen=True)
class Missing:
    """One modality of every clip replaced, as in training: the paper's test with incomplete data.

    missing : audio | video      fill : zeros | noise (standard normal)
    """

    name: str
    missing: str
    fill: str = "zeros"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in BOTH if name != self.missing)

    @property
    def removes(self) -> tuple[str, ...]:
        return (self.missing,)

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return REPLACED[self.missing, self.fill](audio, video, context.generator)


@dataclass(frozen=True)
class Gone:
    """Some time steps of one modality are gone, and a fill takes their place.

    modality : audio | video      share : of its steps, in [0, 1], rounded to whole steps
    where : scattered (drawn for each clip), or one burst at the start | middle | end      fill : one of FILLS
    A clip counts even where no step is left.
    """

    modality: str
    share: float = 1.0
    where: str = "end"
    fill: str = "zeros"
    needs, removes = BOTH, ()

    @property
    def name(self) -> str:
        filled = "" if self.fill == "zeros" else f", {self.fill} instead"
        if self.share == 1:
            return f"all {self.modality} gone{filled}"
        return f"{100 * self.share:.3g} % of {self.modality} gone {PLACES[self.where]}{filled}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        if self.modality == "audio":
            return self._filled(audio, context), video
        return audio, self._filled(video, context)

    def _filled(self, values: torch.Tensor, context: Context) -> torch.Tensor:
        axis = TIME[self.modality]
        gone = self.steps(len(values), values.shape[axis], context.generator).to(values.device)
        if not gone.any():
            return values
        shape = [len(values), *[1] * (values.ndim - 1)]
        shape[axis] = -1
        return torch.where(gone.view(shape), FILLS[self.fill](values, gone, self.modality, context), values)

    def changes(self, clips: Clips) -> bool:
        """Whether the share comes to at least one step of these clips, and, of a part, leaves one."""
        steps = clips.steps[self.modality]
        return self.share == 1 or 0 < round(self.share * steps) < steps

    def steps(self, clips: int, steps: int, generator: torch.Generator) -> torch.Tensor:
        """(clips, steps) True = gone, equally many in each clip. A larger share contains a smaller one's steps."""
        count = round(self.share * steps)
        if self.where == "scattered":
            chance = torch.rand(clips, steps, generator=generator, device=generator.device)
            return chance.argsort(dim=1).argsort(dim=1) < count
        first = {"start": 0, "middle": (steps - count) // 2, "end": steps - count}[self.where]
        places = torch.arange(steps)
        return ((places >= first) & (places < first + count)).expand(clips, steps)


_baselines = lru_cache(maxsize=2)(baselines)  # computed once for all batches and conditions


def _held(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    """The last step before a gap; at the start, the first step that is left; with none left, the clip's first."""
    places = torch.arange(gone.shape[1], device=gone.device)
    last = torch.where(gone, -1, places).cummax(dim=1).values  # (B, T)
    last = torch.where(last < 0, (~gone).int().argmax(dim=1, keepdim=True), last)
    clip = torch.arange(len(values), device=gone.device)[:, None]
    return values[clip, last] if modality == "video" else values.mT[clip, last].mT


def _another_clip(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    """The same steps of another clip, drawn at random among all that have the modality; an only one keeps its own."""
    places = torch.from_numpy(context.clips.table[f"has_{modality}"].to_numpy().nonzero()[0])
    size, generator = (len(values),), context.generator
    steps = 1 + torch.randint(max(1, len(places) - 1), size, generator=generator, device=generator.device).cpu()
    others = places[(torch.searchsorted(places, context.chosen) + steps) % len(places)]
    return (context.clips.audio_of if modality == "audio" else context.clips.video_of)(others)


FILLS: dict[str, Callable] = {  # what takes the place of the steps that are gone
    "zeros": lambda values, gone, modality, context: torch.zeros_like(values),  # as modality dropout has it
    "silence": lambda values, gone, modality, context: getattr(_baselines(context.clips, "silence"), modality),
    "mean": lambda values, gone, modality, context: getattr(_baselines(context.clips, "mean"), modality),
    "noise": lambda values, gone, modality, context: noise_like(values, context.generator),  # standard normal
    "held": _held,
    "another clip": _another_clip,
}


@dataclass(frozen=True)
class Shift:
    """The picture with the sound of another moment: the window of the sound begins `by` later in the clip.

    by : as in `shifted_audio`; negative = earlier: heard late      unit : of `by`, in words
    """

    by: float
    unit: str = "s"
    needs, removes = BOTH, ()

    @property
    def name(self) -> str:
        return f"sound {self.by:+g}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return shifted_audio(context.clips, context.chosen, self.by), video


def shifted_audio(clips: Clips, chosen: torch.Tensor, by: float) -> torch.Tensor:
    """The audio (B, Ca, Ta) of the chosen clips in a window that begins `by` later, read from the files again.

    by : seconds; for features a share of the clip. Outside the clip there is silence; in features, zeros.
    Raises InputError where a file cannot be read any more.
    """
    if "audio_path" in clips.table:
        from workbook.data.audio import features_of, samples_of  # librosa takes a second

        arrays = [features_of(clips.store, samples_of(clips.store, row, by)) for row in clips.rows[chosen.numpy()]]
        return torch.from_numpy(np.stack(arrays)).to(clips.device)
    audio = clips.audio_of(chosen)
    T = audio.shape[-1]
    steps = max(-T, min(T, round(by * T)))
    shifted = torch.zeros_like(audio)
    shifted[..., max(0, -steps) : T - max(0, steps)] = audio[..., max(0, steps) : T + min(0, steps)]
    return shifted


@dataclass(frozen=True)
class Voice:
    """Each clip's face with a voice of this emotion, drawn at random from the other clips of the same actor.

    A clip that is the actor's only one of this emotion keeps its own voice. Each actor must have one.

    label : of the voice      emotion : its name
    """

    label: int
    emotion: str
    needs, removes = BOTH, ()

    @property
    def name(self) -> str:
        return f"voice {self.emotion}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        partners = torch.tensor([self._partner(place, context) for place in context.chosen.tolist()])
        return context.clips.audio_of(partners), video

    def _partner(self, place: int, context: Context) -> int:
        table, labels, generator = context.clips.table, context.clips.labels, context.generator
        own = (table["actor"] == table["actor"][place]) & table["has_audio"]
        voices = torch.tensor(own.to_numpy()) & (labels == self.label)
        others = voices & (torch.arange(len(voices)) != place)
        places = (others if others.any() else voices).nonzero()
        return int(places[torch.randint(len(places), (1,), generator=generator, device=generator.device).cpu()])


@dataclass(frozen=True)
class Both:
    """Two conditions in one: the first changes the sound, the second the picture. None = unchanged."""

    sound: Condition | None
    picture: Condition | None
    needs, removes = BOTH, ()

    @property
    def name(self) -> str:
        return " and ".join(part.name for part in (self.sound, self.picture) if part) or "AV"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        if self.sound:
            audio, _ = self.sound(audio, video, context)
        if self.picture:
            _, video = self.picture(audio, video, context)
        return audio, video


def paper_conditions(dropout: str) -> list[Condition]:
    """The five conditions of every evaluation: AV, A, V, and A and V with the other fill.

    As in the paper, A and V replace the missing modality by noise for a model trained with `noise`, else by zeros.
    "A noise" and "V noise" (or "zeros") use the other fill. M, the mean of AV, A and V, leaves them out.
    """
    usual, other = ("noise", "zeros") if dropout == "noise" else ("zeros", "noise")
    return [
        Intact(),
        Missing("A", "video", usual),
        Missing("V", "audio", usual),
        Missing(f"A {other}", "video", other),
        Missing(f"V {other}", "audio", other),
    ]
