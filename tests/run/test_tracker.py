"""Copies of runs in MLflow, by MLflow itself."""

import logging
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest
from in_process import without_kernels
from smoke_runs import data

from workbook import InputError
from workbook.files import write_table
from workbook.run.parameters import Parameters
from workbook.run.run_folder import start_run
from workbook.run.tracker import STORE
from workbook.sweep.notebooks import run_pipeline

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")


COPY = """
import sys
from pathlib import Path
from workbook.run.record import read_record
from workbook.run.tracker import MlflowCopy
folder = Path(sys.argv[1])
MlflowCopy(folder).update(read_record(folder))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An outputs_root whose store, which takes seconds to make, two processes have made at the same time."""
    root = tmp_path_factory.mktemp("Ann's runs")
    folders = [root / "toy" / "concat1-none" / f"fold0-seed{seed}" for seed in (1, 2)]
    for seed in (1, 2):
        made = Parameters(outputs_root=str(root), fusion="concat", dropout="none", seed=seed)
        with start_run(made, data("abc")):
            pass
    both = [subprocess.Popen([sys.executable, "-c", COPY, folder], stderr=subprocess.PIPE) for folder in folders]
    assert [process.communicate()[1] for process in both] == [b"", b""]
    assert [len(found(folder)) for folder in folders] == [1, 1]
    return root


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


def found(folder, store=""):
    """The MLflow runs of a run folder, the newest first."""
    client = mlflow.MlflowClient(store or f"sqlite:///{folder.parents[2] / STORE}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f'tags.folder = "{folder}"')


def train(config, *epochs):
    """Trains a run as far as its files show: a row of history.csv for each of the epochs, then an interruption."""
    with pytest.raises(InputError, match="run it again to go on"), start_run(config, data("abc")) as run:
        for epoch in epochs:
            rows = [{"epoch": number, "train_loss": 1 / number, "best": True} for number in range(1, epoch + 1)]
            write_table(config.folder / "history.csv", pd.DataFrame(rows))
            (config.folder / "model.safetensors").touch()
            run.track()
        raise KeyboardInterrupt
    return config.folder


def test_mlflow_has_the_parameters_the_epochs_and_the_results_of_a_run(root, features):
    grid = {"dataset": "features", "data_root": str(features), "fusion": "audio", "dropout": "none", "device": "cpu"}
    with without_kernels():
        folder = run_pipeline(Parameters(**grid, epochs=3, outputs_root=str(root), tracker="mlflow"))
    (run,) = found(folder)
    assert run.info.status == "FINISHED" and run.info.run_name == "/".join(folder.parts[-2:])
    assert run.data.params["fusion"] == "audio" and run.data.params.keys() == Parameters.model_fields.keys()
    history, results = pd.read_csv(folder / "history.csv"), pd.read_json(folder / "metrics.json")
    client = mlflow.MlflowClient(f"sqlite:///{root / STORE}")
    steps = client.get_metric_history(run.info.run_id, "validation_loss")
    assert {step.step: step.value for step in steps} == history.set_index("epoch")["validation_loss"].to_dict()
    assert run.data.metrics["accuracy A"] == results["conditions"]["A"]["accuracy"]


def test_a_run_that_goes_on_is_one_run_in_mlflow_and_one_that_starts_over_another(root):
    config = Parameters(outputs_root=str(root), epochs=9, tracker="mlflow", device="cpu")
    folder = train(config, 1, 2)
    train(config, 2, 3)
    (run,) = found(folder)
    client = mlflow.MlflowClient(f"sqlite:///{root / STORE}")
    steps = client.get_metric_history(run.info.run_id, "epoch")
    assert [step.step for step in steps] == [1, 2, 3]
    time.sleep(1)  # a run is known by the second of its start
    train(config.model_copy(update={"resume": False}), 1)
    assert [run.data.metrics["epoch"] for run in found(folder)] == [1, 3]


def test_a_failure_is_the_state_and_the_reason(root):
    config = Parameters(outputs_root=str(root), seed=2, tracker="mlflow", device="cpu")
    with pytest.raises(InputError), start_run(config, data("abc")):
        assert found(config.folder)[0].info.status == "RUNNING"
        raise InputError("the loss is not finite")
    (run,) = found(config.folder)
    assert run.info.status == "FAILED" and run.data.tags["error"] == "the loss is not finite"


@pytest.mark.parametrize("store", ["http://127.0.0.1:{silent}", "sqlite:///{folder}/file/mlflow.db"])
def test_a_tracker_that_fails_or_never_answers_is_one_warning_and_training_goes_on(
    tmp_path, caplog, monkeypatch, store
):
    (tmp_path / "file").touch()
    config = Parameters(outputs_root=str(tmp_path), tracker="mlflow", device="cpu")
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = store.format(folder=tmp_path, silent=server.getsockname()[1])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        start = time.monotonic()
        train(config, 1, 2)
    assert time.monotonic() - start < 60
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith(f"MLflow gets no copy of {config.folder} (")


def test_mlflows_own_variables_name_the_store_and_the_experiment(root, tmp_path, monkeypatch):
    store = f"sqlite:///{root / STORE}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "my thesis")
    config = Parameters(outputs_root=str(tmp_path), tracker="mlflow", device="cpu")
    (run,) = found(train(config, 1), store)
    assert mlflow.MlflowClient(store).get_experiment(run.info.experiment_id).name == "my thesis"
    assert not (tmp_path / STORE).exists()
