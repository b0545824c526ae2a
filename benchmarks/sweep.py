"""What `avlib run` costs beside the runs themselves: many runs of about a second, side by side.

The computing of a run is the time that its cells took in the kernel, as the executed notebooks note it. Overhead is all
other time of all jobs: starting kernels, importing, handing over cells, writing notebooks, waiting.
"""

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from benchmarks.timing import aim
from workbook import InputError
from workbook.cli import engine_of
from workbook.sweep.grid import plan
from workbook.sweep.sweep import Sweep

RUNS = 200
AIM = 2  # seconds of overhead
CLIPS, PEOPLE, CLASSES = 60, 12, 3


def measure(options) -> dict:
    """Seconds of a sweep over seeds, those of its computing, and the second as a share of the first."""
    jobs = options.jobs or 2
    with TemporaryDirectory() as folder, engine_of(options.engine) as engine:
        runs = plan(_grid(Path(folder), options.runs or RUNS))
        start = perf_counter()
        outcomes = Sweep(runs, jobs=jobs, engine=engine).run()
        seconds = perf_counter() - start
        failed = [outcome.reason for outcome in outcomes if outcome.state != "done"]
        if failed:
            raise InputError(f"{len(failed)} of the runs failed: {failed[0]}")
        computing = [_computing(outcome.folder) for outcome in outcomes]
    overhead = (jobs * seconds - sum(computing)) / len(runs)
    return {
        "runs of the sweep": len(runs),
        "engine": options.engine,
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "computing, seconds of a run": round(float(np.mean(computing)), 2),
        "overhead, seconds of a run": round(overhead, 2),
        "aims": {"overhead of a run": aim(overhead, AIM, "s", at_most=True)},
        "efficiency": round(sum(computing) / (jobs * seconds), 3),
    }


def _grid(folder: Path, runs: int) -> dict:
    """A grid of so many short runs on drawn features, all files in a folder."""
    rng, label = np.random.default_rng(0), np.arange(CLIPS) % CLASSES
    audio = rng.standard_normal((CLIPS, 5, 31)) + label[:, None, None]
    video = rng.standard_normal((CLIPS, 7, 29))
    np.savez(folder / "drawn.npz", audio=audio, video=video, label=label, group=np.arange(CLIPS) * PEOPLE // CLIPS)
    places = {"data_root": str(folder / "drawn.npz"), "outputs_root": str(folder / "runs")}
    return {"dataset": "features", "fusion": "audio", "epochs": 2, "seed": list(range(runs)), "device": "cpu"} | places


def _computing(folder: Path) -> float:
    """The seconds that the cells of a run took in the kernel."""
    cells = [cell for path in folder.glob("*.ipynb") for cell in json.loads(path.read_text())["cells"]]
    times = [cell["metadata"].get("execution", {}) for cell in cells]
    ran = [
        (time["iopub.execute_input"], time["shell.execute_reply"]) for time in times if "shell.execute_reply" in time
    ]
    return sum((_moment(end) - _moment(begin)).total_seconds() for begin, end in ran)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
