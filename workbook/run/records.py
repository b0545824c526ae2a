"""The run folder: the record of a run (`run.json`), its state and its files."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from workbook import InputError
from workbook.files import atomic_write, checksum, write_json
from workbook.run.claim import claim, is_claimed, refuse_claimed
from workbook.run.names import run_name
from workbook.run.parameters import usual_values
from workbook.run.provenance import device_name, git_commit, versions
from workbook.run.tracker import MlflowCopy, copy_in

if TYPE_CHECKING:
    import pandas as pd

    from workbook.data.store import Store
    from workbook.run.parameters import Parameters

TRAINING = ("checkpoint.pt", "model.safetensors", "history.csv")  # files that training goes on from
RESULTS = (
    *("predictions.parquet", "metrics.json", "faithfulness.parquet", "faithfulness.json"),
    *("studies", "protocol", "protocol.csv", "figures"),
)
ARTEFACTS = ("run.json", *TRAINING, *RESULTS)  # what starting over removes, first the record: without it the next run
# removes the rest. Executed notebooks are overwritten when they run again.
LOG = "run.log"  # what `avlib run` and the notebooks said
MAY_CHANGE = (
    "device",
    "resume",
    "tracker",
    "outputs_root",
    "data_root",
    "run",
)  # parameters that may change within a run
ONLY_TRAIN = ("epochs", "batch_size", "learning_rate", "pretrained", "frame_epochs")  # that only training reads

log = logging.getLogger(__name__)


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a table without its index, completely or not at all, as .parquet or .csv by the suffix."""
    path = Path(path)
    assert path.suffix in (".parquet", ".csv"), f"a table ends in .parquet or .csv, not {path.suffix!r}"
    write = frame.to_parquet if path.suffix == ".parquet" else frame.to_csv
    with atomic_write(path) as temporary:
        write(temporary, index=False)


def network_settings(config: "Parameters", store: "Store") -> dict[str, Any]:
    """The arguments of `build_model` for a run: its system, in the sizes of the data."""
    from workbook.train.batches import task_and_labels

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
    copy: MlflowCopy | None = field(default=None, repr=False, compare=False)  # in a tracker

    def figure(self, name: str) -> Path:
        """The path of a figure of this run; makes its folder."""
        path = self.folder / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A block of work on this run: claims the folder, and writes state and seconds to run.json.

        name : train | evaluate | attention | faithfulness | studies | protocol
        The state is running, then done, or failed with the reason. If the block is interrupted, it stays running.
        Raises InputError where another process works on the run.
        """
        with claim(self.folder), self._noted(name):
            yield

    @contextmanager
    def _noted(self, stage: str) -> Iterator[None]:
        """Writes state and times of a block to run.json."""
        start, seconds = monotonic(), self.record["seconds"]
        self._write(state="running", stage=stage, ended=None, error=None)
        self.track()
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.record.update(state="failed", error=kind + " ".join(str(error).split()), ended=now())
            raise
        else:
            self.record.update(state="done", ended=now())
        finally:
            seconds[stage] = round(seconds.get(stage, 0) + monotonic() - start, 1)
            self._write()
            self.track()

    def track(self) -> None:
        """Brings the copy of the run in a tracker up to date, where it has one; see `workbook.run.tracker`."""
        if self.copy:
            self.copy.update(self.record)

    def _write(self, **changes: Any) -> None:
        self.record.update(changes)
        write_json(self.folder / "run.json", self.record)


@contextmanager
def start_run(config: "Parameters", store: "Store") -> Iterator[Run]:
    """A block in which this process trains the run of these parameters, as in `Run.stage`.

    If `resume` is true and the folder holds the same run, training continues it. A new run continues the same run with
    fewer epochs, if there is one. Otherwise the folder is cleared first.
    Raises InputError where the folder holds another run or is in use, and where training is interrupted.
    """
    with interruptible(config.folder, config.epochs), claim(config.folder):
        run = _prepared(config, store)
        with run._noted("train"):
            yield run


@contextmanager
def interruptible(folder: Path, epochs: int) -> Iterator[None]:
    """A block that trains; InputError says how far it came where it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise InputError(f"stopped after epoch {epochs_done(folder)} of {epochs}: run it again to go on") from None


def _prepared(config: "Parameters", store: "Store") -> Run:
    """The run, with its folder prepared for training. The folder must be claimed."""
    folder = config.folder
    compare_folder(config, store.fingerprint)
    old = read_record(folder) if config.resume else None
    record = _new_record(config, store)
    if old and epochs_done(folder) and not (folder / "model.safetensors").exists():
        log.info("%s holds a checkpoint without model.safetensors: training starts over", folder)
        old = None
    new = config.resume and not (folder / "run.json").exists()
    earlier = _earlier_run(config, store.fingerprint) if new else None
    if old is None:
        _clear(folder, ARTEFACTS)  # without a record, nobody knows whose checkpoint it is
    if earlier:
        log.info("training continues after the %d epochs of %s", epochs_done(earlier), earlier)
        _copy_training(earlier, folder)
        old = read_record(earlier)
        record["seconds"] = {"train": old["seconds"].get("train", 0)}
    elif old:
        record |= {"started": old["started"], "seconds": old["seconds"]}
        if config.epochs > old["parameters"]["epochs"]:
            _clear(folder, RESULTS)  # those of fewer epochs
    return Run(folder, record, resumed=old is not None, copy=copy_in(config.tracker, folder))


def check_same_run(config: "Parameters", fingerprint: str | None = None) -> str:
    """One sentence on the run folder before training: a new run, or how far its training is.

    fingerprint : of the data; None = do not compare the data
    Raises InputError where the folder holds another run, with the first difference, or is in use, with the process.
    """
    refuse_claimed(config.folder)
    return compare_folder(config, fingerprint)


def compare_folder(config: "Parameters", fingerprint: str | None = None) -> str:
    """As `check_same_run`, even if the folder is in use."""
    folder = config.folder
    old = read_record(folder) if config.resume else None
    if old is None:
        return f"a new run: {folder}"
    differs = difference(old, config, fingerprint, but=MAY_CHANGE)
    if differs:
        raise InputError(
            f"{folder} holds a run with {differs}: "
            "give another outputs_root to keep it, or set resume = False to start over"
        )
    done = epochs_done(folder)
    if done >= config.epochs:
        return f"already trained {done} of {config.epochs} epochs; resume = False trains it again"
    return f"trained {done} of {config.epochs} epochs so far; training goes on from there"


def run_state(folder: Path) -> str:
    """The state of a run: done, running, interrupted, or failed with the reason; InputError where there is no run."""
    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder} is no run: run.json is missing")
    return state_of(record, folder)


def state_of(record: dict[str, Any], folder: Path) -> str:
    """The state of the run in `folder` with this record."""
    if "state" not in record:  # an older record
        return "done" if epochs_done(folder) >= record["parameters"]["epochs"] else "interrupted"
    if record["state"] == "running":
        return "running" if is_claimed(folder) else "interrupted"
    return f"failed: {record['error']}" if record["state"] == "failed" else record["state"]


def _earlier_run(config: "Parameters", fingerprint: str) -> Path | None:
    """The folder of the same run under another name, with most epochs; None where there is none.

    Its name differs because it has fewer epochs, its data were elsewhere, or it is from an earlier version.
    """
    found = []
    for folder in run_name(config.model_dump()).siblings(config.outputs_root):
        with suppress(InputError):  # somebody else's record
            record = read_record(folder)
            whole = record is not None and all((folder / file).exists() for file in TRAINING)
            if whole and not difference(record, config, fingerprint, but=MAY_CHANGE):
                found.append(folder)
    return max(found, key=epochs_done, default=None)


def _copy_training(source: Path, folder: Path) -> None:
    """Copies the files that training goes on from. The checkpoint appears last: without it the others are ignored."""
    with atomic_write(folder / "checkpoint.pt") as checkpoint:
        shutil.copyfile(source / "checkpoint.pt", checkpoint)  # read first: the weights may be newer, not older
        for name in ("model.safetensors", "history.csv"):
            with atomic_write(folder / name) as copy:
                shutil.copyfile(source / name, copy)


def epochs_done(folder: Path) -> int:
    """The number of epochs in history.csv."""
    path = folder / "history.csv"
    return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.exists() else 0


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a folder, None where there is none; InputError where run.json is something else."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["parameters"], record["network"], record["seconds"], record["started"], record["fingerprint"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not the record of a run: move it away or give another outputs_root") from None
    return record


def run_folders(outputs_root: Path) -> list[Path]:
    """The folders of all runs below `outputs_root` that have a record, sorted."""
    return sorted(path.parent for path in outputs_root.glob("*/*/*fold*-seed*/run.json"))


def notebooks_done(folder: Path) -> dict[str, float]:
    """The notebooks that `avlib run` has executed to their end since training began, with the seconds of each."""
    return (read_record(folder) or {}).get("notebooks", {})


def note(folder: Path, **changes: Any) -> None:
    """Writes these entries into the record of a run; nothing happens where there is none."""
    record = read_record(folder)
    if record is not None:
        write_json(folder / "run.json", record | changes)


def difference(old: dict[str, Any], config: "Parameters", fingerprint: str | None, but: tuple[str, ...]) -> str:
    """The first difference between an old run and a new one, such as `fold 0, not 1`; "" where there is none.

    but : names that may differ. More epochs than before are no difference: they continue a run.
    """
    before = parameters_of(old)
    for name, value in config.model_dump(mode="json", exclude=set(but)).items():
        was = before[name]
        longer = name == "epochs" and isinstance(was, int) and value > was
        if value != was and not longer:
            return f"{name} {was}, not {value}"
    if fingerprint not in (None, old["fingerprint"]):
        return f"other data (fingerprint {old['fingerprint']}, not {fingerprint})"
    began, now = old.get("starts_from_sha256"), None if "pretrained" in but else _start_checksum(config)
    if None not in (began, now) and began != now:
        return f"another {config.starts_from} at its start (sha256 {began[:12]}…, not {now[:12]}…)"
    return ""


def _start_checksum(config: "Parameters") -> str | None:
    """The SHA-256 of the file that training starts from; None for fresh weights, and where it is not made yet."""
    path = config.starts_from
    return checksum(path) if path and path.exists() else None


def parameters_of(record: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a run; those that its record lacks have their defaults."""
    own = {name: value for name, value in record["parameters"].items() if value != ""}  # "" was fresh weights
    usual = usual_values(own.get("dataset", "toy"), own.get("fusion", "ia"))
    return {name: str(value) if isinstance(value, Path) else value for name, value in usual.items()} | own


def _new_record(config: "Parameters", store: "Store") -> dict[str, Any]:
    """The record of a run that starts now."""
    from workbook.train.batches import task_and_labels

    return {
        "parameters": config.model_dump(mode="json"),
        "network": network_settings(config, store),
        "labels": list(task_and_labels(store, config.classes)[0].names),
        "versions": versions(),
        "git": git_commit(),
        "fingerprint": store.fingerprint,
        "starts_from_sha256": _start_checksum(config),
        "device": device_name(config.device),
        "started": now(),
        "seconds": {},
    }


def now() -> str:
    """This moment, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _clear(folder: Path, names: tuple[str, ...]) -> None:
    """Removes artefacts of a run, in the order of their names."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
