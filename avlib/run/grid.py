"""Grids of runs: one file of parameters, a run for every combination of the listed values."""

from itertools import product
from typing import Any

from avlib import InputError
from avlib.run.params import Parameters
from avlib.run.records import check_same_run, run_folder


def expand(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One set of parameters for every combination of the listed values; the first name changes slowest.

    `{"fusion": "ia", "dropout": ["none", "softhard"]}` makes two. Of several such grids, those of one after the other.
    """
    if isinstance(parameters, list):
        return [values for grid in parameters for values in expand(grid)]
    values = [value if isinstance(value, list) else [value] for value in parameters.values()]
    return [dict(zip(parameters, combination, strict=True)) for combination in product(*values)]


def plan(parameters: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a grid or of several, all known to be able to start; InputError otherwise. Writes nothing."""
    grids = parameters if isinstance(parameters, list) else [parameters]
    if not grids or not all(map(expand, grids)):
        raise InputError("the grid holds no run: one of its lists is empty")
    runs, folders = expand(grids), []
    for values in runs:
        config = Parameters(**values)
        check_same_run(config)
        folders.append(run_folder(config))
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(
                f"two runs of the grid would share the folder {folder}; "
                "list values of fusion, heads, dense_head, audio_features, vision, train_vision, dropout, fold_scheme, "
                "fold and seed only, which its name tells apart"
            )
    return runs
