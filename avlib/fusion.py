"""The fusion approaches of section III.B, one table of them.

Every entry is a module with the same two methods, one called after stage 1 of both branches and one after stage 2.
Each takes and returns audio (B, C, Ta) and video (B, C, Tv), and returns a dict of attention tensors; what an entry
does not override changes nothing.

Direction: `video_to_audio` carries video into the audio branch, so audio asks (query) and video is looked at (key).
"""

import torch
from torch import nn

from avlib import InputError
from avlib.attention import Similarity, TransformerBlock, attention_vector
from avlib.encoders import AUDIO_WIDTHS, VIDEO_WIDTHS

Fused = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]

STAGE1 = AUDIO_WIDTHS[1], VIDEO_WIDTHS[1]  # channels of audio and video after stage 1: 128, 64
STAGE2 = AUDIO_WIDTHS[3], VIDEO_WIDTHS[3]  # and after stage 2: 128, 128


class Fusion(nn.Module):
    """No exchange between the branches: the base of the table's entries."""

    modalities = ("audio", "video")  # the branches that the model has
    widths: tuple[int, ...] = ()  # attention widths, which the number of heads must divide

    def __init__(self, heads: int = 1):
        super().__init__()

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}


class AudioOnly(Fusion):
    """The audio branch alone: the honest upper bound of condition A."""

    modalities = ("audio",)


class VideoOnly(Fusion):
    """The vision branch alone: the honest upper bound of condition V."""

    modalities = ("video",)


class Exchange(nn.Module):
    """A transformer block in each direction, both reading the same two inputs: audio (B, C, Ta), video (B, C, Tv)."""

    def __init__(self, audio_width: int, video_width: int, heads: int):
        super().__init__()
        self.video_to_audio = TransformerBlock(audio_width, video_width, audio_width, heads)
        self.audio_to_video = TransformerBlock(video_width, audio_width, video_width, heads)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        audio, video = audio.transpose(1, 2), video.transpose(1, 2)  # (B, T, C)
        into_audio, video_to_audio = self.video_to_audio(query=audio, key=video)
        into_video, audio_to_video = self.audio_to_video(query=video, key=audio)
        attention = {"video_to_audio": video_to_audio, "audio_to_video": audio_to_video}
        return into_audio.transpose(1, 2), into_video.transpose(1, 2), attention


class LateTransformer(Fusion):
    """`lt`, section III.B.1: each branch's output is replaced by what it asks of the other."""

    widths = STAGE2

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(*STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)


class IntermediateTransformer(Fusion):
    """`it`, section III.B.2: after stage 1, what a branch asks of the other is added to it."""

    widths = STAGE1

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(*STAGE1, heads)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, into_video, attention = self.exchange(audio, video)
        return audio + into_audio, video + into_video, attention


class IntermediateAttention(Fusion):
    """`ia`, section III.B.3: after stage 1, each time step is weighed by the attention that it receives.

    No feature crosses over: only the two attention vectors do, audio (B, Ta) and video (B, Tv).
    """

    widths = STAGE1

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE1
        self.video_to_audio = Similarity(audio_width, video_width, audio_width, heads)
        self.audio_to_video = Similarity(video_width, audio_width, video_width, heads)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        audio_steps, video_steps = audio.transpose(1, 2), video.transpose(1, 2)  # (B, T, C)
        maps = {
            "video_to_audio": self.video_to_audio(query=audio_steps, key=video_steps),  # (B, H, Ta, Tv)
            "audio_to_video": self.audio_to_video(query=video_steps, key=audio_steps),  # (B, H, Tv, Ta)
        }
        vectors = {
            "video": attention_vector(maps["video_to_audio"]),  # (B, Tv)   totals Ta
            "audio": attention_vector(maps["audio_to_video"]),  # (B, Ta)   totals Tv
        }
        return audio * vectors["audio"][:, None], video * vectors["video"][:, None], maps | vectors


FUSIONS: dict[str, type[Fusion]] = {
    "lt": LateTransformer,
    "it": IntermediateTransformer,
    "ia": IntermediateAttention,
    "audio": AudioOnly,
    "video": VideoOnly,
}


def check_heads(fusion: str, heads: int) -> None:
    """Nothing, where `heads` suits the fusion; otherwise InputError, naming the numbers that do."""
    widths = FUSIONS[fusion].widths
    if not widths and heads != 1:
        raise InputError(f"heads is {heads}, but fusion '{fusion}' has no attention: leave heads at 1")
    if heads < 1 or any(width % heads for width in widths):
        fitting = [str(n) for n in range(1, 33) if not any(width % n for width in widths)]
        wide = " and ".join(map(str, sorted(set(widths))))
        raise InputError(
            f"heads is {heads}, which does not divide the attention width of fusion '{fusion}' ({wide}): "
            f"choose one of {', '.join(fitting)}"
        )
