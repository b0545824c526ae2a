"""The table of fusions: those of section III.B, those that the paper compares them with, and ours.

An entry makes its two branches and has three methods. `after_stage1` and `after_stage2` take audio (B, C, Ta) and
video (B, C, Tv); they return both, and a dict of attention tensors. `pool` makes one vector of the output of stage 2.

Direction: in `video_to_audio` audio is the query and video is the key.
"""

import torch
from torch import nn

from avlib.attention import ConvolutionalMlp, Similarity, TransformerBlock, attention_vector
from avlib.encoders import AUDIO_WIDTHS, VIDEO_WIDTHS, AudioBranch, NoBranch, VideoBranch
from avlib.mult import HEADS, WIDTH, MultExchange, Projection, ResidualDense, last_steps

Steps = torch.Tensor | None  # (B, C, T); None = the branch is missing
Fused = tuple[Steps, Steps, dict[str, torch.Tensor]]

STAGE1 = AUDIO_WIDTHS[1], VIDEO_WIDTHS[1]  # channels of audio and video after stage 1: 128, 64
STAGE2 = AUDIO_WIDTHS[3], VIDEO_WIDTHS[3]  # and after stage 2: 128, 128


class Fusion(nn.Module):
    """`concat`, and the base of all entries: both means over time, concatenated.

    Nothing is exchanged. With one linear layer above, the logit of an emotion is a
    score of the sound plus a score of the picture.
    """

    modalities = ("audio", "video")  # the branches that the model has
    widths: tuple[int, ...] = ()  # of its attention, divided by `heads`; () = none
    own_heads = 0  # heads that the design fixes; 0 = any that divides the widths
    has_dense_head = False  # by design; others may get one
    width = sum(STAGE2)  # of the vector that `pool` returns

    def __init__(self, heads: int = 1):
        super().__init__()

    @classmethod
    def audio_branch(cls, channels: int) -> nn.Module:
        """Stages 1 and 2 for audio (B, channels, Ta)."""
        return AudioBranch(channels) if "audio" in cls.modalities else NoBranch()

    @classmethod
    def video_branch(cls, channels: int) -> nn.Module:
        """Stages 1 and 2 for descriptors (B, Tv, channels)."""
        return VideoBranch(channels) if "video" in cls.modalities else NoBranch()

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def pool(self, audio: Steps, video: Steps) -> torch.Tensor:
        """The clip as one vector (B, width)."""
        present = [steps for steps in (audio, video) if steps is not None]
        return torch.cat([steps.mean(dim=-1) for steps in present], dim=-1)


class AudioOnly(Fusion):
    """`audio`: the audio branch alone."""

    modalities = ("audio",)
    width = STAGE2[0]


class VideoOnly(Fusion):
    """`video`: the video branch alone."""

    modalities = ("video",)
    width = STAGE2[1]


def attend(block: TransformerBlock, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output (B, C, Tq) of a block and its attention weights (B, H, Tq, Tk).

    query : (B, C, Tq)      key : (B, C', Tk)
    """
    steps, weights = block(query=query.transpose(1, 2), key=key.transpose(1, 2))
    return steps.transpose(1, 2), weights


class Exchange(nn.Module):
    """A transformer block in each direction: audio (B, C, Ta) and video (B, C', Tv)."""

    def __init__(self, widths: tuple[int, int], heads: int):
        super().__init__()
        audio, video = widths
        self.video_to_audio = TransformerBlock(audio, video, heads)
        self.audio_to_video = TransformerBlock(video, audio, heads)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        maps = {}
        into_audio, maps["video_to_audio"] = attend(self.video_to_audio, audio, video)
        into_video, maps["audio_to_video"] = attend(self.audio_to_video, video, audio)
        return into_audio, into_video, maps


class LateTransformer(Fusion):
    """`lt`, section III.B.1: after stage 2, each becomes its attention to the other."""

    widths = STAGE2

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)


class IntermediateTransformer(Fusion):
    """`it`, section III.B.2: attention to the other branch is added, after stage 1."""

    widths = STAGE1

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(STAGE1, heads)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, into_video, attention = self.exchange(audio, video)
        return audio + into_audio, video + into_video, attention


class IntermediateAttention(Fusion):
    """`ia`, section III.B.3: after stage 1, each step is multiplied by its attention.

    A step's attention is what it receives from all steps of the other modality.
    No features are exchanged, only two vectors: audio (B, Ta) and video (B, Tv).
    """

    widths = STAGE1

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE1
        self.video_to_audio = Similarity(audio, video, heads)
        self.audio_to_video = Similarity(video, audio, heads)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        sound, picture = audio.transpose(1, 2), video.transpose(1, 2)  # (B, T, C)
        maps = {
            "video_to_audio": self.video_to_audio(sound, picture),  # (B, H, Ta, Tv)
            "audio_to_video": self.audio_to_video(picture, sound),  # (B, H, Tv, Ta)
        }
        vectors = {
            "video": attention_vector(maps["video_to_audio"]),  # (B, Tv)   totals Ta
            "audio": attention_vector(maps["audio_to_video"]),  # (B, Ta)   totals Tv
        }
        audio = audio * vectors["audio"][:, None]
        video = video * vectors["video"][:, None]
        return audio, video, maps | vectors


class AudioIntoVideo(Fusion):
    """`tav`: after stage 2, video attends to audio (reference 16, as in section IV).

    One block with a convolutional MLP; only its output is classified. Around its
    attention there is no residual, so the output holds audio alone. Without audio all
    clips look the same: Table II has 13.33 % there, one emotion for all.
    """

    widths = (STAGE2[1],)
    width = STAGE2[1]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE2
        self.audio_to_video = TransformerBlock(video, audio, heads, ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_video, weights = attend(self.audio_to_video, query=video, key=audio)
        return None, into_video, {"audio_to_video": weights}


class VideoIntoAudio(Fusion):
    """`tva`: the other direction of `tav`; audio attends to video."""

    widths = (STAGE2[0],)
    width = STAGE2[0]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE2
        self.video_to_audio = TransformerBlock(audio, video, heads, ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, weights = attend(self.video_to_audio, query=audio, key=video)
        return into_audio, None, {"video_to_audio": weights}


class LateTransformerWithMemory(Fusion):
    """`mlt`: late transformer, then self-attention in each branch.

    Reference 14 (MULT) as in section IV: its structure, with the paper's own blocks.
    """

    widths = STAGE2

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE2
        self.exchange = Exchange(STAGE2, heads)
        self.audio_to_audio = TransformerBlock(audio, audio, heads)
        self.video_to_video = TransformerBlock(video, video, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        audio, video, maps = self.exchange(audio, video)
        audio, maps["audio_to_audio"] = attend(self.audio_to_audio, audio, audio)
        video, maps["video_to_video"] = attend(self.video_to_video, video, video)
        return audio, video, maps


class MultimodalTransformer(Fusion):
    """`mult`: reference 14 without language (Table III).

    It has projections in place of Table I's branches, 5 heads and a dense head.
    Its attention is the mean over its layers.
    """

    widths = (WIDTH,)
    own_heads = HEADS
    has_dense_head = True
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

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return self.dense(last_steps(audio, video))


class CrossModalAttention(Fusion):
    """`cma`: cross-attention and statistics pooling, after reference 15.

    Krishna and Patil have an attention block in each direction between speech and text.
    They classify the mean and standard deviation over time of both. Section II says no
    more, and Tables II and III leave it out. Our choice: blocks after stage 2, with the
    branches, widths and blocks of the other systems, so that only the fusion differs.
    """

    widths = STAGE2
    width = 2 * sum(STAGE2)
    smallest_variance = 1e-5  # at 0 the gradient of the standard deviation is infinite

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        statistics = []
        for steps in (audio, video):
            variance = steps.var(dim=-1, correction=0) + self.smallest_variance
            statistics += [steps.mean(dim=-1), variance.sqrt()]
        return torch.cat(statistics, dim=-1)


def modulate(steps: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """The steps (B, C, T) times 1 + scale, plus shift; coefficients : both, (B, 2 C, 1)."""
    scale, shift = coefficients.chunk(2, dim=1)
    return steps * (1 + scale) + shift


class FeaturewiseModulation(Fusion):
    """`film`: after stage 1, the other branch's mean scales and shifts each channel.

    FiLM of Perez et al. (AAAI 2018), in both directions: an exchange without attention.
    """

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE1
        self.audio_to_video = nn.Linear(audio, 2 * video)
        self.video_to_audio = nn.Linear(video, 2 * audio)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio = self.video_to_audio(video.mean(dim=-1))[..., None]  # (B, 256, 1)
        into_video = self.audio_to_video(audio.mean(dim=-1))[..., None]  # (B, 128, 1)
        return modulate(audio, into_audio), modulate(video, into_video), {}


def beside_mean(steps: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The steps (B, C, T), each followed by the mean of the other branch (B, C', T')."""
    mean = other.mean(dim=-1, keepdim=True)  # (B, C', 1)
    return torch.cat([steps, mean.expand(-1, -1, steps.shape[-1])], dim=1)


class EarlyMeans(Fusion):
    """`early`: after stage 1, the other branch's mean is concatenated to each step.

    The oldest exchange, early fusion, at the place of `it` and `ia`. A linear layer and
    ReLU, for each step alone, bring each branch back to its width.
    """

    def __init__(self, heads: int = 1):
        super().__init__()
        both = sum(STAGE1)
        self.audio, self.video = (nn.Conv1d(both, width, 1) for width in STAGE1)

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio = self.audio(beside_mean(audio, video)).relu()
        into_video = self.video(beside_mean(video, audio)).relu()
        return into_audio, into_video, {}


class BilinearPooling(Fusion):
    """`bilinear`: projections of both means are multiplied, their products classified.

    Low-rank bilinear pooling, Kim et al. (ICLR 2017). The biases stand for the 1 that
    Liu et al. (ACL 2018) append to each mean, so that either may count alone. The layer
    norms are ours: products of small means learn slowly.
    """

    width = 128  # the rank: products that are classified

    def __init__(self, heads: int = 1):
        super().__init__()
        audio, video = STAGE2
        self.audio = nn.Sequential(nn.LayerNorm(audio), nn.Linear(audio, self.width))
        self.video = nn.Sequential(nn.LayerNorm(video), nn.Linear(video, self.width))

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return self.audio(audio.mean(dim=-1)) * self.video(video.mean(dim=-1))


FUSIONS: dict[str, type[Fusion]] = {
    "lt": LateTransformer,
    "it": IntermediateTransformer,
    "ia": IntermediateAttention,
    "tav": AudioIntoVideo,
    "tva": VideoIntoAudio,
    "mlt": LateTransformerWithMemory,
    "mult": MultimodalTransformer,
    "cma": CrossModalAttention,
    "film": FeaturewiseModulation,
    "early": EarlyMeans,
    "bilinear": BilinearPooling,
    "concat": Fusion,
    "audio": AudioOnly,
    "video": VideoOnly,
}


def check_heads(fusion: str, heads: int) -> int:
    """The number of heads that the fusion will have; ValueError where `heads` does not fit."""
    own, widths = FUSIONS[fusion].own_heads, FUSIONS[fusion].widths
    if (own or not widths) and heads not in (1, own or 1):
        reason = f"has {own} heads by design" if own else "has no attention"
        raise ValueError(f"heads is {heads}, but fusion '{fusion}' {reason}: leave heads at 1")
    numbers = [number for number in range(1, 129) if not any(width % number for width in widths)]
    if not own and heads not in numbers:
        raise ValueError(
            f"heads is {heads}, which does not divide the attention width of fusion '{fusion}' "
            f"({' and '.join(map(str, sorted(set(widths))))}): choose one of {', '.join(map(str, numbers))}"
        )
    return own or heads


def check_even_attention(fusion: str, even_attention: bool) -> None:
    """Raises ValueError where `even_attention` is True and the fusion has no attention."""
    if even_attention and not FUSIONS[fusion].widths:
        raise ValueError(f"even_attention is true, but fusion '{fusion}' has no attention: leave it at false")


def check_dense_head(fusion: str, dense_head: bool) -> None:
    """Raises ValueError where `dense_head` is True and the fusion has one by design."""
    if dense_head and FUSIONS[fusion].has_dense_head:
        raise ValueError(f"dense_head is true, but fusion '{fusion}' has a dense head by design: leave it at false")
