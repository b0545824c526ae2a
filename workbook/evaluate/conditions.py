"""Conditions: how a test changes the clips before the network gets them.

A condition has a `name`, the modalities that a clip must have in order to count (`needs`), and those that it removes
(`removes`). It is called with the audio and video of a batch and returns both:

    condition(audio, video, context) -> (audio, video)

It returns None for a modality that it removes, and the same tensor for one that it does not change, so that nothing is
computed twice. `context` holds the other clips, the sound outside of the window, and random numbers.

`paper_conditions` are those of section IV. Write your own with the same three attributes and one method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch

from avlib.dropout import Modalities, with_noisy_audio, with_noisy_video, without_audio, without_video
from workbook import InputError
from workbook.train.batches import Clips

BOTH = ("audio", "video")


class Context(NamedTuple):
    """What a condition may use besides the batch itself."""

    clips: Clips  # all clips of the test
    chosen: torch.Tensor  # (B,) positions of the batch in `clips`
    generator: torch.Generator  # of this condition alone


class Condition(Protocol):
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
    Raises InputError for another modality or fill.
    """

    name: str
    missing: str
    fill: str = "zeros"

    def __post_init__(self):
        if (self.missing, self.fill) not in REPLACED:
            raise InputError(
                f"cannot replace '{self.missing}' by '{self.fill}': missing is audio or video, fill is zeros or noise"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in BOTH if name != self.missing)

    @property
    def removes(self) -> tuple[str, ...]:
        return (self.missing,)

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return REPLACED[self.missing, self.fill](audio, video, context.generator)


@dataclass(frozen=True)
class Shift:
    """The picture with the sound of another moment: the window of the sound begins `by` later in the clip.

    by : seconds; for features, which have no seconds, a share of the clip. Negative = earlier: heard late.
    unit : of `by`, in words
    Outside of the clip there is silence; in features, zeros.
    """

    by: float
    unit: str = "s"
    needs = BOTH
    removes = ()

    @property
    def name(self) -> str:
        return f"sound {self.by:+g}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return context.clips.audio_later(context.chosen, self.by), video


@dataclass(frozen=True)
class Swap:
    """One modality of another clip, drawn at random from the same actor's clips with another label.

    Raises InputError where there is no such clip.
    """

    modality: Literal["audio", "video"]
    needs = BOTH
    removes = ()

    @property
    def name(self) -> str:
        return f"{self.modality} of another clip"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        partners = torch.tensor([self._partner(place, context) for place in context.chosen.tolist()])
        if self.modality == "audio":
            return context.clips.audio_of(partners), video
        return audio, context.clips.video_of(partners)

    def _partner(self, place: int, context: Context) -> int:
        table, labels = context.clips.table, context.clips.labels
        fits = (table["actor"] == table["actor"][place]) & table[f"has_{self.modality}"]
        fits = torch.tensor(fits.to_numpy()) & (labels != labels[place])
        if not fits.any():
            raise InputError(
                f"clip {table['clip'][place]} has no partner with {self.modality}: "
                f"actor {table['actor'][place]} has no other label in these clips"
            )
        drawn = torch.randint(int(fits.sum()), (1,), generator=context.generator, device=context.generator.device)
        return int(fits.nonzero()[drawn.cpu()])


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


def drop_modality(
    audio: torch.Tensor, video: torch.Tensor, missing: str, fill: str, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same clips with one modality replaced in all of them: the paper's incomplete-data test.

    audio : (B, 10, Ta)      video : (B, Tv, 3, H, W) in [0, 1], or features (B, Tv, C)
    missing : audio | video      fill : zeros | noise (standard normal, as in training)
    """
    context = Context(clips=None, chosen=None, generator=generator)
    replaced = Missing("", missing, fill)(audio, video, context)
    return tuple(
        torch.zeros_like(given) if left is None else left for given, left in zip((audio, video), replaced, strict=True)
    )
