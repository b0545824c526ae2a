"""EfficientFace (Zhao et al., AAAI 2021): one face image in, one descriptor of 1024 numbers out.

A ShuffleNet V2 with two additions to its first stage: a local branch with separate filters for each quarter of the
face, and a modulator that weighs channels and places. Source: the paper's section III.A.1 and EfficientFace's published
model (zengqunzhao/EfficientFace), whose numbers this file reproduces.
"""

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (29, 116, 232, 464, 1024)  # after the stem, stages 2, 3, 4 and the last convolution
REPEATS = (4, 8, 4)  # units in stages 2, 3, 4
FEATURES = CHANNELS[-1]  # length of a frame's descriptor
STRIDE = 32  # pixels of the image per cell of the last map


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> list:
    """A convolution without bias, a batch norm and, with `relu`, a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)] + ([nn.ReLU(inplace=True)] if relu else [])


def interleave(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two stacks of maps (N, C, H, W) as one (N, 2 C, H, W), channels in turn: a1 b1 a2 b2 …; as `second` in memory."""
    if second.is_contiguous():
        return torch.stack([first, second], dim=2).flatten(1, 2)
    pairs = torch.stack([maps.movedim(1, -1) for maps in (first, second)], dim=-1)  # (N, H, W, C, 2): channels last
    return pairs.flatten(-2).movedim(-1, 1)


class ShuffleUnit(nn.Module):
    """ShuffleNet V2's unit: half of the channels are filtered, half stay; then both are interleaved.

    With stride 2 the maps become smaller, so two branches filter all channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        half = outputs // 2
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                *conv_norm(inputs, inputs, 3, stride, groups=inputs, relu=False), *conv_norm(inputs, half, 1)
            )
        self.filtered = nn.Sequential(
            *conv_norm(inputs if stride > 1 else half, half, 1),
            *conv_norm(half, half, 3, stride, groups=half, relu=False),
            *conv_norm(half, half, 1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        kept, filtered = maps.chunk(2, dim=1) if self.stride == 1 else (maps, maps)
        return interleave(self.shortcut(kept), self.filtered(filtered))


class LocalFeatures(nn.Module):
    """Separate depthwise filters for each quarter of the face: (N, 29, H, W) to (N, 116, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.quarters = nn.ModuleList(
            nn.Sequential(
                *conv_norm(inputs, outputs, 3, stride=2, groups=inputs), *conv_norm(outputs, outputs, 3, groups=outputs)
            )
            for _ in range(4)  # top left, bottom left, top right, bottom right
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        halves = [half for column in maps.chunk(2, dim=3) for half in column.chunk(2, dim=2)]
        top_left, bottom_left, top_right, bottom_right = (
            quarter(half) for quarter, half in zip(self.quarters, halves, strict=True)
        )
        left, right = torch.cat([top_left, bottom_left], dim=2), torch.cat([top_right, bottom_right], dim=2)
        return torch.cat([left, right], dim=3)


class Modulator(nn.Module):
    """The maps times a gate in (0, 1): the sigmoid of a channel score times a place score."""

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4):
        super().__init__()
        few = channels // reduction
        self.channel_gate = nn.Sequential(
            nn.Linear(channels, few), nn.BatchNorm1d(few), nn.ReLU(), nn.Linear(few, channels)
        )
        dilated = []
        for _ in range(2):
            convolution = nn.Conv2d(few, few, 3, padding=dilation, dilation=dilation)
            dilated += [convolution, nn.BatchNorm2d(few), nn.ReLU()]
        self.place_gate = nn.Sequential(
            nn.Conv2d(channels, few, 1), nn.BatchNorm2d(few), nn.ReLU(), *dilated, nn.Conv2d(few, 1, 1)
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pooled = F.avg_pool2d(maps, maps.shape[2:]).flatten(1)  # (N, C)   rounds as the original does, unlike mean()
        channels = self.channel_gate(pooled)[:, :, None, None]  # (N, C, 1, 1)
        places = self.place_gate(maps)  # (N, 1, H, W)
        return torch.sigmoid(channels * places) * maps


class EfficientFace(nn.Module):
    """Frame descriptors (N, 1024) of face images (N, 3, S, S) with values in [0, 1].

    S is 224 in the paper. Any multiple of 32 from 64 works and takes (S / 224)² of the time.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, CHANNELS[0], 3, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(ShuffleUnit(inputs, outputs, 2), *(ShuffleUnit(outputs, outputs, 1) for _ in range(more - 1)))
            for inputs, outputs, more in zip(CHANNELS, CHANNELS[1:4], REPEATS, strict=False)
        )
        self.local = LocalFeatures(CHANNELS[0], CHANNELS[1])
        self.modulator = Modulator(CHANNELS[1])
        self.last = nn.Sequential(*conv_norm(CHANNELS[3], FEATURES, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        S = images.shape[-1]
        assert S % STRIDE == 0, f"images are {S} pixels wide: they must be a multiple of {STRIDE}"
        maps = self.stem(images)  # (N, 29, S / 4, S / 4)
        maps = self.modulator(self.stage2(maps)) + self.local(maps)  # (N, 116, S / 8, S / 8)
        maps = self.stage4(self.stage3(maps))  # (N, 464, S / 32, S / 32)
        maps = self.last(maps)  # (N, 1024, S / 32, S / 32)
        return maps.mean(dim=(2, 3))  # (N, 1024)
