"""Opens a trained run: its parameters, network, store and clips."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbook import ROOT, InputError
from workbook.run.names import OF_STORE, run_name
from workbook.run.parameters import NAMES, Parameters
from workbook.run.records import (
    MAY_CHANGE,
    ONLY_TRAIN,
    Run,
    difference,
    epochs_done,
    network_settings,
    parameters_of,
    read_record,
)
from workbook.run.tracker import copy_in

if TYPE_CHECKING:
    from torch import nn

    from workbook.data.store import Store
    from workbook.explore.probe import Subject
    from workbook.task import Task
    from workbook.train.batches import Clips


NAMED = [name for name in NAMES if name != "run"]  # the parameters of train.ipynb
RENAMED = {  # names of weights in earlier versions -> today's
    "video.front.": "frame_network.",
    "fusion.exchange.project_audio.": "audio.project.",
    "fusion.exchange.project_video.": "video.project.",
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Trained(Run):
    """A trained run with its network and data; see `Run` for its folder, record, figures and stages."""

    parameters: Parameters
    network: "nn.Module"  # in eval mode, on the device of the parameters
    store: "Store"
    train: "Clips"  # the three splits of its fold
    validation: "Clips"
    test: "Clips"

    @property
    def task(self) -> "Task":
        """The task that the network was trained for."""
        return self.test.task


def open_trained(folder: str | Path, device: str = "auto") -> Trained:
    """The trained run in a folder; a relative path starts at the workbook.

    device : auto | cpu | cuda
    Raises InputError where there is none, and where its data are missing or have changed.
    """
    return open_run(Parameters(run=str(folder), device=device))


def open_run(config: Parameters) -> Trained:
    """The trained run of these parameters.

    Raises InputError where it is not fully trained, with the command that trains it, or was trained on other data.
    """
    record = check_trained(config)
    store = store_of(config)
    check_trained(config, store.fingerprint)
    return Trained(
        folder=config.folder,
        record=record,
        resumed=True,
        copy=copy_in(config.tracker, config.folder),
        parameters=config,
        network=load_run(config.folder).to(config.device),
        store=store,
        **clips_of(config, store),
    )


def store_of(config: Parameters) -> "Store":
    """The store of a run; a missing one is made if possible."""
    from workbook.data.datasets import DATASETS, ensure_store, store_path

    if not store_path(config.dataset, config.data_root, **config.of_store).exists():
        DATASETS[config.dataset].check_root(config.data_root)
    return ensure_store(config.dataset, config.data_root, **config.of_store)


def clips_of(config: Parameters, store: "Store") -> dict[str, "Clips"]:
    """The clips of the three splits of a run's fold: {"train", "validation", "test"}."""
    from avlib.fusion import FUSIONS
    from workbook.train.batches import splits

    modalities = FUSIONS[config.fusion].modalities
    return splits(store, config.fold, config.classes, modalities, config.device, fold_scheme=config.fold_scheme)


def build_network(config: Parameters, store: "Store") -> "nn.Module":
    """The network of a run, in the sizes of its data, with fresh weights."""
    from avlib.model import build_model

    return build_model(**network_settings(config, store))


def load_run(folder: str | Path) -> "nn.Module":
    """The trained model of a run folder, in eval mode on the CPU; a relative path starts at the workbook.

    Raises InputError where the folder is missing or holds no trained run.
    """
    from safetensors.torch import load_file

    from avlib.model import build_model

    folder = ROOT / Path(folder).expanduser()
    record = read_record(folder)
    if not record or not (folder / "model.safetensors").exists():
        raise InputError(f"{folder} is no trained run: run.json and model.safetensors are written there by training")
    net = build_model(**record["network"])
    try:
        weights = load_file(folder / "model.safetensors")
        net.load_state_dict({_todays_name(name): weight for name, weight in weights.items()})
    except Exception as error:  # of many kinds: a damaged file, or weights of another network
        told = f"{folder / 'model.safetensors'} does not hold the model of run.json ({str(error).splitlines()[0]})"
        raise InputError(f"{told}: train it anew, or open it with the version of avlib that trained it") from None
    return net.eval()


def subjects(run: Trained) -> "dict[str, Callable[[], Subject]]":
    """The trained runs beside this one that read the same clips of the same fold; its own first.

    By name, which leaves out what all of them share. Each is opened when it is called, without its data.
    """
    from workbook.explore.probe import Subject

    def opened(folder: Path, dropout: str, net: "nn.Module | None" = None) -> Subject:
        import pandas as pd

        from workbook.evaluate.conditions import paper_conditions

        net, table = net or load_run(folder).to(run.parameters.device), folder / "predictions.parquet"
        return Subject(net, pd.read_parquet(table) if table.exists() else None, paper_conditions(dropout)[:3])

    own, found = run.folder, {run.folder: partial(opened, run.folder, run.parameters.dropout, run.network)}
    same = (*OF_STORE, "fold_scheme", "fold", "classes")
    wanted = run.parameters.model_dump(mode="json", include=set(same) - {"data_root"})
    for path in sorted(run.folder.parents[1].glob("*/*/run.json")):
        with suppress(InputError):  # somebody else's record, or one of another version
            folder, record = path.parent, read_record(path.parent)
            values = parameters_of(record) if record and (folder / "model.safetensors").exists() else {}
            fits = values and {name: values.get(name) for name in wanted} == wanted
            if fits and record.get("fingerprint") == run.record.get("fingerprint") and folder not in found:
                found[folder] = partial(opened, folder, values["dropout"])
    alike = all(folder.name == own.name for folder in found)
    return {
        folder.parent.name if alike else f"{folder.parent.name}/{folder.name}": one for folder, one in found.items()
    }


def _todays_name(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def check_trained(config: Parameters, fingerprint: str | None = None) -> dict:
    """The record of a run that is fully trained on this input; otherwise InputError says what to do.

    fingerprint : of the data for the network; None = do not check
    """
    folder = config.folder
    record = read_record(folder)
    if record is None or not (folder / "model.safetensors").exists():
        raise InputError(
            f"{folder} holds no trained model; {_similar(config)}train it first: {config.command('train', NAMED)}"
        )
    differs = difference(record, config, fingerprint, but=MAY_CHANGE + ONLY_TRAIN)
    if differs:
        raise InputError(f"{folder} was trained with {differs}: give what it was trained with, or train anew")
    wanted, done = record["parameters"]["epochs"], epochs_done(folder)
    if done < wanted:  # the weights exist from the first epoch on
        own = config.model_copy(update={name: parameters_of(record)[name] for name in ONLY_TRAIN})
        raise InputError(
            f"{folder} was trained for {done} of {wanted} epochs; go on with {own.command('train', NAMED)}"
        )
    return record


def _similar(config: Parameters) -> str:
    """The middle of a sentence with a run that was trained in another way; "" where there is none."""
    for folder in sorted(run_name(config.model_dump()).siblings(config.outputs_root)):
        with suppress(InputError):  # somebody else's record
            record = read_record(folder) if (folder / "model.safetensors").exists() else None
            if record and not difference(record, config, None, but=MAY_CHANGE + ONLY_TRAIN):
                return f"give run = '{folder}' if you mean that one, or "
    return ""
