"""Grids of runs: a run for every combination of the values in a file of parameters."""

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import yaml

from workbook import InputError
from workbook.run.parameters import Parameters
from workbook.run.run_folder import check_same_run
from workbook.text import one_line


def expand(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One set of parameters for every combination of the values in lists; the first name changes slowest.

    `{"fusion": "ia", "dropout": ["none", "softhard"]}` makes two. A list of grids makes the runs of each in turn.
    """
    if isinstance(parameters, list):
        return [values for grid in parameters for values in expand(grid)]
    values = [_as_list(value) for value in parameters.values()]
    return [dict(zip(parameters, combination, strict=True)) for combination in product(*values)]


def cut(grids: list[dict[str, Any]], values: dict[str, Any]) -> list[dict[str, Any]]:
    """The grids with these values alone; a list gives several.

    Each grid keeps the values that it lists; a grid that lists none of them drops out. A value that no grid lists is
    set in all of them. Raises InputError where no grid is left.
    """
    smaller = [dict(grid) for grid in grids]
    for name, value in values.items():
        listed = [_as_list(grid.get(name, [])) for grid in grids]
        new = [each for each in _as_list(value) if not any(each in own for own in listed)]
        for grid, own in zip(smaller, listed, strict=True):
            grid[name] = [each for each in _as_list(value) if each in own or each in new]
    smaller = [grid for grid in smaller if all(grid[name] for name in values)]
    if not smaller:
        together = " and ".join(f"{name} {value}" for name, value in values.items())
        raise InputError(f"no part of the grid has {together} together: leave one of them out")
    return smaller


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def plan(
    parameters: dict[str, Any] | list[dict[str, Any]], values: dict[str, Any] | None = None, *, is_here: bool = True
) -> list[Parameters]:
    """The runs of one or several grids; InputError where one of them cannot start. Writes nothing.

    A store may be missing if its corpus is there, or can be made.
    values : cut the grids, as in `cut`; runs that they make the same count once
    is_here : False = other machines execute the runs, and have devices of their own
    """
    runs: dict[Path, Parameters] = {}
    for combination in expand(cut(_as_list(parameters), values or {})):
        config = Parameters(**combination)
        if config.folder in runs and not values:
            raise InputError(f"the grid holds the run {config.folder} twice: remove one")
        runs.setdefault(config.folder, config)
    if not runs:
        raise InputError("the grid holds no run: one of its lists is empty")
    for config in runs.values():
        config.check_inputs(is_here=is_here)
        check_same_run(config)
    for corpus in dict.fromkeys(config.corpus for config in runs.values()):
        is_missing = not corpus.store_path.exists()  # InputError where no file of features fits
        if is_missing and corpus.record.kind == "clips" and not corpus.record.make:
            corpus.find_clips()  # InputError where there are none to make it of
    return [*runs.values()]


class _Loader(yaml.SafeLoader):
    """YAML 1.2, and a name twice is refused: `no` is a text, 1e-2 a number, and 010 a text, refused as a number."""

    yaml_implicit_resolvers: ClassVar = {}

    def construct_mapping(self, node, deep=False):
        names = [name.value for name, _ in node.value]
        if twice := [key for key, _ in node.value if names.count(key.value) > 1]:
            reason = f"{twice[-1].value} is there twice; remove one, or give a list of values"
            raise yaml.YAMLError(f"line {twice[-1].start_mark.line + 1}: {reason}")
        return super().construct_mapping(node, deep)


for kind, first, pattern in (
    ("null", "~nN", "~|null|Null|NULL|"),
    ("bool", "tTfF", "true|True|TRUE|false|False|FALSE"),
    ("int", "-+0123456789", "[-+]?(0|[1-9][0-9]*)"),
    ("float", "-+.0123456789", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"({pattern})$"), [*first, ""])


def read_grids(file: Path) -> list[dict[str, Any]]:
    """The grids of parameters in a YAML file; InputError where it holds something else."""
    try:
        grids = _as_list(yaml.load(file.read_text(encoding="utf-8"), _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {one_line(error)}") from None
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise InputError(f"{file} holds no parameters: each line should be `name: value`, such as `fusion: ia`")
    return [{str(name): value for name, value in grid.items()} for grid in grids]


def read_values(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The names and values of `-p`; InputError where a name is there twice.

    They are read as in a file: 3 is a number, [none, softhard] a list, all else a text.
    """
    values = {}
    for name, text in pairs:
        if name in values:
            raise InputError(f"-p {name} is there twice; remove one, or give a list of values")
        value = text
        with suppress(yaml.YAMLError, RecursionError, ValueError):
            value = yaml.load(text, _Loader)
        values[name] = text if isinstance(value, dict | str) or value is None else value
    return values
