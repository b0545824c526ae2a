"""Sweeps: runs are executed once, skipped, waited for and estimated, in kernels that stay."""

import re
import threading
from contextlib import closing
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
import torch
from in_process import without_kernels
from nbformat.v4 import new_code_cell, new_notebook
from sweeps import finished, finished_run, start, table, times_done, wait_for
from test_media import tone

from workbook import ROOT
from workbook.data.datasets import Corpus
from workbook.data.prepare import prepare_all
from workbook.data.window import SAMPLE_RATE
from workbook.run.claim import PIPELINE, claim
from workbook.run.record import note, now, run_folders
from workbook.run.reopen import trained_runs
from workbook.run.results import all_runs
from workbook.sweep import sweep
from workbook.sweep.grid import plan, read_grids
from workbook.sweep.kernels import Kernel
from workbook.sweep.notebooks import listing, notebooks_left, run_pipeline
from workbook.sweep.sweep import Local, Outcome, Sweep, share


@pytest.fixture
def in_this_process():
    """Without kernels, for what does not depend on them."""
    with without_kernels():
        yield


def test_a_sweep_does_every_run_once_and_the_next_one_does_nothing(grid, quiet, tmp_path):
    ended = start(grid(), "--jobs", "2")
    output = ended.communicate()[0]
    assert ended.returncode == 0, output
    assert "(4 of 4 done)" in output
    assert output.splitlines()[-1] == str(tmp_path / "runs" / "features" / "comparison.png")
    assert [*times_done(tmp_path / "runs").values()] == [1] * 4
    pd.testing.assert_frame_equal(table(run_folders(tmp_path / "runs")), quiet)
    records = {folder: (folder / "run.json").read_bytes() for folder in run_folders(tmp_path / "runs")}
    lines = []
    again = Sweep(plan(read_grids(grid())), echo=lines.append).run()
    assert [outcome.state for outcome in again] == ["complete"] * 4 and not lines
    assert {folder: (folder / "run.json").read_bytes() for folder in records} == records


def test_the_last_run_of_a_file_counts_as_trained_last_whichever_ends_last(grid, tmp_path):
    runs = plan(read_grids(grid()))
    folders, together = [run.folder for run in runs], Sweep(runs)
    for run in reversed(runs):
        folder = finished(run, {"AV": 50})
        (folder / "model.safetensors").touch()
        note(folder, trained=now("milliseconds"))
        together._note(Outcome(folder, "done", notebooks=("train",)))
    assert trained_runs(tmp_path / "runs") == folders[::-1]
    note(folders[0], sweep=None, trained=now("milliseconds"))  # by hand, afterwards
    assert trained_runs(tmp_path / "runs")[0] == folders[0]


def test_a_run_whose_record_cannot_be_written_any_more_stops_no_other(grid):
    runs = plan(read_grids(grid()))
    together, folder = Sweep(runs), runs[0].folder
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("damaged")
    together._note(Outcome(folder, "done", notebooks=("train",)))
    assert together.outcomes[folder].state == "done"


def test_runs_on_different_stores_come_side_by_side_before_runs_on_the_same_one(tmp_path):
    together = Sweep(plan(read_grids(ROOT / "params" / "demo.yaml"), {"outputs_root": str(tmp_path)}))
    in_file = list(together.configs)
    assert [together._next() for _ in in_file] == [in_file[place] for place in (0, 2, 1, 3)]


def test_a_failure_stops_no_other_run(grid, tmp_path, in_this_process):
    runs = plan(read_grids(grid(fusion="audio", seed=[1, 2])))
    with np.load(runs[0].data_root) as arrays:
        np.savez(tmp_path / "odd.npz", **{name: arrays[name][:3] for name in arrays})  # too few people for folds
    runs[0] = runs[0].model_copy(update={"data_root": tmp_path / "odd.npz"})
    outcomes = Sweep(runs).run()
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    (odd,) = (run for run in all_runs(tmp_path / "runs").to_dict("records") if "odd" in run["folder"])
    assert odd["state"] == f"failed: {outcomes[0].reason}", "it has no record, but a log"


class Recorder(Local):
    """An engine that prepares clips itself, here in one process, and executes no run."""

    def __init__(self):
        self.attempts = []

    def prepare(self, trials, settings):
        return prepare_all(trials, settings, 1)

    def jobs(self, count, echo):
        return [self]

    def attempt(self, config, **how):
        self.attempts.append(config)
        return Outcome(config.folder, "complete")

    def close(self):
        pass

    stop = close


def test_a_run_at_which_another_process_fails_meanwhile_is_not_tried_again(grid, tmp_path):
    (run,) = plan(read_grids(grid(fusion="audio", seed=1)))
    folder, engine = finished(run, {"A": 50}), Recorder()
    engine.prepare = None
    together = Sweep([run], engine=engine)
    note(folder, state="failed", error="no memory", ended="2999-01-01T00:00:00+00:00")
    (outcome,) = together.run()
    assert (outcome.state, outcome.reason, engine.attempts) == ("failed", "no memory", [])


def test_an_engine_makes_missing_stores_first_and_where_that_fails_only_their_runs_have_failed(tmp_path):
    for corpus, actor in product(("good", "torn"), (1, 2)):
        (tmp_path / corpus).mkdir(exist_ok=True)
        wav = tmp_path / corpus / f"03-01-01-01-01-01-0{actor}.wav"
        soundfile.write(wav, tone(200 * actor, 3), SAMPLE_RATE)
        if corpus == "torn":
            wav.write_bytes(b"")
    grid = {"dataset": "ravdess", "image_size": 64, "frames": 2, "outputs_root": str(tmp_path / "runs")}
    sweep = Sweep(plan(grid | {"data_root": [str(tmp_path / "good"), str(tmp_path / "torn")]}), engine=Recorder())
    outcomes = sweep.run()
    good, torn = sweep.configs.values()
    assert len(good.corpus.open_store()) == 2
    assert {outcome.folder: outcome.state for outcome in outcomes} == {good.folder: "complete", torn.folder: "failed"}
    assert outcomes[1].reason.startswith("no clip of the corpus can be used") and len(sweep.engine.attempts) == 1


def test_a_run_that_somebody_has_claimed_is_waited_for_and_not_done_twice(grid, in_this_process):
    runs = plan(read_grids(grid(fusion="audio", seed=[1, 2])))
    folder, lines = runs[0].folder, []
    with claim(folder, PIPELINE):
        sweep = Sweep(runs, echo=lines.append)
        thread = threading.Thread(target=sweep.run)
        thread.start()
        wait_for(lambda: f"{folder}: waiting for another process that has it" in lines)
        run_pipeline(runs[0])
    thread.join()
    states = {outcome.folder: outcome.state for outcome in sweep.outcomes.values()}
    assert states == {folder: "complete", runs[1].folder: "done"}


def test_estimates_come_from_the_runs_that_are_like_a_planned_one(tmp_path):
    for seed, (dropout, seconds) in enumerate([("none", 10), ("none", 30), ("softhard", 50)]):
        folder = finished_run(tmp_path, {"AV": 50}, seconds, dropout=dropout, seed=seed, epochs=10)
        note(folder, notebooks={"train": seconds + 1, "evaluate": 3})
    runs = plan({"outputs_root": str(tmp_path), "dropout": ["none", "softhard"], "epochs": 20, "seed": 9})
    lines = listing(runs, jobs=2).splitlines()
    assert [line.rpartition(", about ")[2] for line in lines[:2]] == ["44 s", "2 min"]
    assert lines[2] == "2 runs, 2 to be done: about 74 s with --jobs 2"


def test_what_is_left_of_a_run_is_listed_and_done_and_nothing_else(grid, in_this_process):
    config, other = plan(read_grids(grid(fusion="audio", seed=[1, 2])))
    assert notebooks_left(config) == ["train", "evaluate"]
    Sweep([config]).run()
    assert notebooks_left(config) == []
    lines = listing([config, other], jobs=2).splitlines()
    assert lines[0] == f"{config.folder}: complete" and not other.folder.exists()
    assert lines[1].startswith(f"{other.folder}: train, evaluate to be done, about ")
    (config.folder / "metrics.json").unlink()
    assert notebooks_left(config) == ["evaluate"]
    for change in ({"resume": False}, {"epochs": 3}):
        assert notebooks_left(config.model_copy(update=change)) == ["train", "evaluate"]


def test_cores_and_memory_are_divided_among_the_jobs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    cores = sweep.cores()
    assert share(0, 1)[0] == {}
    assert share(2, 3)[0] == {"OMP_NUM_THREADS": str(max(1, cores // 3)), "CUDA_VISIBLE_DEVICES": "3"}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert share(1, 2)[0] == {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "5"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert sweep.gpus() == []


@pytest.mark.slow
def test_a_kernel_that_stays_computes_and_shows_what_a_new_one_does(grid, features, tmp_path):
    Corpus("features", features).open_store()
    runs = plan(read_grids(grid(fusion=["audio", "ia"], seed=1)))
    with closing(Kernel()) as kernel:
        for run in runs:
            run_pipeline(run, kernel=kernel)
        process = kernel.client.km.provisioner.pid
        kernel.memory = 1  # byte, so that it is replaced
        kernel.make_ready()
        assert kernel.client.km.provisioner.pid != process and not psutil.pid_exists(process)
    for notebook in ("train", "evaluate", "attention"):
        run_pipeline(runs[1].model_copy(update={"outputs_root": tmp_path / "new"}), [notebook])
    for new in (path for path in (tmp_path / "new").rglob("*") if path.is_file()):
        stayed = tmp_path / "runs" / new.relative_to(tmp_path / "new")
        if new.suffix == ".ipynb":
            assert outputs(stayed) == outputs(new)
        elif new.name not in ("run.json", "checkpoint.pt"):  # these hold times
            assert stayed.read_bytes() == new.read_bytes(), new


def outputs(path: Path) -> list:
    """The numbers, printed lines, figures and widgets of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = ["".join(out.text for out in cell.outputs if out.output_type == "stream") for cell in cells]
    lines = [re.sub(r".*\r", "", text).replace("/new/", "/runs/") for text in printed]
    figures = [out.data.get("image/png") for cell in cells for out in cell.outputs if "data" in out]
    return [[cell.execution_count for cell in cells], lines, figures, "widgets" in notebook.metadata]


def test_a_kernel_that_stays_starts_processes_in_its_second_notebook_too(tmp_path):
    source = "from concurrent.futures import ProcessPoolExecutor\n"
    source += "from multiprocessing import get_context\n"
    source += "with ProcessPoolExecutor(1, get_context('spawn')) as pool:\n    print(*pool.map(abs, [-3]))"
    notebook = tmp_path / "pool.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), notebook)
    with closing(Kernel()) as kernel:
        for name in ("first", "second"):
            kernel.execute(notebook, tmp_path / f"{name}.ipynb", {})
            assert nbformat.read(tmp_path / f"{name}.ipynb", 4).cells[-1].outputs[0].text == "3\n"
