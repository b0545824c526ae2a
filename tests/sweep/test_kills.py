"""Sweeps with real kills, signals, a hang and a full disk: no run is lost, none is done twice, the table is as ever."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import yaml
from in_process import without_kernels
from sweeps import is_gone, kernel_at_work, start, states, stop, table, times_done, wait_for
from test_media import tone

import workbook
from workbook.data.window import SAMPLE_RATE
from workbook.run.claim import FILE, PIPELINE, is_claimed
from workbook.run.record import LOG, run_folders
from workbook.sweep.grid import plan, read_grids
from workbook.sweep.sweep import Sweep

ELSEWHERE = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]  # another name of this computer


def finish(file: Path) -> pd.DataFrame:
    """The table after a sweep that does what is left, in this process."""
    with without_kernels():
        outcomes = Sweep(plan(read_grids(file))).run()
    assert {outcome.state for outcome in outcomes} <= {"done", "complete"}
    return table(outcome.folder for outcome in outcomes)


def test_after_a_killed_kernel_and_a_killed_command_the_table_is_as_if_nothing_had_been(grid, quiet, tmp_path):
    root, file = tmp_path / "runs", grid()
    with start(file, "--jobs", "2") as command:
        kernel, hit = kernel_at_work(root)
        os.kill(kernel, signal.SIGKILL)
        wait_for(lambda: states(root)[str(hit)].startswith("failed: the kernel of train.ipynb died"))
        orphan, _ = kernel_at_work(root)
        command.kill()
    wait_for(lambda: is_gone(orphan))
    pd.testing.assert_frame_equal(finish(file), quiet)
    assert [*times_done(root).values()] == [1] * 4
    assert not list(root.rglob(FILE)) and not list(root.rglob(PIPELINE))


@pytest.mark.parametrize(
    "second", [pytest.param([], id="here"), pytest.param(ELSEWHERE, id="elsewhere", marks=pytest.mark.slow)]
)
def test_two_commands_on_one_computer_or_two_do_each_run_once(grid, quiet, tmp_path, second):
    if subprocess.run([*second, "true"], capture_output=True).returncode:
        pytest.skip("only root can give a process another host name")
    root, both = tmp_path / "runs", [start(grid(), where=where) for where in ([], second)]
    output = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert [*times_done(root).values()] == [1] * 4
    pd.testing.assert_frame_equal(table(run_folders(root)), quiet)
    workers = {re.search("process (.* on .*)", log.read_text())[1] for log in root.rglob(LOG)}
    assert len(workers) == 2, "each command has done some"
    assert not list(root.rglob(FILE)) and not list(root.rglob(PIPELINE))


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_ctrl_c_and_a_closed_terminal_end_the_kernels_and_leave_runs_that_go_on(grid, tmp_path, name):
    file = grid(fusion="audio", seed=1, epochs=20)
    with start(file) as command:
        folder = stop(command, tmp_path / "runs", getattr(signal, name))
    finish(file)
    assert len(pd.read_csv(folder / "history.csv")) == 20


@pytest.mark.slow
def test_a_sweep_that_is_terminated_while_it_prepares_clips_goes_on_with_those_it_has(tmp_path):
    for number in range(72):
        name = f"03-01-0{1 + number % 3}-01-01-01-{1 + number // 3:02d}.wav"  # 24 actors, three emotions
        soundfile.write(tmp_path / name, tone(100 + 5 * number, 3), SAMPLE_RATE)
    values = {"dataset": "ravdess", "data_root": str(tmp_path), "fusion": "audio", "dropout": ["none", "hard"]}
    values |= {"epochs": 1, "outputs_root": str(tmp_path / "runs"), "device": "cpu"}
    file, stores = tmp_path / "grid.yaml", workbook.DATA / "stores"
    file.write_text(yaml.safe_dump(values))
    with start(file, "--jobs", "2") as process:
        journal = wait_for(lambda: next(stores.glob("ravdess-15x224*.partial/journal.jsonl"), None))
        wait_for(journal.read_text)
        process.terminate()
        output = process.communicate()[0]
    assert process.returncode == 130 and output.splitlines()[-1].endswith("goes on where it stopped")
    assert journal.exists(), "the store was not finished"
    assert len(finish(file)) == 2 and [*times_done(tmp_path / "runs").values()] == [1, 1]


def test_a_run_that_hangs_is_ended_while_the_others_go_on_and_is_done_by_the_next_call(grid, quiet, tmp_path):
    root, file = tmp_path / "runs", grid()
    with start(file, "--jobs", "2", "--limit-minutes", "0.5") as command:
        kernel, hit = kernel_at_work(root)
        os.kill(kernel, signal.SIGSTOP)  # it neither computes nor answers
        output = command.communicate()[0]
    reason = "stopped after 0.5 minutes, the limit of --limit-minutes"
    assert command.returncode == 1 and output.splitlines()[-1] == f"{hit}: {reason}" and is_gone(kernel)
    assert {*states(root).values()} == {"done", f"failed: {reason}"} and not is_claimed(hit)
    pd.testing.assert_frame_equal(finish(file), quiet)
    assert [*times_done(root).values()] == [1] * 4


def test_a_full_disk_fails_one_run_and_once_there_is_room_it_goes_on(grid, quiet, tmp_path):
    file = grid()
    full = plan(read_grids(file))[1].folder
    full.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", full], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with without_kernels():
            outcomes = Sweep(plan(read_grids(file))).run()
        assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done"]
        assert re.match(rf"{full}/(model|checkpoint)\..* cannot be written: its disk has .* free$", outcomes[1].reason)
        assert states(tmp_path / "runs")[str(full)] == f"failed: {outcomes[1].reason}"
        subprocess.run(["mount", "-o", "remount,size=99m", full], check=True)
        pd.testing.assert_frame_equal(finish(file), quiet)
        assert [*times_done(tmp_path / "runs").values()] == [1] * 4
    finally:
        subprocess.run(["umount", "--lazy", full], check=True)
