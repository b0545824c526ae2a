"""The rungs of the protocol ladder for one system; the first two are deliberately selected on the test set."""

from collections.abc import Iterator

import pandas as pd
import torch
from safetensors.torch import load_file

from workbook import InputError
from workbook.data.folds import FOLDS
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.evaluate.protocol import RUNGS
from workbook.run.frame_network_folder import checkpoint, teach_missing
from workbook.run.parameters import run_name
from workbook.run.record import read_predictions
from workbook.run.reopen import TrainedRun, build_network, clips_of
from workbook.train.pretraining import load_pretrained
from workbook.train.training import Progress, fit

FOLDER = "protocol"  # of a run: the trainings of the first two rungs, each in a folder named after its fold scheme


def schemes(run: TrainedRun) -> dict[str, str]:
    """The fold scheme of each rung that is trained with the test clips as validation."""
    return dict(zip(RUNGS, ("clips", run.parameters.fold_scheme), strict=False))


def train_on_test(run: TrainedRun, fold_scheme: str, progress: Progress | None = None) -> Iterator[dict[str, float]]:
    """Trains the system of a run with its test clips as validation; yields a row of the history after each epoch.

    So the epoch is chosen by the accuracy on the test clips. That is wrong, and done to measure how much it adds.

    fold_scheme : one of `schemes(run)`      progress : as in `fit`
    Writes into the run's folder; a training that was stopped goes on. A frame network that the scheme needs is taught
    first. Raises InputError where another process works on the run.
    """
    config = run.parameters.model_copy(update={"fold_scheme": fold_scheme})
    clips = clips_of(config, run.store)
    folder = run.folder / FOLDER / fold_scheme
    folder.mkdir(parents=True, exist_ok=True)
    teach_missing(config)
    torch.manual_seed(config.seed)
    network = build_network(config, run.store)
    load_pretrained(network, checkpoint(config, run.store.fingerprint))
    with run.stage(FOLDER):
        yield from fit(network, clips["train"], clips["test"], folder, progress=progress, **config.of_training)


def rung_predictions(run: TrainedRun) -> dict[str, pd.DataFrame]:
    """The predictions of a system on each rung, by the names in `workbook.evaluate.protocol.RUNGS`.

    run : one fold; the others lie beside it, all evaluated. Without any other one, the last rung is left out.
    Raises InputError where one of them, or a training by `train_on_test`, is missing.
    """
    config = run.parameters
    selected_on_test = [_predict(run, fold_scheme) for fold_scheme in schemes(run).values()]
    tables = [*selected_on_test, read_predictions(run.folder)]
    names = [run_name(config.model_dump() | {"fold": fold}).split for fold in range(FOLDS[config.fold_scheme])]
    folders = [run.folder.parent / name for name in names]
    if any(folder.exists() for folder in folders if folder != run.folder):
        tables.append(pd.concat(map(read_predictions, folders), ignore_index=True))
    return dict(zip(RUNGS, tables, strict=False))


def _predict(run: TrainedRun, fold_scheme: str) -> pd.DataFrame:
    """The predictions of a network of `train_on_test` on its test clips."""
    path = run.folder / FOLDER / fold_scheme / "model.safetensors"
    if not path.exists():
        raise InputError(f"{path} is missing: workbook.run.protocol_runs.train_on_test makes it")
    config = run.parameters.model_copy(update={"fold_scheme": fold_scheme})
    clips = clips_of(config, run.store)
    network = build_network(config, run.store).to(config.device)
    network.load_state_dict(load_file(path))
    conditions = paper_conditions(config.dropout)[:3]
    return predict(network, clips["test"], conditions, fold=config.fold, seed=config.seed)
