"""Small trainings for lessons, without a run folder: seconds of features, or of a frozen frame network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from avlib.model import AudiovisualNet
from workbook.data.datasets import Corpus
from workbook.evaluate.conditions import Condition, Intact
from workbook.evaluate.evaluation import predict
from workbook.run.parameters import Parameters
from workbook.run.reopen import build_network, clips_of
from workbook.train.batches import Clips, task_and_labels
from workbook.train.training import fit, validate


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

    def predict(self, clips: Clips | None = None, conditions: Sequence[Condition] = (Intact(),)) -> pd.DataFrame:
        """The predictions of some clips, by default of the test clips, as `evaluation.predict` and with the seed."""
        fold, seed, clips = self.config.fold, self.config.seed, clips or self.clips["test"]
        return predict(self.network, clips, conditions, fold=fold, seed=seed).assign(seed=seed)


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
