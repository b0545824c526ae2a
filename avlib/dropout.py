"""Modality dropout: a batch in, a batch out in which every clip also stands with a modality missing.

Section III.C masks one modality of each sample, at random. Section IV has every kind in each batch: full clips, clips
without audio, clips without video, clips times random coefficients (`softhard`). Of noise it does not say. Here as in
the authors' code all variants stand side by side: B clips train as 4 B views with softhard, as 3 B with noise.
"""

from collections.abc import Callable, Sequence

import torch

from avlib import InputError
from avlib.speed.sharing import Distinct, share

Modalities = tuple[torch.Tensor | None, torch.Tensor | None]


def noise_like(tensor: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Standard normal noise in the shape and on the device of `tensor`."""
    return torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)


# Each variant returns audio and video: None where it takes one away, and the very tensor that it leaves alone.
def without_audio(audio, video, generator=None) -> Modalities:
    return None, video


def without_video(audio, video, generator=None) -> Modalities:
    return audio, None


def with_noisy_audio(audio, video, generator) -> Modalities:
    return noise_like(audio, generator), video


def with_noisy_video(audio, video, generator) -> Modalities:
    return audio, noise_like(video, generator)


def softened(audio, video, generator) -> Modalities:
    """Each clip's audio times α and its video times 1 - α, with α drawn from [0, 1)."""
    B = len(audio)
    alpha = torch.rand(B, generator=generator, device=audio.device, dtype=audio.dtype)
    return audio * alpha.view(B, 1, 1), video * (1 - alpha).view(B, *[1] * (video.ndim - 1))


# What stands beside the full clips in a batch of each kind.
DROPOUTS: dict[str, tuple[Callable, ...]] = {
    "none": (),
    "hard": (without_audio, without_video),
    "soft": (softened,),
    "softhard": (softened, without_audio, without_video),  # the paper's incomplete-data runs
    "noise": (with_noisy_audio, with_noisy_video),  # the paper's noisy-data runs
}


def views(
    kind: str, audio: torch.Tensor, video: torch.Tensor, generator: torch.Generator | None
) -> tuple[tuple[torch.Tensor | None, ...], tuple[torch.Tensor | None, ...]]:
    """The audio of every view and the video of every view, the clips themselves first; None where it is missing."""
    if kind not in DROPOUTS:
        raise InputError(f"dropout is '{kind}'; choose one of {', '.join(DROPOUTS)}")
    pairs = [(audio, video)] + [variant(audio, video, generator) for variant in DROPOUTS[kind]]
    audios, videos = zip(*pairs, strict=True)
    return audios, videos


def side_by_side(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """One modality of every view (B, …) as one batch, zeros where it is missing; the first is not."""
    return torch.cat([torch.zeros_like(tensors[0]) if tensor is None else tensor for tensor in tensors])


def modality_dropout(
    kind: str,
    audio: torch.Tensor,
    video: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The clips, then the same clips once for each variant of `kind`: none x1, soft x2, hard and noise x3, softhard x4.

    audio : (B, 10, Ta)      video : (B, Tv, 3, H, W), or features (B, Tv, C)      labels : (B,)
    generator : draws α and the noise; on the device of the tensors.
    Returns the three with B replaced by its multiple, variants in the order of `DROPOUTS`. Raises InputError for an
    unknown kind.
    """
    audios, videos = views(kind, audio, video, generator)
    return side_by_side(audios), side_by_side(videos), labels.repeat(len(audios))


def distinct_views(
    kind: str,
    audio: torch.Tensor,
    video: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, Distinct, torch.Tensor]:
    """The same as `modality_dropout`, from the same draws, but each distinct frame is held once.

    Of the frames of softhard's four views half are distinct, and one more, the black one. Sound is laid out in full: to
    encode it takes about a hundredth of the time of the frames.
    """
    audios, videos = views(kind, audio, video, generator)
    return side_by_side(audios), share(videos), labels.repeat(len(audios))


# The paper's incomplete-data test: the modality that is missing, and what stands in its place.
MISSING: dict[tuple[str, str], Callable] = {
    ("audio", "zeros"): without_audio,
    ("video", "zeros"): without_video,
    ("audio", "noise"): with_noisy_audio,
    ("video", "noise"): with_noisy_video,
}


def drop_modality(
    audio: torch.Tensor, video: torch.Tensor, missing: str, fill: str, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same clips with one modality replaced in all of them: the paper's incomplete-data test.

    audio : (B, 10, Ta)      video : (B, Tv, 3, H, W) in [0, 1], or features (B, Tv, C)
    missing : audio | video      fill : zeros | noise (standard normal, as in training)
    """
    if (missing, fill) not in MISSING:
        raise InputError(f"cannot replace '{missing}' by '{fill}': missing is audio or video, fill is zeros or noise")
    replaced = MISSING[missing, fill](audio, video, generator)
    return tuple(
        torch.zeros_like(given) if left is None else left for given, left in zip((audio, video), replaced, strict=True)
    )
