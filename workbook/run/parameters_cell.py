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
    config = Parameters(**_checked(namespace, NAMES, own))
    config.check_inputs()
    return config


def open_run(namespace: dict[str, Any], **own: Iterable | type) -> TrainedRun:
    """The trained run that a notebook's `run` names, from its `globals()`. Also sets up the notebook's logging.

    own : as in `configure`
    Raises InputError as `configure` does, and where there is no such run, with the runs to choose from.
    """
    values = _checked(namespace, tuple(REOPENING), own)
    run = values.get("run", "")
    values["run"] = str(run.folder) if isinstance(run, TrainedRun) else run  # the guard cell runs again
    device = values.get("device", "auto")
    if device not in CHOICES["device"]:
        raise InputError(f"device {not_a_choice(device, CHOICES['device'])}")
    for name in ("run", "data_root"):
        _check(name, values.get(name, ""), str)
    return open_trained(values.get("run", ""), device, values.get("data_root", ""))


def _checked(namespace: dict[str, Any], names: tuple[str, ...], own: dict[str, Iterable | type]) -> dict[str, Any]:
    """The values of the named parameters that the notebook declares; its own ones are checked as well."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    assigned = _assigned(namespace.get("In", []))
    for name in assigned:
        if name not in (*names, *own):
            raise InputError(unknown(name, (*names, *own)))
    for name, allowed in own.items():
        _check(name, namespace[name], allowed)
    values = {name: namespace[name] for name in assigned or names if name in namespace and name in names}
    for name, value in values.items():
        if value is None:
            raise InputError(f"{name} is None; leave it out for its default")
    return values


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


def _assigned(history: list[str]) -> list[str]:
    """The names assigned in the newest parameters cell and in papermill's cell after it.

    A parameters cell holds nothing but annotated literals; papermill's has a known first line. Earlier versions of a
    cell that the reader has changed since are ignored.
    """
    cell, injected = [], []
    for source in history:
        try:
            statements = ast.parse(source).body
        except SyntaxError:
            continue
        if source.startswith("# Parameters\n"):
            injected = [target.id for statement in statements for target in getattr(statement, "targets", ())]
        elif statements and all(map(_is_parameter, statements)):
            cell, injected = [statement.target.id for statement in statements], []
    return [*cell, *injected]


def _is_parameter(statement: ast.stmt) -> bool:
    """Whether a statement is such as `heads: int = 1`."""
    annotated = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    return annotated and isinstance(statement.value, ast.Constant | ast.UnaryOp)
