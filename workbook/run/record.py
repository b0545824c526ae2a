"""The files of a run that others read: run.json, metrics.json and predictions.parquet, each through one check."""

import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pandas as pd
import torch
from annotated_types import BaseMetadata
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, with_config
from typing_extensions import TypedDict

from workbook import ROOT, InputError
from workbook.files import write_json
from workbook.run.claim import is_claimed
from workbook.run.parameters import CHOICES, DEFAULTS, FIELDS, not_a_choice
from workbook.text import one_line

LOG = "run.log"  # what `avlib run` and the notebooks print
LIBRARIES = ("avlib", "torch", "torchvision", "timm", "numpy", "pandas", "librosa", "av")
LIBRARIES += ("facenet-pytorch", "papermill")
STRICT = {"strict": True, "allow_inf_nan": False}

Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=0, le=2**20)]
Seconds = dict[str, Annotated[float, Field(ge=0, le=1e9)]]


def _check_choices(values: dict[str, Any]) -> dict[str, Any]:
    """Refuses choices that this installation lacks, but for fusions: a notebook may have defined one."""
    for name in CHOICES.keys() - {"fusion"}:
        if values[name] not in tuple(CHOICES[name]):
            raise ValueError(f"{name} {not_a_choice(values[name], CHOICES[name])}")
    return values


def _kind(name: str) -> type:
    """The type of a parameter in a record, with its limits."""
    kind = Count if type(DEFAULTS[name]) is int else type(DEFAULTS[name])
    return Annotated[kind, Field(), *(rule for rule in FIELDS[name].metadata if isinstance(rule, BaseMetadata))]


_KINDS = {name: _kind(name) for name in DEFAULTS}
_Parameters = with_config(ConfigDict(**STRICT, extra="forbid"))(TypedDict("_Parameters", _KINDS))


class Commit(TypedDict):
    """The commit of the workbook."""

    commit: str
    dirty: bool  # its code had changes


class Saved(BaseModel):
    """A JSON file in a folder, which is checked when it is read."""

    model_config = ConfigDict(**STRICT)

    FILE: ClassVar[str]
    REPAIR: ClassVar[str]  # what to do about a damaged file, the end of a sentence

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The content of the file; None where there is none. Raises InputError where it is damaged."""
        path = folder / cls.FILE
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            reason = f"{place}: {message}" if place else message
            raise InputError(f"{path} is damaged ({reason}): {cls.REPAIR}") from None

    def write(self, folder: Path) -> None:
        """Writes the file."""
        write_json(folder / self.FILE, self.model_dump(mode="json"))


class Made(Saved):
    """What was made, and where its numbers come from; see `provenance`."""

    versions: dict[str, str | None] = {}
    git: Commit | None = None
    device: str | None = None


class Origin(BaseModel):
    """Where an imported network comes from, and what its file does not tell."""

    file: str  # its name
    sha256: str
    assumed: list[str]  # parameters that a test needs: it takes the values of the record
    unknown: list[str]  # parameters of the training: the values of the record are those of no training


class Record(Made):
    """The content of run.json. Times are UTC, in ISO 8601."""

    FILE = "run.json"
    REPAIR = "move it away or give another outputs_root"

    parameters: Annotated[_Parameters, AfterValidator(_check_choices)]
    network: dict[str, bool | Size | str]  # arguments of `build_model`
    labels: Annotated[list[str], Field(min_length=1)]
    fingerprint: str  # of the data; "" = of an imported network that nobody has tested yet
    imported: Origin | None = None
    material: tuple[Count, Count, Count] | None = None  # of training: clips, people, clips with both
    starts_from_sha256: str | None = None  # of the file of weights that training starts from
    started: str
    ended: str | None = None
    trained: str | None = None  # when training was complete, or when the network was imported
    sweep: tuple[str, Count] | None = None  # the start of the sweep that has trained it, and its place in the grid
    state: Literal["running", "done", "failed"] = "running"
    stage: str = "train"
    error: str | None = None
    seconds: Seconds = {}  # by stage
    notebooks: Seconds = {}  # by notebook that `avlib run` has executed

    @property
    def unknown(self) -> dict[str, str | None]:
        """What a table shows in place of the parameters that nobody knows: unknown for a text, else nothing."""
        names = self.imported.unknown if self.imported else ()
        return {name: "unknown" if isinstance(self.parameters[name], str) else None for name in names}

    def describe_origin(self) -> str:
        """What the file of an imported network does not tell, in sentences; "" of any other."""
        if not self.imported:
            return ""
        assumed = ", ".join(f"{name} {self.parameters[name]}" for name in self.imported.assumed)
        parts = {"Assumed": assumed, "Unknown": ", ".join(["what it has learnt from", *self.imported.unknown])}
        return " ".join(f"{word}: {names}." for word, names in parts.items() if names)

    def describe_state(self, folder: Path) -> str:
        """done, running, interrupted, or failed with the reason; folder : of the run"""
        if self.state == "running":
            return "running" if is_claimed(folder) else "interrupted"
        return f"failed: {self.error}" if self.state == "failed" else self.state


class Metrics(Saved):
    """The content of metrics.json: metrics by name, of each condition and of M, the mean over AV, A and V."""

    model_config = ConfigDict(allow_inf_nan=True)

    FILE = "metrics.json"
    REPAIR = "evaluate the run again"

    conditions: dict[str, dict[str, float | None]]
    M: dict[str, float | None]


read_record = Record.read


def read_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """The metrics of a run by condition (M, too) and name; {} before evaluation. InputError where they are damaged."""
    metrics = Metrics.read(folder)
    scores = metrics.conditions | {"M": metrics.M} if metrics else {}
    return {name: {key: value for key, value in row.items() if value is not None} for name, row in scores.items()}


def read_predictions(folder: Path) -> pd.DataFrame:
    """The predictions of a run. Raises InputError where they are missing or damaged."""
    path = folder / "predictions.parquet"
    with suppress(OSError, ValueError):
        table = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
        if {"clip", "actor", "fold", "condition", "label"} <= {*table}:
            return table
    raise InputError(f"{path} is missing or damaged: evaluate.ipynb makes it")


def epochs_done(folder: Path) -> int:
    """The number of epochs in history.csv."""
    path = folder / "history.csv"
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.is_file() else 0


def run_folders(outputs_root: Path) -> Sequence[Path]:
    """The folders of all runs below `outputs_root` that have a record, sorted."""
    return sorted(path.parent for path in outputs_root.glob("*/*/*fold*-seed*/run.json"))


def note(folder: Path, **changes: Any) -> None:
    """Writes these entries into the record of a run; nothing happens where there is none."""
    if record := read_record(folder):
        record.model_copy(update=changes).write(folder)


def now(precision: str = "seconds") -> str:
    """This moment, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec=precision)


def as_sentence(error: Exception) -> str:
    """An error in one line; its kind is named where its text is not a sentence of ours."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return kind + one_line(error)


def provenance(device: str) -> dict[str, Any]:
    """The entries of a record that say where its numbers come from: versions, commit, device.

    The device is the name of the GPU, or of the processor with the number of threads that torch uses.
    """
    processor = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if device == "cuda" else processor
    return {"versions": versions(), "git": git_commit(), "device": name}


def versions() -> dict[str, str | None]:
    """The versions of Python and of libraries; None for one that is not installed."""
    numbers: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = None
    return numbers


def git_commit() -> dict[str, Any] | None:
    """The commit of the workbook, and whether its code, notebooks aside, has changes; None outside a git checkout."""
    if not (ROOT / ".git").exists():  # git would also find a checkout around the workbook
        return None
    commands = ["rev-parse", "HEAD"], ["diff", "--name-only", "HEAD", "--", ".", ":!*.ipynb"]
    try:
        git = {"text": True, "stderr": subprocess.DEVNULL}
        commit, changes = (subprocess.check_output(["git", "-C", ROOT, *command], **git) for command in commands)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "dirty": bool(changes)}
