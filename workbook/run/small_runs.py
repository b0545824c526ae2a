"""Trainings beside those of run folders: small ones for lessons, and the first two rungs of the protocol ladder.

Those two are deliberately selected on the test set.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.data.datasets import Corpus
from workbook.data.folds import FOLDS
from workbook.evaluate.conditions import Intact, paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.evaluate.protocol import RUNGS
from workbook.run.parameters import Parameters
from workbook.run.record import read_predictions
from workbook.run.reopen import TrainedRun, build_network, clips_of
from workbook.run.run_folder import checkpoint, teach_missing
from workbook.train.batches import Clips, task_and_labels
from workbook.train.pretraining import load_pretrained
from workbook.train.training import Progress, fit, validate

FOLDER = "protocol"  # of a run: the trainings of the first two rungs, each in a folder named after its fold scheme


@dataclass(frozen=True)
class SmallRun:
    """A trained network, its clips, and how it got there."""

    config: Parameters
    network: AudiovisualNet  # in eval mode, with the weights of the chosen epoch
    clips: dict[str, Clips]  # train, validation, test
    history: pd.DataFrame  # a row per epoch, as `fit` yields it, and test_accuracy in percent

    def clips_of(self, corpus: Corpus) -> Clips:
        """All clips of another corpus of the same kind, standardised as in training."""
        store, test = corpus.open_store(), self.clips["test"]
        labels = task_and_labels(store, self.config.classes)[1]
        return Clips(store, np.arange(len(store)), labels, test.task, test.device, test.modalities, test.scales)

    def predict(self, clips: Clips | None = None) -> pd.DataFrame:
        """The predictions of some clips, by default of the test clips, as `evaluation.predict` and with the seed."""
        fold, seed, clips = self.config.fold, self.config.seed, clips or self.clips["test"]
        return predict(self.network, clips, [Intact()], fold=fold, seed=seed).assign(seed=seed)


def train_small(config: Parameters, choose_on: Literal["validation", "test"] = "validation") -> SmallRun:
    """Trains a network on one core or few, and returns it; nothing is kept on the disk.

    choose_on : the split whose accuracy chooses the epoch. The test is the wrong one, to show what that does.
    """
    store = config.corpus.open_store()
    clips, rows = clips_of(config, store), []
    torch.manual_seed(config.seed)
    network = build_network(config, store)
    with TemporaryDirectory() as folder:
        for row in fit(network, clips["train"], clips[choose_on], Path(folder), **config.of_training):
            tested = validate(network, clips["test"], config.batch_size)
            rows.append(row | {"test_accuracy": tested["validation_accuracy"]})
        network.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return SmallRun(config, network.eval(), clips, pd.DataFrame(rows))


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
    config, tables = run.parameters, []
    for fold_scheme in schemes(run).values():
        path, own = run.folder / FOLDER / fold_scheme / "model.safetensors", {"fold_scheme": fold_scheme}
        if not path.exists():
            raise InputError(f"{path} is missing: workbook.run.small_runs.train_on_test makes it")
        network = build_network(config, run.store).to(config.device)
        network.load_state_dict(load_file(path))
        test = clips_of(config.model_copy(update=own), run.store)["test"]
        tables.append(predict(network, test, paper_conditions(config.dropout)[:3], fold=config.fold, seed=config.seed))
    tables.append(read_predictions(run.folder))
    splits = [config.model_copy(update={"fold": fold}).folder for fold in range(FOLDS[config.fold_scheme])]
    folders = [run.folder.parent / folder.name for folder in splits]
    if any(folder.exists() for folder in folders if folder != run.folder):
        tables.append(pd.concat(map(read_predictions, folders), ignore_index=True))
    return dict(zip(RUNGS, tables, strict=False))
