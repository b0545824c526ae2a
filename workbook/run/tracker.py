"""Copies of runs in MLflow, for people who look for their runs there: `tracker=mlflow`.

The run folder stays the source. All that MLflow gets is read from it again at every update, so an update also brings
what earlier ones have missed. Artefacts stay where they are: MLflow gets the path of the folder.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from workbook.files import folder_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

TRACKERS = ("none", "mlflow")  # the values of the parameter `tracker`
STORE = "mlflow.db"  # below outputs_root, unless MLFLOW_TRACKING_URI names another store
STATUS = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED"}  # state of a run -> MLflow's word
BATCH = 1000  # metrics that MLflow takes at once
IDENTITY = "workbook.run"  # the tag by which a run is found again
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # seconds; MLflow's own
# values hold up training for minutes where a server is away

log = logging.getLogger(__name__)


class MlflowCopy:
    """The copy of one run in MLflow: its parameters, the columns of history.csv as metrics, and its results.

    A run that goes on has the same MLflow run as before; one that starts over has a new one.

    folder : of the run; its dataset names the experiment, unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID does
    """

    def __init__(self, folder: Path):
        self.folder, self.failed = folder, False
        self.client: MlflowClient | None = None
        self.run, self.status = "", ""  # MLflow's id of the run, and its word for the state
        self.epoch, self.results = 0, {}  # what MLflow has: the last epoch, and the results

    def update(self, record: dict[str, Any]) -> None:
        """Copies what is new in the run folder. A failure is a warning, and no later update tries again.

        record : as in run.json
        """
        if self.failed:
            return
        try:
            if self.client is None:
                self._connect(record)
            self._send_metrics()
            self._send_state(record)
        except Exception as error:  # of many kinds: no server, a full disk, a store of another version
            self.failed = True
            reason = " ".join(str(error).split())[:200]
            log.warning("MLflow gets no copy of %s (%s: %s)", self.folder, type(error).__name__, reason)

    def _connect(self, record: dict[str, Any]) -> None:
        """Opens the store and finds the run in it; both are made where they are missing."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by the import
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # else a new store lists its tables
        store = self.folder.parents[2] / STORE
        with folder_lock(store):  # several jobs would make its tables, and the experiment
            client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store}")
            found = self._find(client, _experiment(client, self.folder.parts[-3]), record)
        self.client, self.run, self.status = client, found.info.run_id, found.info.status
        self.epoch, self.results = int(found.data.metrics.get("epoch", 0)), found.data.metrics

    def _find(self, client: "MlflowClient", experiment: str, record: dict[str, Any]) -> "MlflowRun":
        """The MLflow run of this folder since the start that the record names."""
        identity = hashlib.sha256(f"{self.folder} {record['started']}".encode()).hexdigest()[:16]
        found = client.search_runs([experiment], f"tags.`{IDENTITY}` = '{identity}'", max_results=1)
        if found:
            return found[0]
        from mlflow.entities import Param

        given = {name: str(value) for name, value in record["parameters"].items()}
        tags = {IDENTITY: identity, "folder": str(self.folder), "device": record.get("device") or ""}
        tags["mlflow.source.git.commit"] = (record.get("git") or {}).get("commit", "")
        made = client.create_run(experiment, tags=tags, run_name="/".join(self.folder.parts[-2:]))
        client.log_batch(made.info.run_id, params=[Param(*pair) for pair in given.items()])
        return made

    def _send_metrics(self) -> None:
        """Sends the epochs and the results that MLflow does not have."""
        from mlflow.entities import Metric

        moment, epochs = int(1000 * time()), [row for row in _history(self.folder) if row["epoch"] > self.epoch]
        new = [Metric(name, value, moment, int(row["epoch"])) for row in epochs for name, value in row.items()]
        self.epoch = int(epochs[-1]["epoch"]) if epochs else self.epoch
        results = {name: value for name, value in _results(self.folder).items() if value != self.results.get(name)}
        new += [Metric(name, value, moment, self.epoch) for name, value in results.items()]
        self.results |= results
        for start in range(0, len(new), BATCH):
            self.client.log_batch(self.run, metrics=new[start : start + BATCH])

    def _send_state(self, record: dict[str, Any]) -> None:
        """Sends the state, if it is another one; of a failure also the reason."""
        status = STATUS[record.get("state", "done")]
        if status != self.status:
            self.status = status
            self.client.set_tag(self.run, "error", record.get("error") or "")
            if status == "RUNNING":
                self.client.update_run(self.run, status)
            else:
                self.client.set_terminated(self.run, status)


def copy_in(tracker: str, folder: Path) -> MlflowCopy | None:
    """The copy of a run in a tracker, one of TRACKERS; None for none."""
    return MlflowCopy(folder) if tracker == "mlflow" else None


def _experiment(client: "MlflowClient", dataset: str) -> str:
    """The id of the experiment, which is made where it is missing."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or dataset
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


def _history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv; none before the first epoch."""
    import pandas as pd

    path = folder / "history.csv"
    return pd.read_csv(path).astype(float).to_dict("records") if path.exists() else []


def _results(folder: Path) -> dict[str, float]:
    """The numbers of metrics.json by names such as `accuracy AV`; none before evaluation."""
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    measured = json.loads(path.read_text(encoding="utf-8"))
    named = (measured["conditions"] | {"M": measured["M"]}).items()
    found = {f"{name} {condition}": value for condition, values in named for name, value in values.items()}
    return {name: float(value) for name, value in found.items() if value is not None}
