"""How long planned runs take, from recorded runs like them."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from workbook import InputError
from workbook.run.parameters import Parameters
from workbook.run.record import epochs_done, read_record, run_folders
from workbook.sweep.notebooks import notebooks_left

WORK = ("dataset", "image_size", "frames", "vision", "train_vision", "dropout")  # they decide most of the time
LIKE = (  # from nearest to farthest: the parameters that two runs have in common
    (*WORK, "fusion", "heads", "dense_head", "batch_size", "fold_scheme", "device"),
    WORK,
    ("dataset",),
)
SAMPLE = 20  # an estimate is the median of the last runs, this many


class Estimates:
    """Estimates for planned runs from the recorded runs below some folders."""

    def __init__(self, roots: Iterable[Path]):
        # the values of LIKE -> seconds of an epoch, and seconds that do not grow with the epochs
        self.times: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
        for folder in (folder for root in roots for folder in run_folders(root)):
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Adds a recorded run, if `avlib run` has executed all of it."""
        with suppress(InputError, OSError):
            record = read_record(folder)
            if record and "evaluate" in record.notebooks and record.seconds.get("train"):
                parameters, training = record.parameters, record.seconds["train"]
                rest = max(0, sum(record.notebooks.values()) - training)
                for key in _keys(parameters):
                    self.times[key].append((training / parameters["epochs"], rest))

    def seconds(self, config: Parameters) -> float | None:
        """The seconds that a run still takes; None where no run of its dataset is recorded."""
        key = next((key for key in _keys(config.model_dump(mode="json")) if key in self.times), None)
        if key is None:
            return None
        epoch, rest = (median(times) for times in zip(*self.times[key][-SAMPLE:], strict=True))
        return max(0, config.epochs - epochs_done(config.folder)) * epoch + rest


def _keys(parameters: dict[str, Any]) -> list[tuple]:
    """The values of a run for each entry of LIKE."""
    return [(names, *(str(parameters[name]) for name in names)) for names in LIKE]


def listing(runs: list[dict[str, Any]], jobs: int) -> str:
    """A line per planned run with its state and about how long it takes; the last line has the sums.

    runs : the parameters of each, from `workbook.sweep.grid.plan`
    """
    configs = [Parameters(**values) for values in runs]
    estimates, lines, times = Estimates({config.outputs_root for config in configs}), [], []
    for config in configs:
        notebooks = notebooks_left(config)
        seconds = estimates.seconds(config) if notebooks else None
        about = f", about {as_time(seconds)}" if seconds else ""
        lines.append(f"{config.folder}: {_state(config.folder, notebooks)}{about}")
        times += [seconds] if notebooks else []
    total = f"{len(configs)} runs, {len(times)} to be done"
    if None in times:
        total += "; how long they take is known once a run of their dataset is done"
    elif times:
        total += f": about {as_time(sum(times) / jobs)} with --jobs {jobs}"
    return "\n".join([*lines, total])


def _state(folder: Path, notebooks: list[str]) -> str:
    """The state of a planned run: complete, new, running, interrupted, partly done, or failed with the reason."""
    if not notebooks:
        return "complete"
    record = read_record(folder)
    state = record.describe_state(folder) if record else "new"
    return f"{' and '.join(notebooks)} to be done" if state == "done" else state


def as_time(seconds: float) -> str:
    """A time to be read, such as `41 s`, `14 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
