"""A small grid for tests of many runs, the command that executes it, and a look at its runs while it works."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from smoke_runs import data

import workbook
from workbook.files import write_json
from workbook.run.claim import FILE, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.record import LOG, note
from workbook.run.results import all_runs, result_table, runs_in
from workbook.run.run_folder import start_run

GRID = {"dataset": "features", "fusion": ["audio", "video"], "dropout": "none", "epochs": 2, "seed": [1, 2]}
RUN = [sys.executable, "-c", "from workbook.cli import main; main()", "run"]


def table(folders) -> pd.DataFrame:
    """The results of these runs, without the times."""
    return (
        result_table(runs_in(sorted(folders)))
        .drop(columns="minutes")
        .sort_values(["system", "seed"], ignore_index=True)
    )


def start(file: Path, *options: str, where: list[str] | None = None) -> subprocess.Popen:
    """Starts `avlib run`; where : the command that starts it"""
    environment = os.environ | {"AVLIB_DATA": str(workbook.DATA), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*(where or []), *RUN, str(file), *options], env=environment, **pipes)


def wait_for(condition, seconds=300):
    """The result of a function, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail("waited in vain")


def kernel_at_work(root: Path, fits=lambda process: True) -> tuple[int, Path]:
    """The process that trains a run below a folder, and that run's folder; the first process that fits."""

    def look():
        for path in root.rglob(FILE):
            try:
                process = json.loads(path.read_text())["pid"]
                if is_claimed(path.parent) and fits(process):  # not the claim of one that was killed
                    return process, path.parent
            except (OSError, ValueError):  # it was just removed, or is just being written
                pass

    return wait_for(look)


def stop(command: subprocess.Popen, root: Path, number: signal.Signals) -> Path:
    """Ends a command whose only run trains for 20 epochs, with a signal; its folder, a run that goes on."""
    kernel, folder = kernel_at_work(root)
    wait_for(lambda: (folder / "history.csv").exists())
    command.send_signal(number)
    output = command.communicate()[0]
    assert command.returncode == 130 and output.splitlines()[-1].endswith("goes on where it stopped"), output
    assert is_gone(kernel) and (folder / LOG).read_text().endswith("\nstopped\n")
    assert states(root) == {str(folder): "interrupted"}
    assert 0 < len(pd.read_csv(folder / "history.csv")) < 20
    return folder


def is_gone(process: int) -> bool:
    """Whether a process has ended."""
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def states(root: Path) -> dict[str, str]:
    """The state of each run below a folder."""
    return dict(all_runs(root)[["folder", "state"]].to_numpy().tolist())


def times_done(root: Path) -> dict[str, int]:
    """How often each run below a folder was done, by its log."""
    logs = {path.parent: path.read_text() for path in root.rglob(LOG)}
    return {str(folder.relative_to(root)): len(re.findall("^done in ", log, re.M)) for folder, log in logs.items()}


def finished_run(root, accuracy, seconds=90, **values):
    """The folder of an evaluated run with these accuracies of AV, A and V."""
    return finished(Parameters(outputs_root=str(root), **values), accuracy, seconds)


def finished(config, accuracy, seconds=90):
    """The folder of the run of these parameters, with these accuracies of AV, A and V."""
    with start_run(config, data("abc")) as run:
        pass
    note(run.folder, seconds={"train": seconds, "evaluate": 30})
    conditions = {name: {"accuracy": value} for name, value in accuracy.items()}
    mean = sum(accuracy.values()) / len(accuracy)
    write_json(run.folder / "metrics.json", {"conditions": conditions, "M": {"accuracy": mean}})
    return run.folder
