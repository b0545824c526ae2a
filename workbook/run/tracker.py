"""Copies of runs in MLflow, for people who look for their runs there: `tracker=mlflow`.

The run folder stays the source. Every update reads it again, so an update also brings what earlier ones have missed.
Artefacts stay in the folder: MLflow gets its path.

Not by MLflow's fluent API: set_experiment and set_tracking_uri write MLFLOW_EXPERIMENT_ID and MLFLOW_TRACKING_URI, so
the next run in a kernel that stays, and every child process, would go to the same place; and a training that ends with
an error is FINISHED there.
"""

import logging
import os
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from workbook.files import folder_lock
from workbook.run.record import Record, read_metrics
from workbook.text import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = "mlflow.db"  # below outputs_root, unless MLFLOW_TRACKING_URI names another store
STATUS = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED"}  # state of a run -> MLflow's word
BATCH = 1000  # metrics that MLflow takes at once
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # seconds; MLflow's own
# values hold up training for minutes where a server is away

log = logging.getLogger(__name__)


class MlflowCopy:
    """The copy of one run in MLflow: its parameters, the columns of history.csv as metrics, and its results.

    A run that goes on keeps its MLflow run; one that starts over gets a new one.

    folder : of the run; its dataset names the experiment, unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID does
    """

    def __init__(self, folder: Path):
        self.folder, self.failed = folder, False
        self.client: MlflowClient | None = None
        self.run_id = ""  # MLflow's

    def update(self, record: Record) -> None:
        """Copies what is new in the run folder. A failure is a warning, and no later update tries again."""
        if self.failed:
            return
        try:
            if self.client is None:
                self._connect(record)
            self._send(record)
        except Exception as error:  # of many kinds: no server, a full disk, a store of another version
            reason = f"{type(error).__name__}: {one_line(error)[:200]}"
            log.warning("MLflow gets no copy of %s (%s)", self.folder, reason)
            self.failed = True

    def _connect(self, record: Record) -> None:
        """Opens the store and the run in it, and makes both where they are missing."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the import reads it
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 1  # else a database that is away takes 100 s
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # else a new store lists its tables
        dataset, system, split = self.folder.parts[-3:]
        store = self.folder.parents[2] / STORE
        with folder_lock(store):  # several jobs would make its tables, and the experiment
            client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store}")
            experiment = os.environ.get("MLFLOW_EXPERIMENT_ID")
            if not experiment:
                name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or dataset
                known = client.get_experiment_by_name(name)
                experiment = known.experiment_id if known else client.create_experiment(name)
            identity = {"folder": str(self.folder), "started": record.started}
            condition = " and ".join(f'tags.{name} = "{value}"' for name, value in identity.items())
            runs = client.search_runs([experiment], condition, max_results=1)
            if runs:
                self.run_id = runs[0].info.run_id
            else:
                git = {"mlflow.source.git.commit": record.git["commit"] if record.git else ""}
                tags = identity | git | {"device": record.device or ""}
                run = client.create_run(experiment, tags=tags, run_name=f"{system}/{split}")
                self.run_id = run.info.run_id
                parameters = [Param(name, str(value)) for name, value in record.parameters.items()]
                client.log_batch(self.run_id, params=parameters)
        self.client = client

    def _send(self, record: Record) -> None:
        """Sends the epochs, the results and the state that MLflow does not have."""
        import pandas as pd
        from mlflow.entities import Metric

        path, run, moment = self.folder / "history.csv", self.client.get_run(self.run_id), int(1000 * time())
        history = pd.read_csv(path).astype(float).to_dict("records") if path.exists() else []
        sent = run.data.metrics
        epochs = [row for row in history if row["epoch"] > sent.get("epoch", 0)]
        new = [Metric(name, value, moment, int(row["epoch"])) for row in epochs for name, value in row.items()]
        for condition, values in read_metrics(self.folder).items():
            results = {f"{name} {condition}": value for name, value in values.items()}
            new += [Metric(k, v, moment, len(history)) for k, v in results.items() if v != sent.get(k)]
        for start in range(0, len(new), BATCH):
            self.client.log_batch(self.run_id, metrics=new[start : start + BATCH])
        status = STATUS[record.state]
        if status != run.info.status:
            self.client.set_tag(self.run_id, "error", record.error or "")
            change = self.client.update_run if status == "RUNNING" else self.client.set_terminated
            change(self.run_id, status)
