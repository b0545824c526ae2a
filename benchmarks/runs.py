"""How long `avlib runs` takes over many run folders: the real command, as a process of its own."""

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.timing import aim
from workbook import InputError
from workbook.run.parameters import Parameters
from workbook.run.record import LIBRARIES
from workbook.sweep.grid import expand

RUNS = 10_000
AIM = 5  # seconds
GRID = {
    "seed": list(range(RUNS // 250 + 1)),
    "fusion": ["lt", "it", "ia", "tav", "tva"],
    "dropout": ["none", "softhard", "noise", "hard", "sampled"],
    "learning_rate": [0.01, 0.02],
    "fold": [0, 1, 2, 3, 4],
}
COMMAND = [sys.executable, "-c", "from workbook.cli import main; main()", "runs"]


def measure(options) -> dict:
    """Seconds of the command over folders that were written for it, and those that its process was computing."""
    count = options.runs or RUNS
    with TemporaryDirectory() as root:
        for values in expand(GRID)[:count]:
            _write(Parameters(outputs_root=root, **values))
        before, start = os.times(), perf_counter()
        ended = subprocess.run([*COMMAND, root], capture_output=True, text=True)
        seconds, after = perf_counter() - start, os.times()
    listed = len(ended.stdout.splitlines()) - 1  # below the heading
    if ended.returncode or listed != count:
        raise InputError(f"`avlib runs` has listed {listed} of {count} runs: {ended.stderr.strip()}")
    computing = after.children_user + after.children_system - before.children_user - before.children_system
    aims = {"aims": {"the list": aim(seconds, AIM, "s", at_most=True)}}
    return {"runs in the list": count, "seconds": round(seconds, 1), "of the processor": round(computing, 1)} | aims


def _write(config: Parameters) -> None:
    """The folder of an evaluated run with drawn numbers, as far as `avlib runs` reads it."""
    scores = {"accuracy": 50.0 + config.fold, "uar": 49.0}
    record = {
        "parameters": config.model_dump(mode="json"),
        "network": {"fusion": config.fusion, "heads": config.heads, "classes": 8, "image_size": config.image_size},
        "labels": [f"emotion {number}" for number in range(8)],
        "versions": dict.fromkeys(LIBRARIES, "1.0.0"),
        "git": {"commit": 40 * "0", "dirty": False},
        "fingerprint": "0123456789ab",
        "device": "x86_64, 1 threads",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
        "seconds": {"train": 50.0, "evaluate": 5.0, "attention": 5.0},
        "notebooks": {"preprocess": 1.0, "train": 51.0, "evaluate": 6.0, "attention": 6.0},
        "state": "done",
        "error": None,
    }
    metrics = {"conditions": {name: scores | {"clips": 240} for name in ("AV", "A", "V")}, "M": scores}
    config.folder.mkdir(parents=True)
    for name, content in {"run.json": record, "metrics.json": metrics}.items():
        (config.folder / name).write_text(json.dumps(content, indent=2))
