"""The settings of the smallest runs, and what tests make of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from workbook import ROOT
from workbook.data.build import build_store
from workbook.data.ravdess import EMOTIONS, find_trials
from workbook.data.store import Store
from workbook.task import Classification
from workbook.train.batches import Clips

SMOKE = yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text())

JUPYTER_FOLDERS = {
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "IPYTHONDIR": "ipython",
}  # what JupyterLab would share with its user


def data(fingerprint):
    """A store of one clip, in the sizes of the toy corpus."""
    arrays = np.zeros((1, 6, 64, 64, 3), np.uint8), np.zeros((1, 10, 156), np.float32)
    return Store(Path(), pd.DataFrame({"label": [0]}), *arrays, pd.DataFrame(), {"fingerprint": fingerprint})


def run_smoke(corpus: Path, outputs: Path, notebooks: tuple[str, ...], **parameters) -> Path:
    """The run folder of the smoke settings, some of them changed, after these notebooks."""
    from workbook.run.parameters import Parameters
    from workbook.sweep.notebooks import run_pipeline

    given = SMOKE | {"data_root": str(corpus), "outputs_root": str(outputs)} | parameters
    return run_pipeline(Parameters(**given), notebooks)


def clips_from_files(corpus: Path, folder: Path, count: int) -> Clips:
    """The first clips of a toy corpus, two of each actor, in a new store in the folder."""
    trials, problems = find_trials(corpus)
    trials = trials.groupby("actor").head(2).head(count)
    settings = {"frames": 2, "image_size": 64, "workers": 1, "progress": False}
    store = build_store(folder / "store", trials, problems, **settings)
    return Clips(store, np.arange(len(store)), store.clips["label"].to_numpy(), Classification(EMOTIONS))
