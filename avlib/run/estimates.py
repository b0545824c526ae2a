"""How long a run will take, and how much room, from runs like it that are recorded already."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from avlib import InputError
from avlib.files import as_bytes, free_bytes
from avlib.run.notebooks import notebooks_left
from avlib.run.params import Parameters
from avlib.run.records import epochs_done, parameters_of, read_record, run_folders, run_state

WORK = ("dataset", "image_size", "frames", "vision", "train_vision")  # parameters that decide most of the time
LIKE = (  # from nearest to farthest: the parameters that two runs have in common
    (*WORK, "fusion", "heads", "dense_head", "dropout", "batch_size", "fold_scheme", "device"),
    (*WORK, "fusion", "dropout", "device"),
    (*WORK, "dropout"),
    WORK,
    ("dataset",),
)
SAMPLE = 5  # runs whose folders are measured


class Estimates:
    """Estimates for planned runs from the recorded runs below some folders."""

    def __init__(self, roots: Iterable[Path]):
        self.known: list[tuple[Path, dict[str, Any], dict[str, Any]]] = []  # folder, parameters, record
        for folder in (folder for root in roots for folder in run_folders(root)):
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Adds a recorded run, if `avlib run` has executed all of it."""
        with suppress(InputError, OSError):
            record = read_record(folder)
            if record and "evaluate" in record.get("notebooks", ()) and record["seconds"].get("train"):
                self.known.append((folder, parameters_of(record), record))

    def seconds(self, config: Parameters) -> float | None:
        """The seconds that a run still takes; None where no run of its dataset is recorded."""
        like = self._like(config)
        if not like:
            return None
        epoch = median(record["seconds"]["train"] / parameters["epochs"] for _, parameters, record in like)
        rest = median(sum(record["notebooks"].values()) - record["seconds"]["train"] for *_, record in like)
        return max(0, config.epochs - epochs_done(config.folder)) * epoch + max(0, rest)

    def room(self, config: Parameters) -> int | None:
        """The bytes that a run's folder will take; None where no run of its dataset is recorded."""
        like = self._like(config)[-SAMPLE:]
        return int(median(_size(folder) for folder, *_ in like)) if like else None

    def _like(self, config: Parameters) -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
        """The recorded runs that are most like a planned one."""
        for names in LIKE:
            wanted = config.model_dump(mode="json", include=set(names))
            found = [run for run in self.known if all(run[1][name] == value for name, value in wanted.items())]
            if found:
                return found
        return []


def listing(runs: list[dict[str, Any]], jobs: int) -> str:
    """A line per planned run with its state and about how long it takes; the last line has the sums.

    runs : the parameters of each, from `avlib.run.grid.plan`
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
