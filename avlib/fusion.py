"""The fusion approaches of section III.B, those that the paper compares them with, and `cma`: one table of them.

An entry makes the two branches that it wants, and it is a module with three methods: one is called after stage 1 of
both branches, one after stage 2, and one pools what is left into a vector. The first two take and return audio
(B, C, Ta) and video (B, C, Tv), and return a dict of attention tensors. The base class does nothing in them.

Direction: `video_to_audio` carries video into the audio branch: audio is the query, video is the key.
"""

import torch
from torch import nn

from avlib import InputError
from avlib.attention import ConvolutionalMlp, Similarity, TransformerBlock, attention_vector
from avlib.encoders import AUDIO_WIDTHS, VIDEO_WIDTHS, AudioBranch, NoBranch, VideoBranch
from avlib.mult import HEADS, WIDTH, MultExchange, Projection, ResidualDense, last_steps

Fused = tuple[torch.Tensor | None, torch.Tensor | None, dict[str, torch.Tensor]]

STAGE1 = AUDIO_WIDTHS[1], VIDEO_WIDTHS[1]  # channels of audio and video after stage 1: 128, 64
STAGE2 = AUDIO_WIDTHS[3], VIDEO_WIDTHS[3]  # and after stage 2: 128, 128


class Fusion(nn.Module):
    """No exchange between the branches, their means over time side by side: the base of the table's entries."""

    modalities = ("audio", "video")  # the branches that the model has
    widths: tuple[int, ...] = ()  # attention widths, which the number of heads must divide; none without attention
    width = sum(STAGE2)  # of the vector that `pool` returns

    def __init__(self, heads: int = 1):
        super().__init__()

    @classmethod
    def audio_branch(cls, channels: int) -> nn.Module:
        """The audio branch for audio (B, channels, Ta), with methods `stage1` and `stage2`."""
        return AudioBranch(channels) if "audio" in cls.modalities else NoBranch()

    @classmethod
    def video_branch(cls, channels: int) -> nn.Module:
        """The video branch for descriptors (B, Tv, channels), with methods `stage1` and `stage2`."""
        return VideoBranch(channels) if "video" in cls.modalities else NoBranch()

    @classmethod
    def check_heads(cls, name: str, heads: int) -> int:
        """The number of heads in each attention; it must divide every attention width.

        name : of the entry, for the message. Raises InputError naming the numbers that fit.
        """
        if not cls.widths and heads != 1:
            raise InputError(f"heads is {heads}, but fusion '{name}' has no attention: leave heads at 1")
        if heads < 1 or any(width % heads for width in cls.widths):
            fitting = [str(n) for n in range(1, 33) if not any(width % n for width in cls.widths)]
            wide = " and ".join(map(str, sorted(set(cls.widths))))
            raise InputError(
                f"heads is {heads}, which does not divide the attention width of fusion '{name}' ({wide}): "
                f"choose one of {', '.join(fitting)}"
            )
        return heads

    @classmethod
    def check_dense_head(cls, name: str) -> None:
        """Raises InputError where a dense head cannot be added to the entry."""

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def pool(self, audio: torch.Tensor | None, video: torch.Tensor | None) -> torch.Tensor:
        """The clip as one vector (B, width) for the classifier; None stands for a branch that is not there."""
        return torch.cat([steps.mean(dim=-1) for steps in (audio, video) if steps is not None], dim=-1)


class AudioOnly(Fusion):
    """`audio`: the audio branch alone."""

    modalities = ("audio",)
    width = STAGE2[0]


class VideoOnly(Fusion):
    """`video`: the video branch alone."""

    modalities = ("video",)
    width = STAGE2[1]


def attend(block: TransformerBlock, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output (B, C, Tq) of a block for query (B, C, Tq) and key (B, C, Tk), and its attention (B, H, Tq, Tk)."""
    steps, weights = block(query=query.transpose(1, 2), key=key.transpose(1, 2))
    return steps.transpose(1, 2), weights


class Exchange(nn.Module):
    """A transformer block in each direction, both reading the same two inputs: audio (B, C, Ta), video (B, C, Tv)."""

    def __init__(self, audio_width: int, video_width: int, heads: int):
        super().__init__()
        self.video_to_audio = TransformerBlock(audio_width, video_width, audio_width, heads)
        self.audio_to_video = TransformerBlock(video_width, audio_width, video_width, heads)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, video_to_audio = attend(self.video_to_audio, query=audio, key=video)
        into_video, audio_to_video = attend(self.audio_to_video, query=video, key=audio)
        return into_audio, into_video, {"video_to_audio": video_to_audio, "audio_to_video": audio_to_video}


class LateTransformer(Fusion):
    """`lt`, section III.B.1: each branch's output is replaced by its attention to the other branch."""

    widths = STAGE2

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(*STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)


class IntermediateTransformer(Fusion):
    """`it`, section III.B.2: after stage 1, each branch's attention to the other branch is added to it."""

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


class AudioIntoVideo(Fusion):
    """`tav`: on top of the branches audio is fused into video, as section IV takes reference 16.

    One block with a convolutional MLP. Video is the query, audio is the key, and only the block's output is classified.
    The block has no residual around the attention, so its output holds values of audio alone. Without audio all clips
    look the same, and Table II has 13.33 % there: one emotion for all.
    """

    widths = (STAGE2[1],)
    width = STAGE2[1]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.audio_to_video = TransformerBlock(video_width, audio_width, video_width, heads, mlp=ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_video, weights = attend(self.audio_to_video, query=video, key=audio)
        return None, into_video, {"audio_to_video": weights}


class VideoIntoAudio(Fusion):
    """`tva`: the other direction of `tav`; audio is the query, video is the key."""

    widths = (STAGE2[0],)
    width = STAGE2[0]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.video_to_audio = TransformerBlock(audio_width, video_width, audio_width, heads, mlp=ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, weights = attend(self.video_to_audio, query=audio, key=video)
        return into_audio, None, {"video_to_audio": weights}


class LateTransformerWithMemory(Fusion):
    """`mlt`: late transformer, then a block of self-attention in each branch, as section IV takes reference 14.

    MULT's structure from the paper's own blocks: first attention to the other branch, then each branch to itself.
    """

    widths = STAGE2

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.exchange = Exchange(audio_width, video_width, heads)
        self.audio_to_audio = TransformerBlock(audio_width, audio_width, audio_width, heads)
        self.video_to_video = TransformerBlock(video_width, video_width, video_width, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        audio, video, attention = self.exchange(audio, video)
        audio, attention["audio_to_audio"] = attend(self.audio_to_audio, query=audio, key=audio)
        video, attention["video_to_video"] = attend(self.video_to_video, query=video, key=video)
        return audio, video, attention


class MultimodalTransformer(Fusion):
    """`mult`: reference 14 without language, with projections of its own in place of Table I's branches (Table III).

    Its attention is the mean over its layers. Its 5 heads and its dense head are part of its design.
    """

    widths = (WIDTH,)
    width = 2 * WIDTH

    def __init__(self, heads: int = HEADS):
        super().__init__()
        self.exchange = MultExchange()
        self.dense = ResidualDense(self.width)

    @classmethod
    def audio_branch(cls, channels: int) -> nn.Module:
        return Projection(channels)

    @classmethod
    def video_branch(cls, channels: int) -> nn.Module:
        return Projection(channels, channels_last=True)

    @classmethod
    def check_heads(cls, name: str, heads: int) -> int:
        if heads not in (1, HEADS):
            raise InputError(f"heads is {heads}, but fusion '{name}' has {HEADS} heads by design: leave heads at 1")
        return HEADS

    @classmethod
    def check_dense_head(cls, name: str) -> None:
        raise InputError(f"dense_head is true, but fusion '{name}' has a dense head by design: leave it at false")

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return self.dense(last_steps(audio, video))


class CrossModalAttention(Fusion):
    """`cma`: two cross-modal attention blocks and statistics pooling, after reference 15 (Krishna and Patil).

    There, speech and text meet in one attention block in each direction. The mean and standard deviation over time of
    both are classified. Section II says no more, and Tables II and III leave it out. Chosen here: the branches, widths
    and transformer block of the other systems, so that a comparison is about the fusion; the blocks after stage 2. The
    variance has a floor: without it the slope of the deviation is infinite where all steps of a modality are equal.
    """

    widths = STAGE2
    width = 2 * sum(STAGE2)
    smallest_variance = 1e-5

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(*STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        statistics = []
        for steps in (audio, video):
            variance = steps.var(dim=-1, correction=0)
            statistics += [steps.mean(dim=-1), (variance + self.smallest_variance).sqrt()]
        return torch.cat(statistics, dim=-1)


FUSIONS: dict[str, type[Fusion]] = {
    "lt": LateTransformer,
    "it": IntermediateTransformer,
    "ia": IntermediateAttention,
    "tav": AudioIntoVideo,
    "tva": VideoIntoAudio,
    "mlt": LateTransformerWithMemory,
    "mult": MultimodalTransformer,
    "cma": CrossModalAttention,
    "audio": AudioOnly,
    "video": VideoOnly,
}


def check_heads(fusion: str, heads: int) -> int:
    """The number of heads that the fusion will have; InputError where `heads` does not fit it."""
    return FUSIONS[fusion].check_heads(fusion, heads)


def check_dense_head(fusion: str, dense_head: bool) -> None:
    """Raises InputError where `dense_head` is True and the fusion cannot be given one."""
    if dense_head:
        FUSIONS[fusion].check_dense_head(fusion)
