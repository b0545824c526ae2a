"""The rungs of the protocol ladder for one system: two are trained here on purpose as they should not be."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

from workbook import InputError
from workbook.data.folds import FOLDS
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.evaluate.protocol import RUNGS
from workbook.run.frame_network_folder import checkpoint
from workbook.run.parameters import Parameters, run_name
from workbook.run.reopen import TrainedRun, build_network, clips_of
from workbook.train.pretraining import load_pretrained
from workbook.train.training import fit

FOLDER = "protocol"  # of a run: the trainings of the first two rungs
OF_TRAINING = {"dropout", "epochs", "batch_size", "learning_rate", "seed", "protocol", "train_vision"}


def schemes(run: TrainedRun) -> dict[str, str]:
    """The fold scheme of each rung that is trained with the test clips as validation."""
    return dict(zip(RUNGS, ("clips", run.parameters.fold_scheme), strict=False))


def train_on_test(run: TrainedRun, fold_scheme: str) -> Iterator[dict[str, float]]:
    """Trains the system of a run anew with its test clips as validation; yields a row of the history after each epoch.

    So the epoch is chosen by the accuracy on the test clips. That is wrong, and done to measure how much it adds.

    fold_scheme : one of `schemes(run)`
    Writes into the run's folder; a training that was stopped goes on. Raises InputError where another process works on
    the run, and where a pretrained frame network must be made first.
    """
    config, clips = _rung(run, fold_scheme)
    folder = _folder(run, fold_scheme)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    net = build_network(config, run.store)
    load_pretrained(net, checkpoint(config, run.store.fingerprint))
    with run.stage(FOLDER):
        yield from fit(net, clips["train"], clips["test"], folder, **config.model_dump(include=OF_TRAINING))


def rungs(run: TrainedRun) -> dict[str, pd.DataFrame]:
    """The predictions of a system on each rung, by the names in `workbook.evaluate.protocol.RUNGS`.

    run : one fold; the others lie beside it, all evaluated
    Raises InputError where one of them, or a training by `train_on_test`, is missing.
    """
    config = run.parameters
    found = {rung: _predicted(run, scheme) for rung, scheme in schemes(run).items()}
    folds = [_evaluated(run, fold) for fold in range(FOLDS[config.fold_scheme])]
    return found | dict(zip(RUNGS[2:], (folds[config.fold], pd.concat(folds, ignore_index=True)), strict=True))


def _rung(run: TrainedRun, fold_scheme: str) -> tuple[Parameters, dict]:
    """The parameters of a run with another fold scheme, and the clips of their splits."""
    config = run.parameters.model_copy(update={"fold_scheme": fold_scheme})
    return config, clips_of(config, run.store)


def _folder(run: TrainedRun, fold_scheme: str) -> Path:
    return run.folder / FOLDER / fold_scheme


def _predicted(run: TrainedRun, fold_scheme: str) -> pd.DataFrame:
    """What a network of `train_on_test` says of its test clips."""
    path = _folder(run, fold_scheme) / "model.safetensors"
    if not path.exists():
        raise InputError(f"{path} is missing: workbook.run.rungs.train_on_test makes it")
    config, clips = _rung(run, fold_scheme)
    net: nn.Module = build_network(config, run.store).to(config.device)
    net.load_state_dict(load_file(path))
    conditions = paper_conditions(config.dropout)[:3]
    return predict(net, clips["test"], conditions, fold=config.fold, seed=config.seed)


def _evaluated(run: TrainedRun, fold: int) -> pd.DataFrame:
    """The predictions of the same system on a fold."""
    path = run.folder.parent / run_name(run.parameters.model_dump() | {"fold": fold}).split / "predictions.parquet"
    if not path.exists():
        raise InputError(f"{path} is missing: train and evaluate fold {fold} of this system first")
    return pd.read_parquet(path)
