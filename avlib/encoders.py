"""The two branches of the paper's Table I. Each has two stages; a fusion may act between them."""

import torch
import torch.nn.functional as F
from torch import nn

AUDIO_WIDTHS = (64, 128, 256, 128)  # filters of the four audio convolutions
VIDEO_WIDTHS = (64, 64, 128, 128)  # filters of the four temporal convolutions over frame descriptors
REMOVED = 12  # steps that the four audio blocks remove, six in each stage


def audio_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, norm, ReLU and pooling: (B, inputs, T) to (B, outputs, T - 3).

    Table I prints the pooling as "2x1". Kernel 2, stride 1 and no padding are those of the authors' code, which the
    paper's numbers come from.
    """
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, 3), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True), nn.MaxPool1d(2, stride=1)
    )


def video_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution in time, norm and ReLU: (B, inputs, T) to (B, outputs, T)."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding="same"), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


def long_enough(audio: torch.Tensor) -> torch.Tensor:
    """The same audio (B, C, T); where T is too short for the four blocks, its first and last step are repeated.

    156 MFCC steps stay unchanged. A dataset of features may have only one step per clip.
    """
    lacking = max(0, REMOVED + 1 - audio.shape[-1])
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


class VideoBranch(nn.Module):
    """Faces: frame descriptors (B, Tv, 1024) to (B, 64, Tv) after stage 1 and (B, 128, Tv) after stage 2.

    inputs : length of a descriptor; 1024 by EfficientFace, 35 features in CMU-MOSEI
    """

    def __init__(self, inputs: int):
        super().__init__()
        first, second, third, fourth = VIDEO_WIDTHS
        self.earlier = nn.Sequential(video_block(inputs, first), video_block(first, second))
        self.later = nn.Sequential(video_block(second, third), video_block(third, fourth))

    def stage1(self, descriptors: torch.Tensor) -> torch.Tensor:
        return self.earlier(descriptors.transpose(1, 2))

    def stage2(self, video: torch.Tensor) -> torch.Tensor:
        return self.later(video)


class NoBranch(nn.Module):
    """The missing branch of a single-modality model: it returns None."""

    def stage1(self, _: torch.Tensor) -> None:
        return None

    stage2 = stage1


class WithStandIn(nn.Module):
    """A branch that reads a learned vector in place of each step of a missing modality.

    Ramazanova et al. (arXiv 2401.11470) learn such a token for the missing modality. It starts as the zeros that stand
    for it without this class, and dropout `learned` teaches it.

    shape : of the vector, to fit a clip: (C, 1) for audio (B, C, Ta), (C,) for descriptors (B, Tv, C)
    """

    def __init__(self, branch: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.branch = branch
        self.stand_in = nn.Parameter(torch.zeros(shape))

    def stage1(self, steps: torch.Tensor) -> torch.Tensor:
        is_missing = ~steps.flatten(1).any(dim=1)  # (B,)
        return self.branch.stage1(torch.where(is_missing[:, None, None], self.stand_in, steps))

    def stage2(self, steps: torch.Tensor) -> torch.Tensor:
        return self.branch.stage2(steps)


def audio_seconds(steps: int, inputs: int, hop_seconds: float) -> torch.Tensor:
    """The centre of each audio step (steps,), in seconds of the window.

    steps : after stage 1 or 2, such as 150 or 144 from 156 `inputs`; each block drops as many at both ends
    hop_seconds : from one MFCC step to the next; the first is centred at 0
    """
    return (torch.arange(steps) + (inputs - steps) / 2) * hop_seconds
