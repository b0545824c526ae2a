"""A grid on a real Ray cluster, whose processes and nodes are killed: no run is lost, none is done twice."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from sweeps import kernel_at_work, start, stop, table, times_done, wait_for

from workbook.cli import main
from workbook.data.build import build_store
from workbook.data.ravdess import find_trials
from workbook.run.record import LOG, run_folders

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'avlib[ray]'")

from ray.cluster_utils import Cluster

from workbook.sweep import ray_engine


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with two CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        except Exception as error:  # Ray itself allows 30 seconds, too few for a machine with much else to do
            pytest.skip(f"Ray does not start here: {error}")
        yield cluster
        cluster.shutdown()


def parents(process: int) -> list[int]:
    """The processes above a process, from the nearest on; none where it has ended."""
    try:
        return [parent.pid for parent in psutil.Process(process).parents()]
    except psutil.NoSuchProcess:
        return []


def starts(folder: Path) -> int:
    """How often a run was begun, by its log."""
    return (folder / LOG).read_text().count(", process ")


def assert_all_done_once(command, root: Path, hit: Path, quiet: pd.DataFrame) -> None:
    """The command ends with all four runs done, the hit one begun twice, and the table of a quiet sweep."""
    output = command.communicate()[0]
    assert command.returncode == 0 and "4 of 4 done" in output, output
    assert starts(hit) == 2 and len(run_folders(root)) == 4 and set(times_done(root).values()) == {1}
    pd.testing.assert_frame_equal(table(run_folders(root)), quiet)


def test_after_a_killed_worker_of_the_cluster_the_table_is_as_if_nothing_had_been(cluster, grid, quiet, tmp_path):
    root = tmp_path / "runs"
    with start(grid(), "--engine", "ray", "--address", cluster.address) as command:
        kernel, hit = kernel_at_work(root)
        os.kill(parents(kernel)[0], signal.SIGKILL)
        wait_for(lambda: not parents(kernel))
        assert_all_done_once(command, root, hit, quiet)


@pytest.mark.slow
def test_after_a_killed_node_the_table_is_as_if_nothing_had_been(cluster, grid, quiet, tmp_path):
    root, node = tmp_path / "runs", cluster.add_node(num_cpus=2)
    (raylet,) = (process.process.pid for process in node.all_processes["raylet"])
    options = ("--engine", "ray", "--address", cluster.address, "--cpus-per-run", "2")  # one run on each node
    with start(grid(), *options) as command:
        kernel, hit = kernel_at_work(root, lambda process: raylet in parents(process))
        cluster.remove_node(node, allow_graceful=False)
        wait_for(lambda: not parents(kernel))
        assert_all_done_once(command, root, hit, quiet)


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_ends_its_jobs_and_its_runs_go_on(by, cluster, grid, tmp_path):
    file = grid(fusion="audio", seed=1, epochs=20)
    options = ("--engine", "ray", "--address", cluster.address)
    with start(file, *options) as command:
        folder = stop(command, tmp_path / "runs", by)
    with start(file, *options) as command:
        output = command.communicate()[0]
    assert command.returncode == 0 and "1 of 1 done" in output, output
    assert len(pd.read_csv(folder / "history.csv")) == 20


@pytest.mark.slow
def test_shards_of_clips_on_a_cluster_make_the_store_that_one_process_makes(cluster, small_toy, tmp_path):
    trials, problems = find_trials(small_toy)
    trials = trials[:11].copy()
    (tmp_path / "torn.mp4").write_bytes(Path(trials["video_path"][3]).read_bytes()[:2000])
    trials.loc[3, "video_path"] = str(tmp_path / "torn.mp4")
    settings = {"frames": 3, "image_size": 32, "progress": False}
    here = build_store(tmp_path / "here", trials, problems, workers=1, **settings)
    with ray_engine.connect(cluster.address) as engine:
        assert len(ray_engine._shards(dict(enumerate(range(11))), cpus=2)) == 2
        there = build_store(tmp_path / "there", trials, problems, prepare=engine.prepare, **settings)
    assert there.fingerprint == here.fingerprint and len(here.problems) == 1
    np.testing.assert_array_equal(there.video, here.video)
    np.testing.assert_array_equal(there.audio, here.audio)
    pd.testing.assert_frame_equal(there.clips, here.clips)
    pd.testing.assert_frame_equal(there.problems, here.problems)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "ray://127.0.0.1:9", "something else"])
def test_an_address_where_no_cluster_answers_is_a_sentence(address, grid, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "ANSWER", 3)  # seconds
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = address.replace("something else", f"127.0.0.1:{server.getsockname()[1]}")
        ended = CliRunner().invoke(main, ["run", str(grid()), "--engine", "ray", "--address", address])
    sentence = f"Error: no Ray cluster answers at {address}: give host:port"
    assert ended.exit_code == 2 and ended.output.startswith(sentence)
    assert ended.output.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_options_of_a_cluster_need_the_engine_and_a_run_that_fits_no_node_is_refused(cluster, grid, tmp_path):
    ended = CliRunner().invoke(main, ["run", str(grid()), "--address", cluster.address])
    assert ended.exit_code == 2 and "--engine ray: add it" in ended.output
    command = ["run", str(grid()), "--engine", "ray", "--address", cluster.address, "--cpus-per-run", "64"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 2 and "no node of the cluster has 64 CPUs: ask for less" in ended.output
    assert not (tmp_path / "runs").exists()
