"""Opens a trained run by its folder: its parameters, network, store and clips."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

import workbook
from avlib.fusion import FUSIONS
from avlib.model import build_model
from avlib.weights import read_weights
from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.data.store import Store
from workbook.run.parameters import NAMES, OWN_FUSIONS, Parameters, absolute_path, refuse_empty
from workbook.run.record import Record, epochs_done, read_metrics, read_predictions, read_record, run_folders
from workbook.run.run_folder import Run, network_settings
from workbook.run.run_name import OF_STORE
from workbook.task import Task
from workbook.text import in_markdown, one_line, papermill_command
from workbook.train.batches import Clips, splits

if TYPE_CHECKING:  # they import scipy and libraries for media
    from workbook.explore.probe import Subject
    from workbook.predict.prediction import ModelCard

LISTED = 8  # trained runs that a sentence names


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedRun(Run):
    """A trained run; see `Run` for its folder, record, figures and stages. Network and data are read on first use."""

    parameters: Parameters

    @cached_property
    def network(self) -> nn.Module:
        """The trained network in eval mode, on the device of the parameters."""
        return load_run(self.folder).to(self.parameters.device)

    @cached_property
    def store(self) -> Store:
        """The data that the run was trained on. Raises InputError where they are missing or have changed."""
        store = self.parameters.corpus.open_store()
        own = self.record.fingerprint = self.record.fingerprint or store.fingerprint  # an imported one takes its first
        if store.fingerprint != own:
            data = f"other data (fingerprint {own}, not {store.fingerprint})"
            raise InputError(f"{self.folder} was trained on {data}: give its own data as data_root, or train it again")
        return store

    @cached_property
    def _splits(self) -> dict[str, Clips]:
        splits = clips_of(self.parameters, self.store)
        if not self.record.imported:
            clips = splits["train"].table.drop_duplicates("clip")  # protocol authors has some of them twice
            both = int((clips["has_audio"] & clips["has_video"]).sum())
            self.record.material = len(clips), clips["actor"].nunique(), both
        return splits

    @property
    def train(self) -> Clips:
        """The training clips of its fold."""
        return self._splits["train"]

    @property
    def validation(self) -> Clips:
        """The validation clips of its fold."""
        return self._splits["validation"]

    @property
    def test(self) -> Clips:
        """The test clips of its fold."""
        return self._splits["test"]

    @property
    def task(self) -> Task:
        """The task that the network was trained for."""
        return self.test.task

    @cached_property
    def truth(self) -> pd.DataFrame | None:
        """The known truth of each clip of a toy dataset, indexed by its name; None for a real dataset."""
        return self.parameters.corpus.truth()

    @property
    def card(self) -> "ModelCard":
        """What its network says about itself, from its record, its metrics and, for intervals, its predictions."""
        from workbook.predict.prediction import MEANING, ModelCard

        record, metrics = self.record, read_metrics(self.folder)
        dataset = DATASETS[record.parameters["dataset"]]
        scores = {name: metrics[name] for name in MEANING if name in metrics}
        reach, testers = {}, 0
        if scores:
            from workbook.evaluate.statistics import intervals

            with suppress(InputError):  # the predictions are gone
                rows = intervals({"": read_predictions(self.folder)}, conditions=[*scores])
                testers = int(rows["actors"].max())
                reach = {row.condition: (row.low, row.high) for row in rows.dropna().itertuples()}
        origin = f"It was imported from {record.imported.file}. {record.describe_origin()}" if record.imported else ""
        return ModelCard(
            corpus=dataset.title,
            is_toy=dataset.make is not None,
            labels=tuple(record.labels),
            dropout=record.parameters["dropout"],
            accuracy={name: row["accuracy"] for name, row in scores.items()},
            clips={name: row["clips"] for name, row in scores.items()},
            knows_people=record.parameters["fold_scheme"] == "clips",
            intervals=reach,
            testers=testers,
            is_score=record.network["classes"] == 1,
            is_acted=dataset.is_acted,
            material=record.material,
            imported=origin,
        )

    def subject(self) -> "Subject":
        """Its network for the explorer, with what it says about itself."""
        from workbook.evaluate.conditions import paper_conditions
        from workbook.explore.probe import Subject

        conditions = paper_conditions(self.record.parameters["dropout"])[:3]
        return Subject(self.network, conditions=conditions, about=self.card.about())

    def __repr__(self) -> str:
        return f"{self.folder}\n{self._origin}\n{self._shown}"

    def _repr_markdown_(self) -> str:
        place = f"<code>{in_markdown(self.folder)}</code>, {in_markdown(self._origin)}"
        return f"{place}\n\n{self._shown._repr_markdown_()}"

    @property
    def _origin(self) -> str:
        moment, origin = f"{self.record.trained[:16].replace('T', ' ')} UTC", self.record.imported
        if not origin:
            return f"trained {moment} on {self.record.device}"
        return f"imported {moment} from {origin.file}. {self.record.describe_origin()}"

    @property
    def _shown(self) -> Parameters:
        """The parameters to read, not to compute with: unknown and assumed ones are called so."""
        assumed = self.record.imported.assumed if self.record.imported else ()
        words = {name: f"{getattr(self.parameters, name)} (assumed)" for name in assumed}
        return self.parameters.model_copy(update=words | dict.fromkeys(self.record.unknown, "unknown"))


def from_here(folder: Path) -> Path:
    """The folder that a command names: from the working directory if it is there, else from the workbook."""
    return folder.absolute() if folder.exists() else folder


def find_run(run: str | Path = "") -> Path:
    """The folder of a trained run; a relative path starts at the workbook. "" is the run that was trained last.

    Raises InputError where it is missing or not fully trained, with the runs that there are or the command to train.
    """
    refuse_empty("run", run, ("",))
    if not run:
        folders = trained_runs()
        if not folders:
            train = papermill_command("train", {})
            raise InputError(f"no run is trained under {workbook.OUTPUTS}; train one with: {train}")
        return folders[0]
    folder = absolute_path("run", run)
    record = _record_with_weights(folder)
    if record is None:
        runs = ", ".join(map(str, trained_runs()[:LISTED]))
        choices = f"choose one of {runs}" if runs else "train one with train.ipynb"
        raise InputError(f"run is {run}, which holds no trained run; {choices}")
    if not record.trained:  # the weights exist from the first epoch on
        config = Parameters(**record.parameters)
        done = f"was trained for {epochs_done(folder)} of {config.epochs} epochs"
        raise InputError(f"{folder} {done}; go on with: {config.command('train', NAMES)}")
    return folder


def trained_runs(outputs_root: Path | None = None) -> list[Path]:
    """The folders of all trained runs below a folder, outputs/ by default; the one that was trained last first.

    Of a sweep, the last run of its grid counts as the one trained last, whichever ended last.
    """
    moments = {}
    for folder in run_folders(outputs_root or workbook.OUTPUTS):
        with suppress(InputError):  # damaged
            record = _record_with_weights(folder)
            if record and record.trained:
                moments[folder] = record.sweep or (record.trained, 0)
    return sorted(moments, key=moments.get, reverse=True)


def _record_with_weights(folder: Path) -> Record | None:
    """The record of a folder that holds weights, too; None for any other folder."""
    record = read_record(folder)
    return record if record and (folder / "model.safetensors").exists() else None


def open_trained(folder: str | Path = "", device: str = "auto", data_root: str | Path = "") -> TrainedRun:
    """The trained run in a folder; a relative path starts at the workbook. "" is the run that was trained last.

    device : auto | cpu | cuda      data_root : where the corpus is, if it has moved; "" = where the run had it
    Raises InputError where there is no trained run. Its network and data are read on first use.
    """
    folder = find_run(folder)
    record = read_record(folder)
    if data_root == "" and os.path.exists(record.parameters["data_root"]):
        data_root = record.parameters["data_root"]  # else it was trained elsewhere; the fingerprint shows other data
    if (fusion := record.parameters["fusion"]) not in FUSIONS:
        raise InputError(f"{folder} has fusion '{fusion}', which nobody has defined here: define it in {OWN_FUSIONS}")
    parameters = Parameters(**record.parameters | {"device": device, "data_root": data_root})
    parameters.check_device()
    parameters = parameters.model_copy(update={name: text for name, text in record.unknown.items() if text})
    return TrainedRun(folder=folder, record=record, parameters=parameters)


def clips_of(config: Parameters, store: Store) -> dict[str, Clips]:
    """The clips of the three splits of a run's fold: {"train", "validation", "test"}."""
    modalities = FUSIONS[config.fusion].modalities
    return splits(store, config.fold, config.classes, modalities, config.device, fold_scheme=config.fold_scheme)


def build_network(config: Parameters, store: Store) -> nn.Module:
    """The network of a run, in the sizes of its data, with fresh weights."""
    return build_model(**network_settings(config, store))


def load_run(folder: str | Path) -> nn.Module:
    """The trained network of a run folder, in eval mode on the CPU; a relative path starts at the workbook.

    Raises InputError where the folder is missing or holds no trained run.
    """
    folder = absolute_path("run", folder)
    record = _record_with_weights(folder)
    if record is None:
        raise InputError(f"{folder} is no trained run: run.json and model.safetensors are written there by training")
    try:
        network = build_model(**record.network)
        network.load_state_dict(read_weights(folder / "model.safetensors")[1])
    except Exception as error:  # of many kinds: a damaged file, or weights of another network
        reason = f"does not hold the model of run.json ({one_line(error)[:200]}): train it again"
        raise InputError(f"{folder / 'model.safetensors'} {reason}") from None
    return network.eval()


def subjects(run: TrainedRun) -> "dict[str, Callable[[], Subject]]":
    """The trained runs beside this one that are tested with the same clips, by name; its own first.

    Each is opened when it is called, with its answers and without its data.
    """

    def answered(trained: TrainedRun) -> "Subject":
        is_evaluated = (trained.folder / "predictions.parquet").exists()
        return replace(trained.subject(), predictions=read_predictions(trained.folder) if is_evaluated else None)

    openers = {run.folder: lambda: answered(run)}
    for folder in sorted(path.parent for path in run.folder.parents[1].glob("*/*/model.safetensors")):
        with suppress(InputError):  # damaged
            record = read_record(folder)
            if record and record.trained and clips_key(record) == clips_key(run.record):
                openers.setdefault(folder, lambda folder=folder: answered(open_trained(folder, run.parameters.device)))
    return dict(zip(names_of([*openers]), openers.values(), strict=True))


def clips_key(record: Record) -> tuple:
    """A key that is equal for runs that are tested with the same clips."""
    common = sorted({*OF_STORE, "fold_scheme", "fold", "classes"} - {"data_root"})
    return record.fingerprint, *(record.parameters[name] for name in common)


def names_of(folders: list[Path]) -> list[str]:
    """A name for each run folder, without the fold and seed that all share; whole paths where names would be equal."""
    has_one_split = len({folder.name for folder in folders}) == 1
    names = [folder.parent.name if has_one_split else f"{folder.parent.name}/{folder.name}" for folder in folders]
    return names if len({*names}) == len(names) else [*map(str, folders)]
