"""Measures functions in turn: their time, its spread, and their memory."""

import contextlib
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from workbook.run.record import versions

MB = 2**20


def in_turn(runs: dict[str, Callable[[], object]], rounds: int, count: int) -> dict:
    """By name: median seconds, spread, peak memory and rate of each run; and the others' times / the first one's.

    Each run is done once without measuring, then all in turn, A B A B and so on, so that other load on the machine
    affects all of them. A ratio is the median over the rounds. If a run returns seconds, these count.

    count : of units (clips, batches) in one run
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(once(run))
    first, *others = runs
    seconds = {name: [second for second, _ in rows] for name, rows in taken.items()}
    result = {"runs": {name: _summary(rows, count) for name, rows in taken.items()}}
    ratios = {name: [b / a for a, b in zip(seconds[first], seconds[name], strict=True)] for name in others}
    return result | {"ratio": {name: spread(values) for name, values in ratios.items()}}


def once(run: Callable[[], object]) -> tuple[float, float]:
    """The seconds of a run, and the peak memory of this process (of the GPU, if there is one) during it in MB."""
    gc.collect()
    reset_peak()
    begin = time.perf_counter()
    counted = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return counted if isinstance(counted, float) else time.perf_counter() - begin, peak()


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest of some numbers."""
    values = list(values)
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def aim(value: float, limit: float, unit: str, at_most: bool = False) -> str:
    """Whether a measurement reaches its aim, with both numbers; at_most : True = less is better"""
    reached = value <= limit if at_most else value >= limit
    return (
        f"{value:.3g} {unit}, aim {'at most' if at_most else 'at least'} {limit:g}: {'' if reached else 'not '}reached"
    )


def ratio_aims(result: dict, limit: float) -> dict[str, dict[str, str]]:
    """The aims of a result of `in_turn`: so many times the first one's time, for each of the others."""
    return {"aims": {name: aim(ratio["median"], limit, "times") for name, ratio in result["ratio"].items()}}


def _summary(rows: list[tuple[float, float]], count: int) -> dict:
    seconds = spread(second for second, _ in rows)
    return {"seconds": seconds, "per_second": count / seconds["median"], "peak_mb": max(memory for _, memory in rows)}


def reset_peak() -> None:
    """Makes `peak` count from now on; on some systems it counts from the start of the process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """The highest memory in MB since `reset_peak`: on a GPU what PyTorch has held there, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / MB
    return memory("VmHWM")


def memory(field: str = "VmRSS", process: int | str = "self") -> float:
    """A field of a process's memory in MB: VmRSS now, VmHWM at its highest, RssAnon its own, RssFile that of files."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # no such system, or the process has ended
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), float("nan"))


def machine(device: str) -> dict:
    """The machine behind the numbers: processor, cores, threads, present load, GPU, versions."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "versions": versions(),
    }
