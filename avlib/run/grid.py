"""Grids of runs: a run for every combination of the values in a file of parameters."""

from itertools import product
from pathlib import Path
from typing import Any

from avlib import InputError
from avlib.data.datasets import DATASETS, find_clips, store_path
from avlib.run.params import Parameters
from avlib.run.records import compare_folder


def expand(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One set of parameters for every combination of the values in lists; the first name changes slowest.

    `{"fusion": "ia", "dropout": ["none", "softhard"]}` makes two. A list of grids makes those of each in turn.
    """
    if isinstance(parameters, list):
        return [values for grid in parameters for values in expand(grid)]
    values = [value if isinstance(value, list) else [value] for value in parameters.values()]
    return [dict(zip(parameters, combination, strict=True)) for combination in product(*values)]


def plan(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of one or several grids; InputError where one of them cannot start. Writes nothing.

    A store may be missing if its corpus is there, or can be made.
    """
    grids = parameters if isinstance(parameters, list) else [parameters]
    if not grids or not all(map(expand, grids)):
        raise InputError("the grid holds no run: one of its lists is empty")
    runs, planned = expand(grids), set()
    configs = [Parameters(**values) for values in runs]
    for config in configs:
        compare_folder(config)
        if config.folder in planned:
            raise InputError(f"the grid holds the run {config.folder} twice: remove one")
        planned.add(config.folder)
    _check_corpora(configs)
    return runs


def _check_corpora(configs: list[Parameters]) -> None:
    """InputError where a store is missing, and the clips that it would be made of are, too."""
    stores = {store_path(config.dataset, config.data_root, **config.of_store): config for config in configs}
    missing = [config for store, config in stores.items() if not store.exists()]
    for corpus in dict.fromkeys((config.dataset, config.data_root, config.of_store["protocol"]) for config in missing):
        if DATASETS[corpus[0]].kind == "clips" and not DATASETS[corpus[0]].make:
            find_clips(*corpus)


def read_grids(file: Path) -> list[dict[str, Any]]:
    """The grids of parameters in a YAML file; InputError where it is missing or holds something else."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{file} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise InputError(f"{file}{line} is not YAML: {problem}") from None
    except RecursionError:
        raise InputError(f"{file} is nested too deeply: each line should be `name: value`") from None
    except ValueError as error:  # a date that does not exist, a number of thousands of digits
        raise InputError(f"{file} holds a value that does not exist: {error}") from None
    grids = values if isinstance(values, list) else [values]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise InputError(f"{file} holds no parameters: each line should be `name: value`, such as `fusion: ia`")
    return [{str(name): value for name, value in grid.items()} for grid in grids]


def read_value(text: str) -> Any:
    """A value of the command line, read as YAML: 3 is a number and [none, softhard] a list."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return text
