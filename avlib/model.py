"""The whole network of Figure 1: two branches in two stages, a fusion from the table, one linear layer."""

from typing import NamedTuple

import torch
from torch import nn

from avlib import InputError
from avlib.efficientface import STRIDE
from avlib.encoders import AUDIO_WIDTHS, AudioBranch, NoBranch, VideoBranch
from avlib.fusion import FUSIONS, check_heads


class Output(NamedTuple):
    """What the network says and what it looked at."""

    logits: torch.Tensor  # (B, classes)
    attention: dict[str, torch.Tensor]  # by name, as in fusion.py; empty where nothing is exchanged


class AudiovisualNet(nn.Module):
    """Emotion logits for clips of speech and face; `build_model` makes it.

    audio : (B, 10, Ta) float32 MFCCs      video : (B, Tv, 3, H, W) float32 in [0, 1]
    A missing modality is a tensor of zeros. A single-modality model does not read the other one.
    """

    def __init__(self, fusion: str, heads: int, classes: int):
        super().__init__()
        self.fusion = FUSIONS[fusion](heads)
        self.audio = AudioBranch() if "audio" in self.fusion.modalities else NoBranch()
        self.video = VideoBranch() if "video" in self.fusion.modalities else NoBranch()
        self.classifier = nn.Linear(AUDIO_WIDTHS[-1] * len(self.fusion.modalities), classes)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        audio, video = self.audio.stage1(audio), self.video.stage1(video)
        audio, video, early = self.fusion.after_stage1(audio, video)  # (B, 128, Ta - 6), (B, 64, Tv)
        audio, video = self.audio.stage2(audio), self.video.stage2(video)
        audio, video, late = self.fusion.after_stage2(audio, video)  # (B, 128, Ta - 12), (B, 128, Tv)
        pooled = [steps.mean(dim=-1) for steps in (audio, video) if steps is not None]
        return Output(self.classifier(torch.cat(pooled, dim=-1)), early | late)


def build_model(fusion: str = "ia", heads: int = 1, classes: int = 8, image_size: int = 224) -> AudiovisualNet:
    """A network with fresh weights, drawn from torch's global generator.

    fusion : an entry of `FUSIONS`      heads : in each attention      classes : 8, or 7 without neutral
    image_size : side of the face crops in pixels, a multiple of 32 from 64 (the paper: 224); the weights fit any
    Raises InputError where one of them does not fit.
    """
    if fusion not in FUSIONS:
        raise InputError(f"fusion is '{fusion}'; choose one of {', '.join(FUSIONS)}")
    if image_size < 2 * STRIDE or image_size % STRIDE:
        raise InputError(f"image_size is {image_size}; choose a multiple of {STRIDE} from {2 * STRIDE}, as 64 or 224")
    if classes < 2:
        raise InputError(f"classes is {classes}; there must be at least 2")
    check_heads(fusion, heads)
    return AudiovisualNet(fusion, heads, classes)
