"""How long a run will take, and how much room, from runs like it that are recorded already."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from workbook import InputError
from workbook.files import as_bytes, free_bytes
from workbook.run.parameters import Parameters
from workbook.run.records import epochs_done, parameters_of, read_record, run_folders, run_state
from workbook.sweep.notebooks import notebooks_left

WORK = ("dataset", "image_size", "frames", "vision", "train_vision")  # parameters that decide most of the time
LIKE = (  # from nearest to farthest: the parameters that two runs have in common
    (*WORK, "fusion", "heads", "dense_head", "dropout", "batch_size", "fold_scheme", "device"),
    (*WORK, "fusion", "dropout", "device"),
    (*WORK, "dropout"),
    WORK,
    ("dataset",),
)
SAMPLE = 5  # runs whose folders are measured


class Known(NamedTuple):
    """A recorded run."""

    folder: Path
    epoch: float  # seconds
    rest: float  # seconds that do not grow with the epochs


class Estimates:
    """Estimates for planned runs from the recorded runs below some folders."""

    def __init__(self, roots: Iterable[Path]):
        self.known: dict[tuple, list[Known]] = defaultdict(list)  # by what the runs have in common, as in LIKE
        self.medians: dict[tuple, tuple[float, float]] = {}  # seconds of an epoch and of all else, where asked for
        self.rooms: dict[tuple, int] = {}  # bytes, where asked for
        for folder in (folder for root in roots for folder in run_folders(root)):
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Adds a recorded run, if `avlib run` has executed all of it."""
        with suppress(InputError, OSError):
            record = read_record(folder)
            if record and "evaluate" in record.get("notebooks", ()) and record["seconds"].get("train"):
                parameters, training = parameters_of(record), record["seconds"]["train"]
                rest = sum(record["notebooks"].values()) - training
                for key in _keys(parameters):
                    self.known[key].append(Known(folder, training / parameters["epochs"], rest))
                self.medians.clear()
                self.rooms.clear()

    def seconds(self, config: Parameters) -> float | None:
        """The seconds that a run still takes; None where no run of its dataset is recorded."""
        key = self._nearest(config)
        if not key:
            return None
        if key not in self.medians:
            like = self.known[key]
            self.medians[key] = median(run.epoch for run in like), median(run.rest for run in like)
        epoch, rest = self.medians[key]
        return max(0, config.epochs - epochs_done(config.folder)) * epoch + max(0, rest)

    def room(self, config: Parameters) -> int | None:
        """The bytes that a run's folder will take; None where no run of its dataset is recorded."""
        key = self._nearest(config)
        if key and key not in self.rooms:
            self.rooms[key] = int(median(_size(run.folder) for run in self.known[key][-SAMPLE:]))
        return self.rooms.get(key)

    def _nearest(self, config: Parameters) -> tuple | None:
        """What a planned run has in common with the recorded runs that are most like it."""
        return next((key for key in _keys(config.model_dump(mode="json")) if key in self.known), None)


def _keys(parameters: dict[str, Any]) -> list[tuple]:
    """The values of a run for each entry of LIKE."""
    return [(names, *(str(parameters[name]) for name in names)) for names in LIKE]


def listing(runs: list[dict[str, Any]], jobs: int) -> str:
    """A line per planned run with its state and about how long it takes; the last line has the sums.

    runs : the parameters of each, from `workbook.sweep.grid.plan`
    """
    configs = [Parameters(**values) for values in runs]
    estimates, lines, ahead = Estimates({config.outputs_root for config in configs}), [], []
    for config in configs:
        left = notebooks_left(config)
        guess = estimates.seconds(config) if left else None
        lines.append(f"{config.folder}: {_state(config.folder, left)}" + (f", about {as_time(guess)}" if guess else ""))
        ahead += [(guess, estimates.room(config))] if left else []
    said = f"{len(configs)} runs, {len(ahead)} of them to be done"
    if not ahead:
        return "\n".join([*lines, said])
    if any(guess is None for guess, _ in ahead):
        return "\n".join([*lines, f"{said}; how long they take is known once a run of their dataset is done"])
    time, room = sum(guess for guess, _ in ahead) / jobs, sum(room for _, room in ahead)
    there = f"{as_bytes(room)} of the {as_bytes(free_bytes(configs[0].outputs_root))} that are free"
    return "\n".join([*lines, f"{said}: about {as_time(time)} with --jobs {jobs}, and {there}"])


def _state(folder: Path, left: list[str]) -> str:
    """The state of a planned run: complete, new, running, interrupted, partly done, or failed with the reason."""
    if not left:
        return "complete"
    state = "new" if read_record(folder) is None else run_state(folder)
    return f"{' and '.join(left)} to be done" if state == "done" else state


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def as_time(seconds: float) -> str:
    """A time to be read, such as `41 s`, `14 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
