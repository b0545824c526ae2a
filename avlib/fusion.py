"""The fusion approaches of section III.B, those that the paper compares them with, and `cma`: one table of them.

Every entry is a module with the same three methods: one called after stage 1 of both branches, one after stage 2, and
one that makes a vector of what is left. The first two take and return audio (B, C, Ta) and video (B, C, Tv), and return
a dict of attention tensors; what an entry does not override changes nothing.

Direction: `video_to_audio` carries video into the audio branch, so audio asks (query) and video is looked at (key).
"""

import torch
from torch import nn

from avlib import InputError
from avlib.attention import ConvolutionalMlp, Similarity, TransformerBlock, attention_vector
from avlib.encoders import AUDIO_WIDTHS, VIDEO_WIDTHS
from avlib.mult import HEADS, WIDTH, MultExchange, ResidualDense, last_steps

Fused = tuple[torch.Tensor | None, torch.Tensor | None, dict[str, torch.Tensor]]

STAGE1 = AUDIO_WIDTHS[1], VIDEO_WIDTHS[1]  # channels of audio and video after stage 1: 128, 64
STAGE2 = AUDIO_WIDTHS[3], VIDEO_WIDTHS[3]  # and after stage 2: 128, 128


class Fusion(nn.Module):
    """No exchange between the branches, their means over time side by side: the base of the table's entries."""

    modalities = ("audio", "video")  # the branches that the model has
    widths: tuple[int, ...] = ()  # attention widths, which the number of heads must divide
    mutual = False  # True = each modality attends to the other
    own_heads: int | None = None  # the number of heads where the design, not the user, says it
    own_dense_head = False  # True = a dense head is part of the design
    own_branches = (
        False  # True = reads sound and frame descriptors themselves, not what Table I's branches make of them
    )
    width = sum(STAGE2)  # of what `pool` returns

    def __init__(self, heads: int = 1):
        super().__init__()

    def after_stage1(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return audio, video, {}

    def pool(self, audio: torch.Tensor | None, video: torch.Tensor | None) -> torch.Tensor:
        """The clip as one vector (B, width) for the classifier; None stands for a branch that is not there."""
        return torch.cat([steps.mean(dim=-1) for steps in (audio, video) if steps is not None], dim=-1)


class AudioOnly(Fusion):
    """`audio`: the audio branch alone, the honest upper bound of condition A."""

    modalities = ("audio",)
    width = STAGE2[0]


class VideoOnly(Fusion):
    """`video`: the vision branch alone, the honest upper bound of condition V."""

    modalities = ("video",)
    width = STAGE2[1]


def ask(block: TransformerBlock, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a block makes of query (B, C, Tq) and key (B, C, Tk): (B, C, Tq), and the attention (B, H, Tq, Tk)."""
    steps, weights = block(query=query.transpose(1, 2), key=key.transpose(1, 2))
    return steps.transpose(1, 2), weights


class Exchange(nn.Module):
    """A transformer block in each direction, both reading the same two inputs: audio (B, C, Ta), video (B, C, Tv)."""

    def __init__(self, audio_width: int, video_width: int, heads: int):
        super().__init__()
        self.video_to_audio = TransformerBlock(audio_width, video_width, audio_width, heads)
        self.audio_to_video = TransformerBlock(video_width, audio_width, video_width, heads)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, video_to_audio = ask(self.video_to_audio, query=audio, key=video)
        into_video, audio_to_video = ask(self.audio_to_video, query=video, key=audio)
        return into_audio, into_video, {"video_to_audio": video_to_audio, "audio_to_video": audio_to_video}


class LateTransformer(Fusion):
    """`lt`, section III.B.1: each branch's output is replaced by what it asks of the other."""

    widths = STAGE2
    mutual = True

    def __init__(self, heads: int = 1):
        super().__init__()
        self.exchange = Exchange(*STAGE2, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)


class IntermediateTransformer(Fusion):
    """`it`, section III.B.2: after stage 1, what a branch asks of the other is added to it."""

    widths = STAGE1
    mutual = True

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
    mutual = True

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

    One block whose MLP is convolutional. Video asks, audio is looked at, and only the answer is classified. It holds
    values of audio alone, since the block has no residual around the attention: without audio nothing tells one clip
    from another, and Table II has 13.33 % there: one emotion for all.
    """

    widths = (STAGE2[1],)
    width = STAGE2[1]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.audio_to_video = TransformerBlock(video_width, audio_width, video_width, heads, mlp=ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_video, weights = ask(self.audio_to_video, query=video, key=audio)
        return None, into_video, {"audio_to_video": weights}


class VideoIntoAudio(Fusion):
    """`tva`: the other direction of `tav`; audio asks, video is looked at, and only the answer is classified."""

    widths = (STAGE2[0],)
    width = STAGE2[0]

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.video_to_audio = TransformerBlock(audio_width, video_width, audio_width, heads, mlp=ConvolutionalMlp)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        into_audio, weights = ask(self.video_to_audio, query=audio, key=video)
        return into_audio, None, {"video_to_audio": weights}


class LateTransformerWithMemory(Fusion):
    """`mlt`: late transformer, then a block of self-attention in each branch, as section IV takes reference 14.

    MULT's structure from the paper's own blocks: first the other modality is asked, then each branch looks back at what
    it was told.
    """

    widths = STAGE2
    mutual = True

    def __init__(self, heads: int = 1):
        super().__init__()
        audio_width, video_width = STAGE2
        self.exchange = Exchange(audio_width, video_width, heads)
        self.audio_to_audio = TransformerBlock(audio_width, audio_width, audio_width, heads)
        self.video_to_video = TransformerBlock(video_width, video_width, video_width, heads)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        audio, video, attention = self.exchange(audio, video)
        audio, attention["audio_to_audio"] = ask(self.audio_to_audio, query=audio, key=audio)
        video, attention["video_to_video"] = ask(self.video_to_video, query=video, key=video)
        return audio, video, attention


class MultimodalTransformer(Fusion):
    """`mult`: reference 14 without language, with projections of its own in place of Table I's branches (Table III).

    Its attention is the mean over its layers. Its heads, like its layers, are part of its design.

    audio_channels : 10 MFCCs, or features      video_channels : length of a frame's descriptor
    """

    widths = (WIDTH,)
    mutual = True
    own_heads = HEADS
    own_dense_head = True
    own_branches = True
    width = 2 * WIDTH

    def __init__(self, heads: int, audio_channels: int, video_channels: int):
        super().__init__()
        self.exchange = MultExchange(audio_channels, video_channels)
        self.dense = ResidualDense(self.width)

    def after_stage2(self, audio: torch.Tensor, video: torch.Tensor) -> Fused:
        return self.exchange(audio, video)

    def pool(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return self.dense(last_steps(audio, video))


class CrossModalAttention(Fusion):
    """`cma`: two cross-modal attention blocks and statistics pooling, after reference 15 (Krishna and Patil).

    There, speech and text meet in one attention block in each direction, and the mean and standard deviation over time
    of both are classified. Section II says no more and Tables II and III leave it out; sizes for text would not fit
    video. Chosen here: the branches, widths and transformer block of the other systems, so that a comparison is about
    the fusion, with the blocks after stage 2; the deviation over all steps (not one less), with a floor that keeps its
    slope finite where the steps of a missing modality are all alike.
    """

    widths = STAGE2
    mutual = True
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
    """The number of heads that the fusion will have, where `heads` suits it; otherwise InputError, naming what does.

    It must divide every attention width. MULT has the 5 heads that its authors gave it, as it has their 5 layers and 30
    channels; 1, the default of everything else, leaves them as they are.
    """
    widths, own = FUSIONS[fusion].widths, FUSIONS[fusion].own_heads
    if own is not None and heads not in (1, own):
        raise InputError(f"heads is {heads}, but fusion '{fusion}' has {own} heads by design: leave heads at 1")
    if own is not None:
        return own
    if not widths and heads != 1:
        raise InputError(f"heads is {heads}, but fusion '{fusion}' has no attention: leave heads at 1")
    if heads < 1 or any(width % heads for width in widths):
        fitting = [str(n) for n in range(1, 33) if not any(width % n for width in widths)]
        wide = " and ".join(map(str, sorted(set(widths))))
        raise InputError(
            f"heads is {heads}, which does not divide the attention width of fusion '{fusion}' ({wide}): "
            f"choose one of {', '.join(fitting)}"
        )
    return heads


def check_dense_head(fusion: str, dense_head: bool) -> None:
    """Nothing, where the fusion can be given a dense head, or is given none; otherwise InputError."""
    if dense_head and FUSIONS[fusion].own_dense_head:
        raise InputError(f"dense_head is true, but fusion '{fusion}' has a dense head by design: leave it at false")
