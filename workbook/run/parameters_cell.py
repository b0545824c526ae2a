"""The guard cell of a notebook: `configure` and `open_run` check its parameters cell before anything else runs.

papermill checks nothing: a misspelt name only warns, and `learning_rate: 4e-2` in YAML arrives as text.
"""

import ast
import logging
import sys
from collections.abc import Iterable
from typing import Any

from workbook import InputError
from workbook.run.parameters import CHOICES, NAMES, Parameters, not_a_choice, refuse_empty, show, unknown
from workbook.run.reopen import TrainedRun, open_trained

KINDS = {str: "text", float: "a number", bool: "True or False"}


def configure(namespace: dict[str, Any], **own: Iterable | type) -> Parameters:
    """The parameters of a run, from the `globals()` of a notebook. Also sets up the notebook's logging.

    own : the allowed values of each parameter that only this notebook has, such as baseline=("zeros", "mean"),
        draws=range(1, 101), or a type such as str; they are checked and stay where they are, in the notebook
    Raises InputError for a value that does not fit, for an unknown name in the parameters cell or in papermill's cell
    after it, and where data, weights or a device are missing. Other variables of the notebook are ignored.
    """
    declared = _declared_names(namespace, NAMES, own)
    config = Parameters(**{name: namespace.get(name) for name in declared if name in NAMES})
    config.check_inputs()
    return config


def open_run(namespace: dict[str, Any], **own: Iterable | type) -> TrainedRun:
    """The trained run that a notebook's `run` names, from its `globals()`. Also sets up the notebook's logging.

    own : as in `configure`
    Raises InputError as `configure` does, and where there is no such run, with the runs to choose from.
    """
    if isinstance(namespace.get("run"), TrainedRun):  # the guard cell runs again
        namespace = namespace | {"run": str(namespace["run"].folder)}
    rules = {"run": str, "data_root": str, "device": CHOICES["device"]}
    rules = {name: rule for name, rule in rules.items() if name in namespace}
    _declared_names(namespace, (), own | rules)
    values = {name: namespace[name] for name in rules}
    return open_trained(values.pop("run", ""), **values)


def _declared_names(namespace: dict[str, Any], names: Iterable[str], own: dict[str, Iterable | type]) -> list[str]:
    """The parameters, known by name, that the notebook declares; its own ones are checked."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    known = (*own, *names)
    assigned = _assigned_names(namespace.get("In", []), known)
    for name in assigned:
        if name not in known:
            raise InputError(unknown(name, known))
    for name, allowed in own.items():
        _check(name, namespace.get(name), allowed)
    return assigned or [name for name in names if name in namespace]


def _check(name: str, value: Any, allowed: Iterable | type) -> None:
    """Raises InputError where a notebook's own parameter has none of its allowed values."""
    has_choices = not isinstance(allowed, type | range)
    refuse_empty(name, value, tuple(allowed) if has_choices else ("",) if allowed is str else ())
    if has_choices and value not in tuple(allowed):
        raise InputError(f"{name} {not_a_choice(value, allowed)}")
    if isinstance(allowed, range) and (isinstance(value, bool) or value not in allowed):
        raise InputError(f"{name} is {show(value)}; it should be a whole number from {allowed[0]} to {allowed[-1]}")
    if isinstance(allowed, type):
        kinds = (int, float) if allowed is float else allowed
        if not isinstance(value, kinds) or isinstance(value, bool) != (allowed is bool):
            raise InputError(f"{name} is {show(value)}; it should be {KINDS[allowed]}")


def _assigned_names(history: list[str], known: Iterable[str]) -> list[str]:
    """The names in the newest parameters cell and in papermill's cell after it.

    A parameters cell holds annotated literals alone, a known one among them; papermill's has a known first line.
    Earlier versions of a cell that the reader has changed since are ignored.
    """
    names, overrides = [], []
    for source in history:
        try:
            statements = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if source.startswith("# Parameters\n"):
            overrides = [target.id for statement in statements for target in getattr(statement, "targets", ())]
        elif all(map(_is_parameter, statements)):
            targets = [statement.target.id for statement in statements]
            names, overrides = (targets, []) if set(targets) & set(known) else (names, overrides)
    return [*names, *overrides]


def _is_parameter(statement: ast.stmt) -> bool:
    """Whether a statement is such as `heads: int = 1`, or `heads: int` without a value."""
    is_annotated = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    return is_annotated and isinstance(statement.value, ast.Constant | ast.UnaryOp | None)
