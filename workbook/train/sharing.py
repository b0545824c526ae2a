"""Modality dropout at half the cost: frames and sounds that a batch holds several times are computed once.

Of softhard's four variants only half of the frames and of the sounds are distinct. Computing these once is exact if
batch norm, the only layer that looks across a batch, weighs its statistics by how often each of them counts. `counted`
does this for any network, timm's included: it replaces `F.batch_norm`. `can_share` tests a network, and `is_faster`
whether it pays, which a GPU leaves open: it may wait for the small operations of the counted norms.
"""

import copy
import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from avlib.attention import Output
from avlib.dropout import Modalities, side_by_side
from avlib.model import AudiovisualNet, precision

TRIALS = 4  # of which the first one finds out which kernels are fast
log = logging.getLogger(__name__)


class Counts(NamedTuple):
    """The first `sizes[0]` rows count `times[0]` times each, and so on."""

    sizes: tuple[int, ...]
    times: tuple[int, ...]

    @property
    def total(self) -> int:
        """The number of rows of the plain batch."""
        return sum(size * times for size, times in zip(self.sizes, self.times, strict=True))


@lru_cache(maxsize=16)  # every batch norm of a step asks for the same few, and copying one to a GPU takes a while
def weights_of(counts: Counts, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Each run's share of the plain batch, (runs, 1), and the count of every row, (D,)."""
    shares = [size * times / counts.total for size, times in zip(*counts, strict=True)]
    rows = [times for size, times in zip(*counts, strict=True) for _ in range(size)]
    shares, rows = (torch.tensor(values, dtype=dtype).to(device) for values in (shares, rows))
    return shares[:, None], rows


class Shared(NamedTuple):
    """One modality of V variants of B clips, each distinct clip stored once.

    values : (D, …) the distinct clips, sorted into runs of equal counts; where `blank`, the last one is all zeros
    index : (N,) the row of `values` for each row of the plain batch      counts : of each row of `values`
    """

    values: torch.Tensor
    index: torch.Tensor
    counts: Counts
    blank: bool


def share(tensors: Sequence[torch.Tensor | None], kept: torch.Tensor | None = None) -> Shared:
    """One modality of V variants of B clips, each distinct clip once.

    tensors : (B, …) of each variant, or None where it is missing
    kept : (N,) the rows to keep of the plain batch; None keeps all. If given, clips of zeros are shared too.
    """
    distinct = list({id(tensor): tensor for tensor in tensors if tensor is not None}.values())
    B, blank = len(distinct[0]), kept is not None or any(tensor is None for tensor in tensors)
    rows = torch.arange(len(distinct) * B, device=distinct[0].device).split(B)
    place = dict(zip(map(id, distinct), rows, strict=True))
    missing = torch.full_like(rows[0], len(distinct) * B)
    index = torch.cat([place.get(id(tensor), missing) for tensor in tensors])
    values = torch.cat([*distinct, *[torch.zeros_like(distinct[0][:1])] * blank])
    if kept is not None:
        return _compact(values, index[kept])
    sizes, times = [B] * len(distinct), [sum(other is tensor for other in tensors) for tensor in distinct]
    if blank:
        sizes, times = [*sizes, 1], [*times, B * sum(other is None for other in tensors)]
    return Shared(values, index, Counts(tuple(sizes), tuple(times)), blank)


def _compact(values: torch.Tensor, index: torch.Tensor) -> Shared:
    """The clips in `index` in runs of equal counts, all clips of zeros as one; the last of `values` must be zeros."""
    zeros = ~values.flatten(1).any(dim=1)
    zeros, index = torch.cat([zeros, index]).cpu().split([len(zeros), len(index)])  # one wait for a GPU, not one a line
    index = torch.where(zeros.bool()[index], len(values) - 1, index)
    times = torch.bincount(index, minlength=len(values))
    blank = bool(times[-1])
    order = times[:-1].argsort(stable=True)[(times[:-1] == 0).sum() :]
    if blank:
        order = torch.cat([order, order.new_tensor([len(values) - 1])])
    rank = torch.empty_like(times).scatter_(0, order, torch.arange(len(order), device=order.device))
    runs, sizes = times[order].unique_consecutive(return_counts=True)
    order, index = order.to(values.device), rank[index].to(values.device)
    return Shared(values[order], index, Counts(tuple(sizes.tolist()), tuple(runs.tolist())), blank)


def forward(net: AudiovisualNet, variants: list[Modalities], kept: torch.Tensor | None = None) -> Output:
    """The same output as `plain_forward`, but distinct frames and sounds are computed once."""
    return net.fuse(*_encode(net, variants, kept))


def plain_forward(net: AudiovisualNet, variants: list[Modalities], kept: torch.Tensor | None = None) -> Output:
    """The output of the net for all variants as one batch, each computed in full.

    variants : as `avlib.dropout.variants` returns them      kept : (N,) the rows to keep; None keeps all
    """
    batch = [side_by_side(tensors) for tensors in zip(*variants, strict=True)]
    return net(*(batch if kept is None else (tensor[kept] for tensor in batch)))


def _encode(net: AudiovisualNet, variants: list[Modalities], kept: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Stage 1 of both branches for all variants; None = a branch that the net lacks."""
    audio, video = (share(tensors, kept) for tensors in zip(*variants, strict=True))
    video = _describe(net, video)
    with counted(audio.counts):
        sounds = net.audio.stage1(audio.values)
    with counted(video.counts):
        pictures = net.video.stage1(video.values)
    return [None if steps is None else steps[side.index] for steps, side in ((sounds, audio), (pictures, video))]


def _describe(net: AudiovisualNet, video: Shared) -> Shared:
    """The same clips with the descriptors (D, Tv, C) of their frames; the black frame is described once."""
    D, Tv = video.values.shape[:2]
    frames, more = video.values.flatten(0, 1), Tv - 1
    sizes, times = [size * Tv for size in video.counts.sizes], list(video.counts.times)
    if video.blank:
        frames = frames[: len(frames) - more]
        sizes[-1] -= more
        if sizes[-1] > 1:  # clips that count as often as the blank one
            sizes, times = [*sizes[:-1], sizes[-1] - 1, 1], [*times, times[-1]]
        times[-1] *= Tv
    with counted(Counts(tuple(sizes), tuple(times))):
        descriptors = net.describe(frames[:, None])[:, 0]
    if video.blank:
        descriptors = torch.cat([descriptors, *[descriptors[-1:]] * more])
    return video._replace(values=descriptors.unflatten(0, (D, Tv)))


class Unshareable(ValueError):
    """A batch norm whose statistics cannot be weighed."""


class counted(TorchFunctionMode):
    """A block in which `F.batch_norm` in training weighs its statistics by how often each row counts."""

    def __init__(self, counts: Counts):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.batch_norm:
            return counted_batch_norm(self.counts, *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def counted_batch_norm(
    counts: Counts,
    maps: torch.Tensor,
    running_mean: torch.Tensor,
    running_var: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """`F.batch_norm` of the plain batch, from distinct maps (D, C, …) and their counts.

    Raises Unshareable where there is not one map per counted row, or the norm has no weight or running statistics.
    """
    if not training or all(times == 1 for times in counts.times):
        return F.batch_norm(maps, running_mean, running_var, weight, bias, training, momentum, eps)
    if len(maps) != sum(counts.sizes) or weight is None or running_mean is None:
        raise Unshareable(f"{len(maps)} maps for {sum(counts.sizes)} rows, or a norm without weight or statistics")
    normalised, mean, variance = Normalise.apply(maps, weight, bias, counts, eps)
    number = counts.total * maps[0, 0].numel()
    with torch.no_grad():
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (number / (number - 1)), momentum)
    return normalised


def statistics(maps: torch.Tensor, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) of the plain batch, from distinct maps (D, C, …) and their counts.

    The variance is the mean variance within the runs plus the variance of their means. No squares are subtracted, so
    float32 is enough, also for bfloat16 maps.
    """
    accurate = torch.promote_types(maps.dtype, torch.float32)
    unused = maps.new_zeros(2, maps.shape[1], dtype=accurate)  # running statistics; they set the type of the result
    moments = [torch.batch_norm_update_stats(run, *unused, 0.0) for run in maps.split(counts.sizes)]
    means, variances = (torch.stack(moment) for moment in zip(*moments, strict=True))  # (runs, C)
    shares, _ = weights_of(counts, means.dtype, means.device)
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(dim=0)


class Normalise(torch.autograd.Function):
    """Batch norm in training of distinct maps (D, C, …) with counts: the normalised maps, mean and variance (C,).

    The direct gradient of a map is already the sum over its copies. The one through the moments is times its count.
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
        inverse = (variance + ctx.eps).rsqrt()
        _, into_weight, into_bias = torch.ops.aten.native_batch_norm_backward(  # only a CPU computes `inverse` itself
            gradient, maps, weight, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
        )
        scale = weight * inverse
        share = -scale / (ctx.counts.total * maps[0, 0].numel())
        into_maps = F.batch_norm(maps, mean, variance, share * into_weight, share * into_bias, eps=ctx.eps)
        _, times = weights_of(ctx.counts, mean.dtype, maps.device)
        into_maps.mul_(times.view(-1, *[1] * (maps.ndim - 1)))
        into_maps.addcmul_(gradient, scale.view(1, -1, *[1] * (maps.ndim - 2)))
        return into_maps, into_weight, into_bias, None, None


def can_share(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor) -> bool:
    """Whether `forward` and `plain_forward` give the same: tried on a copy of the net, in float64. Logs a no.

    False for a net that draws random numbers before the fusion (its own dropout), or in which another layer than batch
    norm looks across the batch.

    audio : (B, Ca, Ta)      video : (B, Tv, 3, S, S), or features (B, Tv, Cv); only their sizes are read
    """
    trial = copy.deepcopy(net).double().train()
    source = torch.Generator(audio.device).manual_seed(0)
    shapes = (2, *audio.shape[1:]), (2, min(2, video.shape[1]), *video.shape[2:])
    sound, picture = (torch.rand(s, generator=source, device=audio.device, dtype=torch.float64) for s in shapes)
    clips = [(sound, picture), (None, picture), (sound, None), (sound, picture)]
    sounds, pictures = (side_by_side(tensors) for tensors in zip(*clips, strict=True))
    with torch.no_grad(), torch.random.fork_rng([audio.device] if audio.is_cuda else []):
        try:
            pairs = zip(_encode(trial, clips, None), trial.encode(sounds, trial.describe(pictures)), strict=True)
            is_same = all(ours is None or torch.allclose(ours, theirs, 1e-9, 1e-9) for ours, theirs in pairs)
        except Unshareable:
            is_same = False
    if not is_same:
        log.info("this network draws at random or looks across frames: every variant is computed in full")
    return is_same


def is_faster(net: AudiovisualNet, variants: list[Modalities], kept: torch.Tensor | None = None) -> bool:
    """Whether passes forward and back are faster with `forward` than with `plain_forward`, tried on a copy of the net.

    For a GPU. True where its memory holds only the shared batch. Arguments as in `plain_forward`
    """
    device, trial, seconds = variants[0][0].device, copy.deepcopy(net).train(), {forward: [], plain_forward: []}
    with torch.random.fork_rng([device]):
        try:
            for way in [*seconds] * TRIALS:
                torch.cuda.synchronize()
                start = time.perf_counter()
                with precision(device):
                    logits = way(trial, variants, kept).logits
                logits.float().sum().backward()
                torch.cuda.synchronize()
                seconds[way].append(time.perf_counter() - start)
        except torch.OutOfMemoryError:
            return True
    shared, plain = (min(each) for each in seconds.values())
    log.info("a pass forward and back takes %.3f s with shared frames, %.3f s with each variant in full", shared, plain)
    return shared < plain
