"""The speed of the workbook and of the original code: `python -m benchmarks NAME --peer CHECKOUT`.

Each benchmark is a file with a function `measure(options)` that returns its results. They share `timing`, `peer`,
`synthetic` and `ceilings`. avlib itself needs none of these files.
"""

import workbook  # isort: skip  # before torch, whose threads then sleep while they wait for each other

import json
import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.timing import machine
from workbook.files import atomic_write


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return number


def _of(meaning: str, **how: Any) -> dict[str, Any]:
    """The option of a field; how : of `ArgumentParser.add_argument`, by default a number from 1"""
    return {"help": meaning} | (how or {"type": _at_least(1)})


@dataclass(frozen=True)
class Options:
    """The options of `python -m benchmarks`; each benchmark reads some of them, and None is its default."""

    peer: Path | None = field(
        default=None, metadata=_of("a checkout of the original code, to run beside avlib", type=Path)
    )
    device: str = field(default="cpu", metadata=_of("where it computes", choices=["cpu", "cuda"]))
    data_root: Path | None = field(
        default=None, metadata=_of("a folder with mp4 files; data/ravdess unless given", type=Path)
    )
    rounds: int = field(default=5, metadata=_of("how often each side is measured"))
    batch: int | None = field(default=None, metadata=_of("clips in a batch"))
    frames: int = field(default=15, metadata=_of("frames of a clip"))
    image_size: int | None = field(default=None, metadata=_of("side of a frame in pixels", type=_at_least(64)))
    clips: int | None = field(default=None, metadata=_of("clips, at most"))
    workers: int = field(default=os.cpu_count() or 1, metadata=_of("processes that preprocess"))
    runs: int | None = field(
        default=None, metadata=_of("runs of a sweep, or in the list of runs; conditions of a study, at most")
    )
    jobs: int | None = field(default=None, metadata=_of("runs of a sweep, or viewers, at the same time"))
    steps: int = field(default=400, metadata=_of("steps of the explorer in each of its series"))
    engine: str = field(default="local", metadata=_of("of a sweep", choices=["local", "ray"]))
    run: str = field(default="", metadata=_of("the folder of a trained run: page, start", metavar="FOLDER"))
    out: Path | None = field(default=None, metadata=_of("write the measurements to this JSON file", type=Path))


def run(name: str, options: Options, echo: Callable[[str], None]) -> dict:
    """The results of a benchmark; prints them and writes them as JSON to `options.out`."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise workbook.InputError("PyTorch sees no GPU here: --device cuda needs one")
    start = machine(options.device)
    result = {"benchmark": name} | import_module(f"benchmarks.{name}").measure(options) | {"machine": start}
    echo(as_text(result))
    if options.out:
        with atomic_write(options.out) as path:
            path.write_text(json.dumps(result, indent=1))
    return result


def as_text(result: dict) -> str:
    """The runs as a table, the ratios, then everything else."""
    rest = {name: value for name, value in result.items() if name not in ("benchmark", "runs", "ratio")}
    lines, width = [result["benchmark"]], max(map(len, ["", *result.get("runs", {})]))
    for name, row in result.get("runs", {}).items():
        seconds = "{median:9.3f} s  ({lowest:.3f} to {highest:.3f})".format(**row["seconds"])
        lines.append(
            f"  {name:<{width}}{seconds}   {row['per_second']:9.2f} per second   peak {row['peak_mb']:,.0f} MB"
        )
    for name, row in result.get("ratio", {}).items():
        times = "{median:9.2f} times avlib's time  ({lowest:.2f} to {highest:.2f})".format(**row)
        lines.append(f"  {name:<{width}}{times}")
    return "\n".join(lines) + "\n" + yaml.safe_dump(rest, sort_keys=False, allow_unicode=True)
