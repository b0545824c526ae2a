"""Grids of runs: a run for every combination of the values in a file of parameters."""

from itertools import product
from pathlib import Path
from typing import Any

from workbook import InputError
from workbook.run.parameters import Parameters
from workbook.run.run_folder import check_same_run


def expand(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One set of parameters for every combination of the values in lists; the first name changes slowest.

    `{"fusion": "ia", "dropout": ["none", "softhard"]}` makes two. A list of grids makes those of each in turn.
    """
    if isinstance(parameters, list):
        return [values for grid in parameters for values in expand(grid)]
    values = [_as_list(value) for value in parameters.values()]
    return [dict(zip(parameters, combination, strict=True)) for combination in product(*values)]


def cut(grids: list[dict[str, Any]], given: dict[str, Any]) -> list[dict[str, Any]]:
    """The grids with the given values alone; a list gives several.

    Each grid keeps those values that it lists, and a grid that lists none of them drops out. A value that no grid lists
    is set in all of them. Raises InputError where no grid is left.
    """
    left = [dict(grid) for grid in grids]
    for name, value in given.items():
        values = _as_list(value)
        listed = [_as_list(grid.get(name, [])) for grid in grids]
        new = [one for one in values if not any(one in own for own in listed)]
        for grid, own in zip(left, listed, strict=True):
            grid[name] = [one for one in values if one in own or one in new]
    found = [grid for grid in left if all(grid[name] != [] or value == [] for name, value in given.items())]
    if grids and not found:
        wanted = " and ".join(f"{name} {value}" for name, value in given.items())
        raise InputError(f"no part of the grid has {wanted} together: leave one of them out")
    return found


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def plan(
    parameters: dict[str, Any] | list[dict[str, Any]], given: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The runs of one or several grids; InputError where one of them cannot start. Writes nothing.

    A store may be missing if its corpus is there, or can be made.
    given : cuts the grids, as in `cut`; runs that it makes the same count once
    """
    grids = cut(parameters if isinstance(parameters, list) else [parameters], given or {})
    if not grids or not all(map(expand, grids)):
        raise InputError("the grid holds no run: one of its lists is empty")
    planned: dict[Path, tuple[dict[str, Any], Parameters]] = {}
    for values in expand(grids):
        config = Parameters(**values)
        if config.folder in planned and not given:
            raise InputError(f"the grid holds the run {config.folder} twice: remove one")
        planned.setdefault(config.folder, (values, config))
    configs = [config for _, config in planned.values()]
    for config in configs:
        config.check_inputs()
        check_same_run(config, even_if_claimed=True)
    _check_corpora(configs)
    return [values for values, _ in planned.values()]


def _check_corpora(configs: list[Parameters]) -> None:
    """InputError where a store is missing, and the clips that it would be made of are, too."""
    for corpus in dict.fromkeys(config.corpus for config in configs):
        if corpus.record.kind == "clips" and not corpus.record.make and not corpus.store_path.exists():
            corpus.find_clips()


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
