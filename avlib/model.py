"""The whole network of Figure 1: two branches in two stages, a fusion from the table, one linear layer."""

import torch
from torch import nn

from avlib import InputError
from avlib.attention import Output
from avlib.encoders import AsItIs, AudioBranch, Descriptors, NoBranch, Video, VideoBranch
from avlib.fusion import FUSIONS, check_dense_head, check_heads
from avlib.mult import ResidualDense
from avlib.vision import make_front


class AudiovisualNet(nn.Module):
    """Emotion logits for clips of speech and face; `build_model` makes it.

    audio : (B, 10, Ta) float32 MFCCs      video : (B, Tv, 3, H, W) float32 in [0, 1]
    or features: (B, audio_channels, Ta) and (B, Tv, video_channels)
    A missing modality is a tensor of zeros. A single-modality model does not read the other one.
    Video may also come as `Distinct` frames, each held once: the same logits, gradients and running statistics sooner.
    """

    def __init__(
        self,
        fusion: str,
        heads: int,
        classes: int,
        image_size: int,
        dense_head: bool,
        vision: str,
        audio_channels: int,
        video_channels: int,
    ):
        super().__init__()
        kind = FUSIONS[fusion]
        self.audio, self.video = NoBranch(), NoBranch()
        if "audio" in kind.modalities:
            self.audio = AsItIs() if kind.own_branches else AudioBranch(audio_channels)
        if "video" in kind.modalities:
            features = nn.Identity(), video_channels
            front, video_channels = features if video_channels else make_front(vision, image_size)
            self.video = Descriptors(front) if kind.own_branches else VideoBranch(front, video_channels)
        self.fusion = kind(heads, audio_channels, video_channels) if kind.own_branches else kind(heads)
        self.dense = ResidualDense(self.fusion.width) if dense_head else nn.Identity()
        self.classifier = nn.Linear(self.fusion.width, classes)

    def describe(self, video: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, Tv, C) of all frames, which `forward` takes in their place: for frames that serve twice."""
        return self.video.describe(video)

    def forward(self, audio: torch.Tensor, video: Video) -> Output:
        audio, video = self.audio.stage1(audio), self.video.stage1(video)
        audio, video, early = self.fusion.after_stage1(audio, video)  # (B, 128, Ta - 6), (B, 64, Tv)
        audio, video = self.audio.stage2(audio), self.video.stage2(video)
        audio, video, late = self.fusion.after_stage2(audio, video)  # (B, 128, Ta - 12), (B, 128, Tv)
        pooled = self.dense(self.fusion.pool(audio, video))
        return Output(self.classifier(pooled), early | late)


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware is made for it, float32 on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def build_model(
    fusion: str = "ia",
    heads: int = 1,
    classes: int = 8,
    image_size: int = 224,
    dense_head: bool = False,
    vision: str = "efficientface",
    audio_channels: int = 10,
    video_channels: int = 0,
) -> AudiovisualNet:
    """A network with fresh weights, drawn from torch's global generator.

    fusion : an entry of `FUSIONS`      heads : in each attention
    classes : 8, or 7 without neutral; 1 for a network that returns a score, such as sentiment
    image_size : side of the face crops in pixels, a multiple of 32 from 64 (the paper: 224); the weights fit any
    dense_head : a residual dense head in front of the classifier, for the comparison with MULT (Table III)
    vision : what looks at a frame, efficientface or timm:NAME
    audio_channels : 10 MFCCs, or as many as the features have
    video_channels : features in each step, where video comes as features; 0 where it comes as frames
    Raises InputError where one of them does not fit.
    """
    if fusion not in FUSIONS:
        raise InputError(f"fusion is '{fusion}'; choose one of {', '.join(FUSIONS)}")
    if classes < 1:
        raise InputError(f"classes is {classes}; there must be at least 2, or 1 for a score")
    check_dense_head(fusion, dense_head)
    heads = check_heads(fusion, heads)
    return AudiovisualNet(fusion, heads, classes, image_size, dense_head, vision, audio_channels, video_channels)
