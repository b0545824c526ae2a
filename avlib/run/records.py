"""The run folder: what a run was made with, what it left behind, and how a model comes back out of it."""

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from avlib import ROOT, InputError
from avlib.batches import task_and_labels
from avlib.files import atomic_write
from avlib.run.params import DATASETS

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from avlib.data.store import Store
    from avlib.run.params import Parameters

# What starting over removes; executed notebooks are overwritten when they run again.
ARTEFACTS = (
    "run.json",  # first: what is left without it is cleared by the next run
    "history.csv",
    "model.safetensors",
    "checkpoint.pt",
    "predictions.parquet",
    "metrics.json",
    "figures",
)
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pandas", "librosa", "av", "facenet-pytorch", "papermill")
RESULTS = ("predictions.parquet", "metrics.json", "figures")  # of the artefacts, those made after training
MAY_CHANGE = ("device", "resume", "outputs_root", "data_root")  # parameters that a run may change and still go on
ONLY_TRAIN = ("epochs", "batch_size", "learning_rate", "pretrained")  # which a trained model no longer asks for


def write_json(path: Path, data: Any) -> None:
    """Writes `data` as indented JSON, whole or not at all."""
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a table without its index, whole or not at all, as the suffix says: .parquet or .csv."""
    path = Path(path)
    assert path.suffix in (".parquet", ".csv"), f"a table ends in .parquet or .csv, not {path.suffix!r}"
    write = frame.to_parquet if path.suffix == ".parquet" else frame.to_csv
    with atomic_write(path) as temporary:
        write(temporary, index=False)


def run_folder(config: "Parameters") -> Path:
    """Where a run is kept: `<outputs_root>/<dataset>/<fusion><heads>-<dropout>/fold<k>-seed<s>`.

    A dense head adds `-dense` to the system's name, as in `ia1-dense-softhard`; so do audio features and a vision
    network other than the paper's, and one that is not trained adds `-frozen`. The last part begins with the fold
    scheme where it is not the dataset's usual one, as in `loso-fold<k>-seed<s>`.
    """
    parts = [f"{config.fusion}{config.heads}", *(["dense"] if config.dense_head else [])]
    if config.audio_features != "mfcc":
        parts.append(config.audio_features)
    if config.vision != "efficientface":
        parts.append(config.vision.removeprefix("timm:").replace("/", "_"))
    if not config.train_vision:
        parts.append("frozen")
    usual = config.fold_scheme == DATASETS[config.dataset]["fold_scheme"]
    scheme = "" if usual else f"{config.fold_scheme}-"
    system = "-".join([*parts, config.dropout])
    return config.outputs_root / config.dataset / system / f"{scheme}fold{config.fold}-seed{config.seed}"


def network_settings(config: "Parameters", store: "Store") -> dict[str, Any]:
    """What `build_model` is given for a run: the system that the parameters ask for, in the sizes of the data."""
    frames = store.video.ndim == 5
    task, _ = task_and_labels(store, config.classes)
    return {
        "fusion": config.fusion,
        "heads": config.heads,
        "classes": task.outputs,
        "image_size": store.video.shape[2] if frames else 0,
        "dense_head": config.dense_head,
        "vision": config.vision,
        "audio_channels": store.audio.shape[1],
        "video_channels": 0 if frames else store.video.shape[2],
    }


@dataclass(frozen=True)
class Run:
    """One run folder and its record, the content of `run.json`."""

    folder: Path
    record: dict[str, Any] = field(repr=False)
    resumed: bool = False  # True = the folder held this run already

    def figure(self, name: str) -> Path:
        """The path of a figure of this run, in a folder that exists."""
        path = self.folder / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds that the block takes to those of `stage` in run.json, also when it is interrupted."""
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self.record["seconds"]
            seconds[stage] = round(seconds.get(stage, 0) + time.monotonic() - start, 1)
            write_json(self.folder / "run.json", self.record)


def start_run(config: "Parameters", store: "Store") -> Run:
    """The run that these parameters and this data belong to, begun or continued.

    Writes run.json. With `resume` a folder that holds the same run is continued, for more epochs where they are asked
    for; otherwise what the folder holds is removed first. Raises InputError where the folder holds another run.
    """
    folder = run_folder(config)
    check_same_run(config, store.fingerprint)
    old = read_record(folder) if config.resume else None
    record = _new_record(config, store)
    if old is None:
        _clear(folder, ARTEFACTS)  # without a record, a checkpoint belongs to nobody
    else:
        record |= {"started": old["started"], "seconds": old["seconds"]}
        if config.epochs > old["parameters"]["epochs"]:
            _clear(folder, RESULTS)  # of fewer epochs
    write_json(folder / "run.json", record)
    return Run(folder, record, resumed=old is not None)


def check_same_run(config: "Parameters", fingerprint: str | None = None) -> None:
    """Nothing, where training may go on or begin in the run folder; InputError with the first difference otherwise.

    fingerprint : of the data; None leaves the data out of the comparison
    """
    old = read_record(run_folder(config)) if config.resume else None
    difference = old and _difference(old, config, fingerprint, but=MAY_CHANGE)
    if difference:
        raise InputError(
            f"{run_folder(config)} holds a run with {difference}: "
            "give another outputs_root to keep it, or resume=false to start over"
        )


def open_run(config: "Parameters", fingerprint: str | None = None) -> Run:
    """The trained run of these parameters, to evaluate or to look into.

    fingerprint : of the data that the model shall see; None leaves it unchecked
    Raises InputError with the command that trains it where its training has not begun or not ended, and where it was
    trained on another input.
    """
    folder = run_folder(config)
    record = read_record(folder)
    if record is None or not (folder / "model.safetensors").exists():
        raise InputError(f"{folder} holds no trained model; train it first: {_train_command(config)}")
    difference = _difference(record, config, fingerprint, but=MAY_CHANGE + ONLY_TRAIN)
    if difference:
        raise InputError(f"{folder} was trained with {difference}: give what it was trained with, or train anew")
    wanted, done = record["parameters"]["epochs"], _epochs_done(folder)
    if done < wanted:  # the weights are there from the first epoch on
        trained = config.model_copy(update={name: _was(record, name, config) for name in ONLY_TRAIN})
        raise InputError(f"{folder} was trained for {done} of {wanted} epochs; go on with {_train_command(trained)}")
    return Run(folder, record, resumed=True)


def _epochs_done(folder: Path) -> int:
    """How many epochs history.csv has a row of."""
    path = folder / "history.csv"
    return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.exists() else 0


def _train_command(config: "Parameters") -> str:
    """The command that trains this very run, naming what is not a default."""
    given = " ".join(f"-p {name} {quote(value)}" for name, value, origin in config.rows() if origin == "given")
    return f"papermill notebooks/train.ipynb outputs/train.ipynb {given}".rstrip()


def load_run(path: str | Path) -> "nn.Module":
    """The trained model of a run folder, in eval mode on the CPU; a relative path starts at the workbook.

    Raises InputError where the folder is missing or holds no trained run.
    """
    from safetensors.torch import load_file

    from avlib import build_model

    folder = ROOT / Path(path).expanduser()
    record = read_record(folder)
    if not record or not (folder / "model.safetensors").exists():
        raise InputError(f"{folder} is no trained run: run.json and model.safetensors are written there by training")
    net = build_model(**record["network"])
    try:
        net.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # safetensors' and torch's own kinds: a damaged file, or weights of another network
        raise InputError(f"{folder / 'model.safetensors'} does not hold the model of run.json: {error}") from None
    return net.eval()


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a folder, None where there is none; InputError where it is not one of ours."""
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["parameters"], record["network"], record["seconds"], record["started"], record["fingerprint"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not the record of a run: move it away or give another outputs_root") from None
    return record


def _difference(old: dict[str, Any], config: "Parameters", fingerprint: str | None, but: tuple[str, ...]) -> str:
    """What first sets an old run apart from a new one, as `fold 0, not 1`; "" where nothing does.

    but : names that may differ. More epochs than before are no difference: a run is continued with them.
    """
    for name, value in config.model_dump(mode="json", exclude=set(but)).items():
        was = _was(old, name, config)
        longer = name == "epochs" and isinstance(was, int) and value > was
        if value != was and not longer:
            return f"{name} {was}, not {value}"
    if fingerprint not in (None, old["fingerprint"]):
        return f"other data (fingerprint {old['fingerprint']}, not {fingerprint})"
    return ""


def _was(old: dict[str, Any], name: str, config: "Parameters") -> Any:
    """The value of a parameter in an old run; its default where the run is older than the parameter."""
    usual = DATASETS[config.dataset].get(name, type(config).model_fields[name].default)
    return old["parameters"].get(name, usual)


def _new_record(config: "Parameters", store: "Store") -> dict[str, Any]:
    """What run.json says of a run that starts now."""
    return {
        "parameters": config.model_dump(mode="json"),
        "network": network_settings(config, store),
        "labels": list(task_and_labels(store, config.classes)[0].names),
        "versions": _versions(),
        "git": git_commit(),
        "fingerprint": store.fingerprint,
        "device": _device_name(config.device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {},
    }


def _versions() -> dict[str, str | None]:
    """The versions of Python and of the libraries that numbers depend on; None for one that is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("avlib", *LIBRARIES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def git_commit() -> dict[str, Any] | None:
    """The commit of the workbook and whether a tracked file differs from it; None where it is no git checkout."""
    if not (ROOT / ".git").exists():  # git alone would answer for a checkout that the workbook lies in
        return None
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        changes = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _device_name(device: str) -> str:
    """The name of the GPU, or of the processor with the number of threads that torch uses."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _clear(folder: Path, names: tuple[str, ...]) -> None:
    """Removes artefacts of a run, in the order of their names."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
