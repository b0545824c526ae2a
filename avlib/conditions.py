"""Conditions: what a test does to the clips before the network gets them.

A condition is a small value. It has a name, says which modalities a clip must have in order to count (`needs`) and
which ones it takes away (`removes`), and maps audio and video to audio and video:

    condition(audio, video, context) -> (audio, video)

It returns None for a modality that it removes, and the very same tensor for one that it leaves unchanged, so that
nothing is computed twice. `context` gives what some conditions need besides: the other clips, the sound outside of the
window, and random numbers.

The paper's conditions (section IV) are AV, A and V: `paper_conditions`. Write your own with the same four names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch

from avlib import InputError
from avlib.batches import Clips
from avlib.dropout import Modalities, with_noisy_audio, with_noisy_video, without_audio, without_video

BOTH = ("audio", "video")


class Context(NamedTuple):
    """What a condition may use besides the batch itself."""

    clips: Clips  # all clips of the test
    chosen: torch.Tensor  # (B,) positions of the batch in `clips`
    generator: torch.Generator  # seeded anew for each condition


class Condition(Protocol):
    name: str  # in tables and figures, such as "A"
    needs: tuple[str, ...]  # modalities that a clip must have in order to count
    removes: tuple[str, ...]  # modalities of which nothing is left

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities: ...


@dataclass(frozen=True)
class Intact:
    """`AV`: the clips as they are, also those that lack a modality in the data."""

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
    """One modality of every clip replaced, as in training: the paper's test under incomplete data.

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
    """The sound of another moment under the same picture: the window of the sound begins `by` later in the clip.

    by : seconds; of features, whose steps have no seconds, a share of the clip. Negative = earlier.
    What comes in from outside of the clip is silence, or zeros in features.
    """

    by: float
    needs = BOTH
    removes = ()

    @property
    def name(self) -> str:
        return f"sound {self.by:+g}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return context.clips.audio_later(context.chosen, self.by), video


@dataclass(frozen=True)
class Swap:
    """One modality of another clip: of the same actor, with another label; any of those, drawn at random.

    Raises InputError where an actor has clips of one label alone.
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

    As in the paper, A and V put noise in place of the missing modality for a model trained with `noise`, else zeros.
    The other fill has conditions of its own, such as "A noise"; M, the mean of AV, A and V, does not count them.
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
