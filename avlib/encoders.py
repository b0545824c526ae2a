"""The two branches of the paper's Table I, each in two stages with the place for fusion between them."""

import torch
import torch.nn.functional as F
from torch import nn

from avlib.speed.sharing import Counting, Distinct

Video = torch.Tensor | Distinct  # frames (B, Tv, 3, S, S), features or descriptors (B, Tv, C), or each held once

AUDIO_WIDTHS = (64, 128, 256, 128)  # filters of the four audio convolutions
VIDEO_WIDTHS = (64, 64, 128, 128)  # filters of the four temporal convolutions over frame descriptors
LOST = 12  # steps that the four audio blocks shorten a sequence by, half of them in each stage


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


def long_enough(audio: torch.Tensor) -> torch.Tensor:
    """The same audio (B, C, T), its first and last step repeated where T is too short for the four blocks.

    156 MFCCs stay as they are; a corpus of features may have as little as one step for a clip.
    """
    lacking = max(0, LOST + 1 - audio.shape[-1])
    return F.pad(audio, (lacking // 2, lacking - lacking // 2), mode="replicate") if lacking else audio


class AudioBranch(nn.Module):
    """Speech: MFCCs (B, 10, 156) to (B, 128, 150) after stage 1 and (B, 128, 144) after stage 2.

    inputs : channels of the audio; 10 MFCCs in the paper, 74 features in CMU-MOSEI
    """

    def __init__(self, inputs: int):
        super().__init__()
        first, second, third, fourth = AUDIO_WIDTHS
        self.earlier = nn.Sequential(audio_block(inputs, first), audio_block(first, second))
        self.later = nn.Sequential(audio_block(second, third), audio_block(third, fourth))

    def stage1(self, audio: torch.Tensor) -> torch.Tensor:
        return self.earlier(long_enough(audio))

    def stage2(self, audio: torch.Tensor) -> torch.Tensor:
        return self.later(audio)


class Descriptors(nn.Module):
    """Frame descriptors alone, for a system that brings its own temporal part: (B, Tv, 3, S, S) to (B, C, Tv).

    front : makes a descriptor (N, C) of every frame (N, 3, S, S); the identity where a corpus comes as descriptors
            (B, Tv, C), as CMU-MOSEI does (section IV.2)
    """

    def __init__(self, front: nn.Module):
        super().__init__()
        self.front = front

    def stage1(self, video: Video) -> torch.Tensor:
        return self.describe(video).transpose(1, 2)

    def describe(self, video: Video) -> torch.Tensor:
        """The descriptors of all frames (B, Tv, C); C = 1024 by EfficientFace. Descriptors are returned as they are.

        Distinct frames are described once each where the front can be told how often they count. Others, such as those
        of timm with batch norms of their own, are given all of them.
        """
        if isinstance(video, Distinct):
            if isinstance(self.front, Counting):
                return video.spread(self.front(video.values, video.counts))
            video = video.spread()
        if video.ndim == 3:
            return video
        B, Tv = video.shape[:2]
        return self.front(video.flatten(0, 1)).unflatten(0, (B, Tv))

    def stage2(self, descriptors: torch.Tensor) -> torch.Tensor:
        return descriptors


class VideoBranch(Descriptors):
    """Faces: frames (B, Tv, 3, S, S) in [0, 1] to (B, 64, Tv) after stage 1 and (B, 128, Tv) after stage 2.

    front : as in `Descriptors`      inputs : the length of a descriptor
    """

    def __init__(self, front: nn.Module, inputs: int):
        super().__init__(front)
        first, second, third, fourth = VIDEO_WIDTHS
        self.earlier = nn.Sequential(video_block(inputs, first), video_block(first, second))
        self.later = nn.Sequential(video_block(second, third), video_block(third, fourth))

    def stage1(self, video: Video) -> torch.Tensor:
        return self.earlier(super().stage1(video))

    def stage2(self, video: torch.Tensor) -> torch.Tensor:
        return self.later(video)


class AsItIs(nn.Module):
    """Stands for an audio branch where a system brings its own temporal part: what comes in goes out."""

    def stage1(self, audio: torch.Tensor) -> torch.Tensor:
        return audio

    stage2 = stage1


class NoBranch(nn.Module):
    """Stands for the branch that a single-modality model does not have: nothing in, nothing out."""

    def stage1(self, _: torch.Tensor) -> None:
        return None

    stage2 = stage1

    def describe(self, video: torch.Tensor) -> torch.Tensor:
        return video


def audio_seconds(steps: int, inputs: int, hop_seconds: float) -> torch.Tensor:
    """The centre, in seconds of the window, of each of `steps` audio steps (steps,) made from `inputs` MFCCs.

    Every block drops as many steps at the beginning as at the end: 156 become 150 after stage 1, 144 after stage 2.
    hop_seconds : from one MFCC to the next, the first of which is centred at 0
    """
    return (torch.arange(steps) + (inputs - steps) / 2) * hop_seconds
