"""A batch in which many frames are the same, each distinct one held once, and the batch norm that honours it.

Modality dropout lays several views of every clip side by side, but a view without sound has the frames of the clip
itself, and all frames of a view without video are one black image. To encode each distinct frame once is to encode half
as many, and it is the same mathematics as long as the only thing that looks across frames, batch norm, knows how often
each of them stands in the batch.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Counts(NamedTuple):
    """How often the distinct frames stand in a batch, in runs: the first `sizes[0]` of them `times[0]` times each, …"""

    sizes: tuple[int, ...]
    times: tuple[int, ...]

    @property
    def total(self) -> int:
        """How many frames the batch would have without sharing."""
        return sum(size * times for size, times in zip(self.sizes, self.times, strict=True))

    def column(self, like: torch.Tensor) -> torch.Tensor:
        """The count of every distinct frame (D, 1, …), to multiply `like` (D, …) by."""
        each = torch.cat([like.new_full((size,), times) for size, times in zip(*self, strict=True)])
        return each.view(-1, *[1] * (like.ndim - 1))


class Distinct(NamedTuple):
    """The frames of V views of Tv frames, each distinct one held once.

    values : (D, 3, S, S), or features (D, C)      places : (V, Tv) which of them stands where
    counts : how often each of them does, in runs along D
    """

    values: torch.Tensor
    places: torch.Tensor
    counts: Counts

    def spread(self, values: torch.Tensor | None = None) -> torch.Tensor:
        """The plain batch (V, Tv, …) of the frames, or of `values` (D, …), what was made of each of them."""
        return (self.values if values is None else values)[self.places]

    def shown(self) -> torch.Tensor:
        """The views that show something (V,): True = at least one frame is not black."""
        return self._bright()[self.places].any(dim=1)

    def where(self, kept: torch.Tensor) -> "Distinct":
        """The views for which `kept` (V,) is True; frames in none of them are dropped, all black ones become one."""
        dark, places = ~self._bright(), self.places[kept]
        places = torch.where(dark[places], dark.int().argmax(), places)
        times = torch.bincount(places.flatten(), minlength=len(self.values))
        order = times.argsort(stable=True)[(times == 0).sum() :]  # from rare to frequent, so that equal counts adjoin
        rank = torch.empty_like(times).scatter_(0, order, torch.arange(len(order), device=order.device))
        times, sizes = times[order].unique_consecutive(return_counts=True)
        return Distinct(self.values[order], rank[places], Counts(tuple(sizes.tolist()), tuple(times.tolist())))

    def _bright(self) -> torch.Tensor:
        return self.values.flatten(1).any(dim=1)  # (D,)   True = not black


def share(videos: Sequence[torch.Tensor | None]) -> Distinct:
    """The frames of several views of the same clips; those that are the very same tensor are held once.

    videos : of each view (B, Tv, …), or None where it shows nothing: one black frame stands for all of these
    """
    B, Tv = videos[0].shape[:2]
    shown = {id(video): video.flatten(0, 1) for video in videos if video is not None}
    views = Counter(id(video) for video in videos)
    values, sizes, times = list(shown.values()), [B * Tv] * len(shown), [views[key] for key in shown]
    missing = views[id(None)]
    if missing:
        values, sizes, times = [*values, torch.zeros_like(values[0][:1])], [*sizes, 1], [*times, missing * B * Tv]
    own = torch.arange(B * Tv, device=videos[0].device).view(B, Tv)
    places = {key: own + number * B * Tv for number, key in enumerate(shown)}
    places[id(None)] = torch.full_like(own, len(shown) * B * Tv)
    return Distinct(
        torch.cat(values), torch.cat([places[id(video)] for video in videos]), Counts(tuple(sizes), tuple(times))
    )


def statistics(maps: torch.Tensor, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) of maps (D, C, …) that stand for as many as `counts` says.

    Those of every run, joined: the variance is the mean one within the runs plus the one between their means. No
    difference of squares is taken, so float32 is enough. It is also what bfloat16 maps have their statistics in.
    """
    accurate = torch.promote_types(maps.dtype, torch.float32)
    unused = maps.new_zeros(2, maps.shape[1], dtype=accurate)  # running statistics, which tell the type of the others
    parts = [torch.batch_norm_update_stats(run, *unused, 0.0) for run in maps.split(counts.sizes)]
    means, variances = (torch.stack(moments) for moments in zip(*parts, strict=True))  # (runs, C)
    shares = [size * times / counts.total for size, times in zip(*counts, strict=True)]
    shares = torch.tensor(shares, dtype=means.dtype).to(means.device, non_blocking=True)[:, None]
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(dim=0)


class Normalise(torch.autograd.Function):
    """Batch norm in training of maps (D, C, …) that stand for as many as `counts` says.

    Returns the normalised maps and the two moments (C,). The gradient is that of the batch in which every map stands as
    often as it counts: what reaches a map directly is already the sum over the places where it stands, and what reaches
    it through the moments is its count's share of the sum over all.
    """

    @staticmethod
    def forward(ctx, maps, weight, bias, counts, eps):
        mean, variance = statistics(maps, counts)
        ctx.save_for_backward(maps, weight, mean, variance)
        ctx.counts, ctx.eps = counts, eps
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(maps, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx, gradient, *_):
        maps, weight, mean, variance = ctx.saved_tensors
        _, into_weight, into_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, maps, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        scale = weight * (variance + ctx.eps).rsqrt()
        share = -scale / (ctx.counts.total * maps[0, 0].numel())
        into_maps = F.batch_norm(maps, mean, variance, share * into_weight, share * into_bias, eps=ctx.eps)
        into_maps.mul_(ctx.counts.column(into_maps))
        into_maps.addcmul_(gradient, scale.view(1, -1, *[1] * (maps.ndim - 2)).to(gradient.dtype))
        return into_maps, into_weight, into_bias, None, None


class Counting(nn.Module):
    """A module whose `forward(maps, counts=None)` can be told how often each map stands in the batch."""


class CountingNorm(Counting, nn.modules.batchnorm._BatchNorm):
    """Batch norm that can be told how often each map stands in the batch: torch's own in every other respect."""

    def forward(self, maps: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        if counts is None or not self.training:
            return super().forward(maps)
        normalised, mean, variance = Normalise.apply(maps, self.weight, self.bias, counts, self.eps)
        number = counts.total * maps[0, 0].numel()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (number / (number - 1)), self.momentum)
        return normalised


class CountingNorm1d(CountingNorm, nn.BatchNorm1d):
    """`CountingNorm` of vectors (D, C)."""


class CountingNorm2d(CountingNorm, nn.BatchNorm2d):
    """`CountingNorm` of maps (D, C, H, W)."""


class Layers(Counting, nn.Sequential):
    """One layer after the other; those that look across frames are told how often each of them stands in the batch."""

    def forward(self, maps: torch.Tensor, counts: Counts | None = None) -> torch.Tensor:
        for layer in self:
            maps = layer(maps, counts) if isinstance(layer, Counting) else layer(maps)
        return maps
