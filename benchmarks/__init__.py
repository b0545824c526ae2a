"""The speed of the workbook and of the original code: `python -m benchmarks NAME --peer CHECKOUT`.

Each benchmark is a file with a function `measure(options)` that returns its results. They share `timing`, `peer`,
`synthetic` and `ceilings`. avlib itself needs none of these files.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
import yaml

from benchmarks.timing import machine
from workbook import InputError
from workbook.files import atomic_write


@dataclass(frozen=True)
class Options:
    """The options of `python -m benchmarks`; each benchmark reads some of them, and None is its default."""

    peer: Path | None = None  # a checkout of the original code
    device: str = "cpu"  # cpu | cuda
    data_root: Path | None = None  # a folder with mp4 files: preprocess, phone, explore
    rounds: int = 5  # how often each side is measured
    batch: int | None = None  # clips
    frames: int = 15
    image_size: int | None = None  # pixels
    clips: int | None = None
    workers: int = os.cpu_count() or 1  # preprocess
    runs: int | None = None  # sweep, runs; studies: conditions at most
    jobs: int | None = None  # sweep, viewers, demo
    steps: int = 400  # explore
    engine: str = "local"  # sweep: local | ray
    run: str = ""  # viewers: the folder of a trained run
    out: Path | None = None  # gpu: the file that has the results of the steps until now


def run(name: str, options: Options, out: Path | None, echo: Callable[[str], None]) -> dict:
    """The results of a benchmark; prints them and writes them as JSON to the file `out`, if given."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("PyTorch sees no GPU here: --device cuda needs one")
    start = machine(options.device)
    result = {"benchmark": name} | import_module(f"benchmarks.{name}").measure(options) | {"machine": start}
    echo(as_text(result))
    if out:
        with atomic_write(out) as path:
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
