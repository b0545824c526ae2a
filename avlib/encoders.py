"""The two branches of the paper's Table I, each in two stages with the place for fusion between them."""

import torch
from torch import nn

from avlib.efficientface import FEATURES, STRIDE, EfficientFace

AUDIO_WIDTHS = (64, 128, 256, 128)  # filters of the four audio convolutions
VIDEO_WIDTHS = (64, 64, 128, 128)  # filters of the four temporal convolutions over frame descriptors


def audio_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, norm, ReLU and pooling: (B, inputs, T) to (B, outputs, T - 3).

    Table I prints the pooling as "2x1"; the authors' code runs it with kernel 2 and stride 1 behind an unpadded
    convolution, and its numbers are the paper's, so that is what stands here.
    """
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, 3), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True), nn.MaxPool1d(2, stride=1)
    )


def video_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution in time, norm and ReLU: (B, inputs, T) to (B, outputs, T)."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding="same"), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class AudioBranch(nn.Module):
    """Speech: MFCCs (B, 10, 156) to (B, 128, 150) after stage 1 and (B, 128, 144) after stage 2."""

    def __init__(self, inputs: int = 10):
        super().__init__()
        first, second, third, fourth = AUDIO_WIDTHS
        self.stage1 = nn.Sequential(audio_block(inputs, first), audio_block(first, second))
        self.stage2 = nn.Sequential(audio_block(second, third), audio_block(third, fourth))


class VideoBranch(nn.Module):
    """Faces: frames (B, Tv, 3, S, S) in [0, 1] to (B, 64, Tv) after stage 1 and (B, 128, Tv) after stage 2."""

    def __init__(self):
        super().__init__()
        first, second, third, fourth = VIDEO_WIDTHS
        self.efficientface = EfficientFace()
        self.temporal = nn.Sequential(video_block(FEATURES, first), video_block(first, second))
        self.stage2 = nn.Sequential(video_block(second, third), video_block(third, fourth))

    def stage1(self, video: torch.Tensor) -> torch.Tensor:
        B, Tv, _, _, S = video.shape
        assert S % STRIDE == 0, f"frames are {S} pixels wide: they must be a multiple of {STRIDE}"
        images = video.flatten(0, 1)
        descriptors = self.efficientface(images).unflatten(0, (B, Tv))  # (B, Tv, 1024)
        return self.temporal(descriptors.transpose(1, 2))  # (B, 64, Tv)


class NoBranch(nn.Module):
    """Stands for the branch that a single-modality model does not have: nothing in, nothing out."""

    def stage1(self, _: torch.Tensor) -> None:
        return None

    stage2 = stage1


def audio_seconds(steps: int, mfcc_steps: int, hop_seconds: float) -> torch.Tensor:
    """The centre, in seconds of the window, of each of `steps` audio steps (steps,) made from `mfcc_steps` MFCCs.

    Every block drops as many steps at the beginning as at the end: 156 become 150 after stage 1, 144 after stage 2.
    """
    return (torch.arange(steps) + (mfcc_steps - steps) / 2) * hop_seconds
