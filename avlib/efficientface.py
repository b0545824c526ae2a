"""EfficientFace (Zhao et al., AAAI 2021): one face image in, one descriptor of 1024 numbers out.

A ShuffleNet V2 whose first stage is enriched twice: by a local branch that gives each quarter of the face filters of
its own, and by a modulator that weighs channels and places. Source: the paper's section III.A.1 and EfficientFace's
published model (zengqunzhao/EfficientFace), whose numbers this file reproduces.
"""

import torch
import torch.nn.functional as F
from torch import nn

from avlib.speed.sharing import Counting, CountingNorm1d, CountingNorm2d, Counts, Layers

CHANNELS = (29, 116, 232, 464, 1024)  # after the stem, stages 2, 3, 4 and the last convolution
REPEATS = (4, 8, 4)  # units in stages 2, 3, 4
FEATURES = CHANNELS[-1]  # length of a frame's descriptor
STRIDE = 32  # pixels of the image per cell of the last map


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> list:
    """A convolution without bias, its batch norm and, unless told otherwise, a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, CountingNorm2d(outputs)] + ([nn.ReLU(inplace=True)] if relu else [])


class Interleave(torch.autograd.Function):
    """Two stacks of maps (N, C, H, W) as one (N, 2 C, H, W), channels in turn: a1 b1 a2 b2 …

    torch would do it by views, and hand convolutions and their gradients maps with gaps, over which they are slow: here
    both are dense, and laid out in memory as what came in, channels last or first.
    """

    @staticmethod
    def forward(ctx, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        last = first.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        N, C, H, W = first.shape
        maps = torch.empty((N, 2 * C, H, W), dtype=first.dtype, device=first.device, memory_format=ctx.layout)
        maps[:, 0::2], maps[:, 1::2] = first, second
        return maps

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        halves = gradient[:, 0::2], gradient[:, 1::2]
        return tuple(half.contiguous(memory_format=ctx.layout) for half in halves)


class ShuffleUnit(Counting):
    """ShuffleNet V2's unit: half of the channels pass by, half are filtered, then both are interleaved.

    With stride 2 there is nothing to pass by at the new size, so both branches filter all channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        half = outputs // 2
        self.stride = stride
        self.shortcut = Layers()
        if stride > 1:
            self.shortcut = Layers(
                *conv_norm(inputs, inputs, 3, stride, groups=inputs, relu=False), *conv_norm(inputs, half, 1)
            )
        self.filtered = Layers(
            *conv_norm(inputs if stride > 1 else half, half, 1),
            *conv_norm(half, half, 3, stride, groups=half, relu=False),
            *conv_norm(half, half, 1),
        )

    def forward(self, maps: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        passing, worked_on = maps.chunk(2, dim=1) if self.stride == 1 else (maps, maps)
        return Interleave.apply(self.shortcut(passing, counts), self.filtered(worked_on, counts))


class LocalFeatures(Counting):
    """Depthwise filters of its own for each quarter of the face: (N, 29, H, W) to (N, 116, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.quarters = nn.ModuleList(
            Layers(
                *conv_norm(inputs, outputs, 3, stride=2, groups=inputs), *conv_norm(outputs, outputs, 3, groups=outputs)
            )
            for _ in range(4)  # top left, bottom left, top right, bottom right
        )

    def forward(self, maps: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        halves = [half for column in maps.chunk(2, dim=3) for half in column.chunk(2, dim=2)]
        top_left, bottom_left, top_right, bottom_right = (
            quarter(half, counts) for quarter, half in zip(self.quarters, halves, strict=True)
        )
        left, right = torch.cat([top_left, bottom_left], dim=2), torch.cat([top_right, bottom_right], dim=2)
        return torch.cat([left, right], dim=3)


class Modulator(Counting):
    """The maps weighed by a gate in (0, 1): sigmoid of a channel score times a place score."""

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4):
        super().__init__()
        few = channels // reduction
        self.channel_gate = Layers(nn.Linear(channels, few), CountingNorm1d(few), nn.ReLU(), nn.Linear(few, channels))
        dilated = []
        for _ in range(2):
            convolution = nn.Conv2d(few, few, 3, padding=dilation, dilation=dilation)
            dilated += [convolution, CountingNorm2d(few), nn.ReLU()]
        self.place_gate = Layers(
            nn.Conv2d(channels, few, 1), CountingNorm2d(few), nn.ReLU(), *dilated, nn.Conv2d(few, 1, 1)
        )

    def forward(self, maps: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        pooled = F.avg_pool2d(maps, maps.shape[2:]).flatten(1)  # (N, C)   rounds as the original does, unlike mean()
        channels = self.channel_gate(pooled, counts)[:, :, None, None]  # (N, C, 1, 1)
        places = self.place_gate(maps, counts)  # (N, 1, H, W)
        return torch.sigmoid(channels * places) * maps


class EfficientFace(Counting):
    """Frame descriptors (N, 1024) of face images (N, 3, S, S) with values in [0, 1].

    S is 224 in the paper; any multiple of 32 from 64 works, and costs (S / 224)² of the time.
    counts : where images stand for several, how often each of them does
    """

    def __init__(self):
        super().__init__()
        self.stem = Layers(*conv_norm(3, CHANNELS[0], 3, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        self.stage2, self.stage3, self.stage4 = (
            Layers(ShuffleUnit(inputs, outputs, 2), *(ShuffleUnit(outputs, outputs, 1) for _ in range(more - 1)))
            for inputs, outputs, more in zip(CHANNELS, CHANNELS[1:4], REPEATS, strict=False)
        )
        self.local = LocalFeatures(CHANNELS[0], CHANNELS[1])
        self.modulator = Modulator(CHANNELS[1])
        self.last = Layers(*conv_norm(CHANNELS[3], FEATURES, 1))

    def forward(self, images: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        S = images.shape[-1]
        assert S % STRIDE == 0, f"images are {S} pixels wide: they must be a multiple of {STRIDE}"
        maps = self.stem(images, counts)  # (N, 29, S / 4, S / 4)
        maps = self.modulator(self.stage2(maps, counts), counts) + self.local(maps, counts)  # (N, 116, S / 8, S / 8)
        maps = self.stage4(self.stage3(maps, counts), counts)  # (N, 464, S / 32, S / 32)
        maps = self.last(maps, counts)  # (N, 1024, S / 32, S / 32)
        return maps.mean(dim=(2, 3))  # (N, 1024)
