"""The whole network of Figure 1: two branches in two stages, a fusion from the table, one linear layer."""

import torch
from torch import nn

from avlib import InputError
from avlib.attention import Output
from avlib.efficientface import STRIDE
from avlib.encoders import AudioBranch, NoBranch, VideoBranch
from avlib.fusion import FUSIONS, check_dense_head, check_heads
from avlib.mult import ResidualDense


class AudiovisualNet(nn.Module):
    """Emotion logits for clips of speech and face; `build_model` makes it.

    audio : (B, 10, Ta) float32 MFCCs      video : (B, Tv, 3, H, W) float32 in [0, 1]
    A missing modality is a tensor of zeros. A single-modality model does not read the other one.
    """

    def __init__(self, fusion: str, heads: int, classes: int, dense_head: bool = False):
        super().__init__()
        self.fusion = FUSIONS[fusion](heads)
        self.audio = AudioBranch() if "audio" in self.fusion.modalities else NoBranch()
        self.video = VideoBranch() if "video" in self.fusion.modalities else NoBranch()
        self.dense = ResidualDense(self.fusion.width) if dense_head else nn.Identity()
        self.classifier = nn.Linear(self.fusion.width, classes)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        audio, video = self.audio.stage1(audio), self.video.stage1(video)
        audio, video, early = self.fusion.after_stage1(audio, video)  # (B, 128, Ta - 6), (B, 64, Tv)
        audio, video = self.audio.stage2(audio), self.video.stage2(video)
        audio, video, late = self.fusion.after_stage2(audio, video)  # (B, 128, Ta - 12), (B, 128, Tv)
        pooled = self.dense(self.fusion.pool(audio, video))
        return Output(self.classifier(pooled), early | late)


def build_model(
    fusion: str = "ia", heads: int = 1, classes: int = 8, image_size: int = 224, dense_head: bool = False
) -> AudiovisualNet:
    """A network with fresh weights, drawn from torch's global generator.

    fusion : an entry of `FUSIONS`      heads : in each attention      classes : 8, or 7 without neutral
    image_size : side of the face crops in pixels, a multiple of 32 from 64 (the paper: 224); the weights fit any
    dense_head : a residual dense head in front of the classifier, for the comparison with MULT (Table III)
    Raises InputError where one of them does not fit.
    """
    if fusion not in FUSIONS:
        raise InputError(f"fusion is '{fusion}'; choose one of {', '.join(FUSIONS)}")
    if image_size < 2 * STRIDE or image_size % STRIDE:
        raise InputError(f"image_size is {image_size}; choose a multiple of {STRIDE} from {2 * STRIDE}, as 64 or 224")
    if classes < 2:
        raise InputError(f"classes is {classes}; there must be at least 2")
    check_dense_head(fusion, dense_head)
    return AudiovisualNet(fusion, check_heads(fusion, heads), classes, dense_head)
