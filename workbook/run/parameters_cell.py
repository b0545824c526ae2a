"""The guard cell of a notebook: `configure` and `open_run` check its parameters cell before anything else runs.

papermill checks nothing: a misspelt name only warns, and `learning_rate: 4e-2` in YAML arrives as text.
"""

import ast
import logging
import sys
from collections.abc import Iterable
from typing import Any

from workbook import InputError
from workbook.run.parameters import CHOICES, NAMES, Parameters, comment, not_a_choice, unknown
from workbook.run.reopen import TrainedRun, open_trained

REOPENING = {  # the parameters of a notebook that opens a trained run, and the comments in its parameters cell
    "run": 'folder of a trained run; "": the run that was trained last',
    "data_root": "where the corpus is, if it has moved",
    "device": comment("device"),
}


def configure(namespace: dict[str, Any], **own: Iterable | type) -> Parameters:
    """The parameters of a run, from the `globals()` of a notebook. Also sets up the notebook's logging.

    own : the allowed values of each parameter that only this notebook has, such as baseline=("zeros", "mean"),
        draws=range(1, 101), or a type such as str; they are checked and stay where they are, in the notebook
    Raises InputError for a value that does not fit, for an unknown name in the parameters cell or in papermill's cell
    after it, and where data, weights or a device are missing. Other variables of the notebook are ignored.
    """
    config = Parameters(**_check_values(namespace, NAMES, own))
    config.check_inputs()
    return config


def open_run(namespace: dict[str, Any], **own: Iterable | type) -> TrainedRun:
    """The trained run that a notebook's `run` names, from its `globals()`. Also sets up the notebook's logging.

    own : as in `configure`
    Raises InputError as `configure` does, and where there is no such run, with the runs to choose from.
    """
    run = namespace.get("run", "")
    if isinstance(run, TrainedRun):  # the guard cell runs again
        namespace = namespace | {"run": str(run.folder)}
    rules = {"run": str, "data_root": str, "device": CHOICES["device"]}
    values = {name: namespace[name] for name in rules if name in namespace}
    _check_values(namespace, (), own | {name: rules[name] for name in values})
    return open_trained(values.pop("run", ""), **values)


def _check_values(namespace: dict[str, Any], names: Iterable[str], own: dict[str, Iterable | type]) -> dict[str, Any]:
    """The values of the named parameters that the notebook declares; its own ones are only checked."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    known = (*names, *own)
    assigned = _assigned_names(namespace.get("In", []), known)
    for name in assigned:
        if name not in known:
            raise InputError(unknown(name, known))
    for name, allowed in own.items():
        _check(name, namespace[name], allowed)
    return {name: namespace[name] for name in assigned or names if name in namespace and name in names}


def _check(name: str, value: Any, allowed: Iterable | type) -> None:
    """Raises InputError where a notebook's own parameter has none of its allowed values."""
    if isinstance(allowed, type):
        kinds = (int, float) if allowed is float else allowed
        if not isinstance(value, kinds) or isinstance(value, bool) != (allowed is bool):
            raise InputError(f"{name} is {value!r}; it should be {_KINDS[allowed]}")
    elif isinstance(value, bool) or value not in allowed:
        if isinstance(allowed, range):
            limits = f"from {allowed[0]} to {allowed[-1]}"
            raise InputError(f"{name} is {value!r}; it should be a whole number {limits}")
        raise InputError(f"{name} {not_a_choice(value, allowed)}")


_KINDS = {str: "text", float: "a number", bool: "True or False"}


def _assigned_names(history: list[str], known: Iterable[str]) -> list[str]:
    """The names assigned in the newest parameters cell and in papermill's cell after it.

    A parameters cell holds annotated literals alone, a known one among them; papermill's has a known first line.
    Earlier versions of a cell that the reader has changed since are ignored.
    """
    names, overrides = [], []
    for source in history:
        try:
            statements = ast.parse(source).body
        except SyntaxError:
            continue
        if source.startswith("# Parameters\n"):
            overrides = [target.id for statement in statements for target in getattr(statement, "targets", ())]
        elif all(map(_is_parameter, statements)):
            targets = [statement.target.id for statement in statements]
            names, overrides = (targets, []) if set(targets) & set(known) else (names, overrides)
    return [*names, *overrides]


def _is_parameter(statement: ast.stmt) -> bool:
    """Whether a statement is such as `heads: int = 1`."""
    is_annotated = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    return is_annotated and isinstance(statement.value, ast.Constant | ast.UnaryOp)
