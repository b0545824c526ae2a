"""Modality dropout: adds variants of every clip to a batch, in which a modality is missing or weaker.

Section III.C masks one modality of each sample, at random: `sampled`. Section IV puts every kind in each batch: full
clips, clips without audio, clips without video, clips times random coefficients (`softhard`); it does not say so for
noise. As in the authors' code, a batch holds all variants: B clips train as 4 B with softhard and learned, as 3 B with
noise, but as B with sampled, where variants replace the full clips.
"""

from collections.abc import Callable, Sequence

import torch

Modalities = tuple[torch.Tensor | None, torch.Tensor | None]  # audio and video; None = missing


def noise_like(tensor: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Standard normal noise in the shape and on the device of `tensor`."""
    return torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)


# Each returns audio and video: None for a modality that it removes, the same tensor for one that it does not change.
def without_audio(audio, video, generator=None) -> Modalities:
    return None, video


def without_video(audio, video, generator=None) -> Modalities:
    return audio, None


def with_noisy_audio(audio, video, generator) -> Modalities:
    return _noisy(audio, video, generator), video


def with_noisy_video(audio, video, generator) -> Modalities:
    return audio, _noisy(video, audio, generator)


def _noisy(tensor, other, generator) -> torch.Tensor:
    """Noise in place of a modality; a clip without the other one keeps it, as nothing else tells its label."""
    present = other.flatten(1).any(dim=1)  # (B,)
    return torch.where(present.view(-1, *[1] * (tensor.ndim - 1)), noise_like(tensor, generator), tensor)


def softened(audio, video, generator) -> Modalities:
    """Each clip's audio times α and its video times 1 - α, with α drawn from [0, 1)."""
    B = len(audio)
    alpha = torch.rand(B, generator=generator, device=audio.device, dtype=audio.dtype)
    return audio * alpha.view(B, 1, 1), video * (1 - alpha).view(B, *[1] * (video.ndim - 1))


def without_one(audio, video, generator) -> Modalities:
    """Each clip without audio or without video, at random; a clip that lacks one already stays unchanged."""
    chance = torch.rand(len(audio), generator=generator, device=audio.device)
    both = audio.flatten(1).any(dim=1) & video.flatten(1).any(dim=1)  # (B,) True = the clip can lose one
    return _blanked(audio, both & (chance < 0.5)), _blanked(video, both & (chance >= 0.5))


def _blanked(tensor: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The clips with zeros where `chosen` (B,) is True."""
    return tensor.masked_fill(chosen.view(-1, *[1] * (tensor.ndim - 1)), 0)


# By kind: the variants that a batch holds, beside the full clips unless the kind is one of IN_PLACE.
DROPOUTS: dict[str, tuple[Callable, ...]] = {
    "none": (),
    "hard": (without_audio, without_video),
    "soft": (softened,),
    "softhard": (softened, without_audio, without_video),  # the paper's incomplete-data runs
    "noise": (with_noisy_audio, with_noisy_video),  # the paper's noisy-data runs
    "learned": (softened, without_audio, without_video),  # softhard, for a network with learned stand-ins
    "sampled": (without_one,),  # section III.C, to the letter
}
IN_PLACE = {"sampled"}  # kinds whose variants take the place of the full clips
LEARNED = {"learned"}  # kinds for which the network learns a vector in place of a missing modality


def variants(
    kind: str, audio: torch.Tensor, video: torch.Tensor, generator: torch.Generator | None = None
) -> list[Modalities]:
    """Audio and video of the full clips, then of each variant; None = missing. With `IN_PLACE`, of the variants alone.

    Raises ValueError for an unknown kind.
    """
    if kind not in DROPOUTS:
        raise ValueError(f"dropout is '{kind}'; choose one of {', '.join(DROPOUTS)}")
    full = [] if kind in IN_PLACE else [(audio, video)]
    return [*full, *(variant(audio, video, generator) for variant in DROPOUTS[kind])]


def variant_names(kind: str) -> list[str]:
    """What `variants` returns, in words: `full`, `without audio`, ..."""
    full = [] if kind in IN_PLACE else ["full"]
    return [*full, *(variant.__name__.replace("_", " ") for variant in DROPOUTS[kind])]


def side_by_side(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """One modality of all variants (B, …) as one batch, zeros for None. The first is never None."""
    return torch.cat([torch.zeros_like(tensors[0]) if tensor is None else tensor for tensor in tensors])


def modality_dropout(
    kind: str,
    audio: torch.Tensor,
    video: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Audio, video and labels of the full clips, then of each variant in `DROPOUTS`; with `sampled`, of the variant.

    B becomes 1 B with none and sampled, 2 B with soft, 3 B with hard and noise, 4 B with softhard and learned.
    audio : (B, 10, Ta)      video : (B, Tv, 3, H, W), or features (B, Tv, C)
    labels : (B,)      generator : for all that is random; on the device of the tensors
    Raises ValueError for an unknown kind.
    """
    audios, videos = zip(*variants(kind, audio, video, generator), strict=True)
    return side_by_side(audios), side_by_side(videos), labels.repeat(len(audios))
