"""Part of a modality is gone: which steps, and what stands in their place."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from avlib.dropout import Modalities, noise_like
from workbook import InputError
from workbook.attention.baselines import TIME, baselines
from workbook.evaluate.conditions import BOTH, Context
from workbook.train.batches import Clips

PLACES = {"scattered": "here and there", "start": "at the start", "middle": "in the middle", "end": "at the end"}


@dataclass(frozen=True)
class Gone:
    """Some time steps of one modality are gone, and something stands in their place.

    modality : audio | video      share : of its steps, in [0, 1], rounded to whole steps
    where : scattered (drawn for each clip), or one burst at the start | middle | end      fill : one of FILLS
    Even with nothing left to read, a network is asked.
    Raises InputError for another value.
    """

    modality: str
    share: float = 1.0
    where: str = "end"
    fill: str = "zeros"
    needs, removes = BOTH, ()

    def __post_init__(self):
        allowed = {"modality": TIME, "where": PLACES, "fill": FILLS}
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is '{getattr(self, name)}': choose one of {', '.join(choices)}")
        if not 0 <= self.share <= 1:
            raise InputError(f"share is {self.share:g}: it must be from 0 to 1")

    @property
    def name(self) -> str:
        filled = "" if self.fill == "zeros" else f", {self.fill} instead"
        if self.share == 1:
            return f"all {self.modality} gone{filled}"
        return f"{100 * self.share:.3g} % of {self.modality} gone {PLACES[self.where]}{filled}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        if self.modality == "audio":
            return self._without(audio, context), video
        return audio, self._without(video, context)

    def _without(self, values: torch.Tensor, context: Context) -> torch.Tensor:
        axis = TIME[self.modality]
        gone = self.steps(len(values), values.shape[axis], context.generator).to(values.device)
        if not gone.any():
            return values
        shape = [len(values), *[1] * (values.ndim - 1)]
        shape[axis] = -1
        return torch.where(gone.view(shape), FILLS[self.fill](values, gone, self.modality, context), values)

    def changes(self, clips: Clips) -> bool:
        """Whether the share comes to at least one step of these clips, and, of a part, leaves one."""
        audio, video, _ = clips[torch.tensor([0])]
        steps = {"audio": audio, "video": video}[self.modality].shape[TIME[self.modality]]
        return self.share == 1 or 0 < round(self.share * steps) < steps

    def steps(self, clips: int, steps: int, generator: torch.Generator) -> torch.Tensor:
        """(clips, steps) True = gone: as many in every clip. A larger share takes more of the same scattered steps."""
        count = round(self.share * steps)
        if self.where == "scattered":
            drawn = torch.rand(clips, steps, generator=generator, device=generator.device)
            return drawn.argsort(dim=1).argsort(dim=1) < count
        first = {"start": 0, "middle": (steps - count) // 2, "end": steps - count}[self.where]
        places = torch.arange(steps)
        return ((places >= first) & (places < first + count)).expand(clips, steps)


def _zeros(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    return torch.zeros_like(values)


def _noise(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    return noise_like(values, context.generator)


def _mean(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    return getattr(_baselines(context.clips, "mean"), modality)


def _silence(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    return getattr(_baselines(context.clips, "silence"), modality)


def _held(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    """The last step before a gap; before the first step that is left, that one. With none left, the clip's first."""
    places = torch.arange(gone.shape[1], device=gone.device)
    last = torch.where(gone, -1, places).cummax(dim=1).values  # (B, T)
    last = torch.where(last < 0, (~gone).int().argmax(dim=1, keepdim=True), last)
    clip = torch.arange(len(values), device=gone.device)[:, None]
    return values[clip, last] if modality == "video" else values.mT[clip, last].mT


def _another_clip(values: torch.Tensor, gone: torch.Tensor, modality: str, context: Context) -> torch.Tensor:
    """The same steps of another clip, drawn at random among all that have the modality."""
    having = context.clips.table[f"has_{modality}"].to_numpy().nonzero()[0]
    if len(having) < 2:
        raise InputError(f"there is no other clip with {modality} to take steps from")
    size, generator = (len(values),), context.generator
    drawn = torch.randint(len(having) - 1, size, generator=generator, device=generator.device).cpu()
    own = torch.searchsorted(torch.from_numpy(having), context.chosen)
    others = torch.from_numpy(having)[(own + 1 + drawn) % len(having)]
    return (context.clips.audio_of if modality == "audio" else context.clips.video_of)(others)


@lru_cache(maxsize=2)
def _baselines(clips: Clips, name: str):
    """The mean of all these clips, or silence: computed once for all batches and conditions."""
    return baselines(clips, name)


FILLS: dict[str, Callable] = {  # what stands in place of the steps that are gone
    "zeros": _zeros,  # as modality dropout has it
    "silence": _silence,  # of sound, in a corpus of clips
    "mean": _mean,  # over the tested clips
    "noise": _noise,  # standard normal
    "held": _held,
    "another clip": _another_clip,
}
