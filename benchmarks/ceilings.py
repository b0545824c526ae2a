"""The limits of a device, the work of a training step, and the hours that the paper's Table II would take."""

import time
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# Table II's RAVDESS half: LT, IT and IA with 1 and 4 heads, TAV, TVA and MLT, each trained in three ways. Five folds of
# 16 actors for training and 4 for validation, 60 clips each; 100 epochs.
SYSTEMS, DROPOUTS, FOLDS, EPOCHS = 9, ("none", "softhard", "noise"), 5, 100
TRAINING_CLIPS, VALIDATION_CLIPS = 16 * 60, 4 * 60


def projected_hours(seconds: dict[str, float]) -> float:
    """Hours for all epochs of Table II's RAVDESS half, from the seconds of an epoch by kind of dropout.

    All systems count alike: the frame network, which they share, takes nearly all of the time.
    """
    return SYSTEMS * FOLDS * EPOCHS * sum(seconds[dropout] for dropout in DROPOUTS) / 3600


class Traffic(TorchDispatchMode):
    """A block that counts the bytes that operations read and write: each operation counts all of its tensors.

    A view of a tensor moves nothing.
    """

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        if not operation.is_view:
            leaves = tree_leaves((arguments, options, result))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))
        return result


def work(step: Callable[[], object]) -> dict[str, float]:
    """The operations (a multiplication and an addition are two) and the bytes of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    with Traffic() as traffic:
        step()
    return {"operations": counter.get_total_flops(), "bytes": traffic.bytes}


def bandwidth(device: str, bytes_: int = 2**30) -> float:
    """Bytes per second, read and written, when a large tensor is copied."""
    source = torch.empty(bytes_, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * bytes_ / fastest(lambda: target.copy_(source))


def matrix_rate(device: str, side: int = 8192, dtype: torch.dtype = torch.bfloat16) -> float:
    """Operations per second when two large matrices are multiplied."""
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / fastest(lambda: one @ other)


def fastest(run: Callable[[], object], times: int = 10) -> float:
    """The seconds of the fastest of several runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(times):
        _wait()
        begin = time.perf_counter()
        run()
        _wait()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def floor(counts: dict[str, float], rate: float, width: float) -> float:
    """The least seconds of a step: the longer of its operations at `rate` and its bytes at `width`, per second."""
    return max(counts["operations"] / rate, counts["bytes"] / width)


def share(step: Callable[[], object], seconds: float, device: str = "cuda", **sizes: int) -> dict:
    """How well a step of so many seconds uses the device: counts, measured limits, and floor / seconds.

    sizes : `bytes_` and `side` for measuring the limits, where not the defaults
    """
    counts = work(step)
    width = bandwidth(device, *([sizes["bytes_"]] if sizes else []))
    rate = matrix_rate(device, *([sizes["side"]] if sizes else []))
    least = floor(counts, rate, width)
    return {
        **counts,
        "bytes per second": width,
        "bf16 operations per second": rate,
        "floor in seconds": least,
        "share of the floor": least / seconds,
    }


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
