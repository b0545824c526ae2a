"""A condition on runs, such as `fusion == 'ia' and AV > 80`: it is read, never executed."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

COMPARISONS = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
    **{ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge},
}


def read_condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A function that says of a row, values by name, whether it fulfils the condition.

    A condition has names, numbers, texts, lists of these, comparisons (also `in`), `and`, `or`, `not` and parentheses.
    None is a missing value: it equals no other, is in no other, and is neither more nor less.
    Raises ValueError, also from the function, with what else the condition has.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("it cannot be read") from None

    def fulfils(row: Mapping[str, Any]) -> bool:
        try:
            return _truth(_value(node, row))
        except RecursionError:
            raise ValueError("it is too long") from None

    return fulfils


def _value(node: ast.expr, row: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_value(element, row) for element in node.elts]
        case ast.Name(id=name) if name in row:
            return row[name]
        case ast.Name(id=name):
            raise ValueError(f"there is no {name}")
        case ast.UnaryOp(op=ast.Not()):
            return not _truth(_value(node.operand, row))
        case ast.BoolOp():
            truths = [_truth(_value(value, row)) for value in node.values]
            return all(truths) if isinstance(node.op, ast.And) else any(truths)
        case ast.Compare():
            values = [_value(value, row) for value in (node.left, *node.comparators)]
            return all([_compare(*pair) for pair in zip(node.ops, values[:-1], values[1:], strict=True)])
    raise ValueError("it can have names, numbers, texts, comparisons, and, or, not")


def _compare(comparison: ast.cmpop, left: Any, right: Any) -> bool:
    if type(comparison) not in COMPARISONS:
        raise ValueError("it can compare by ==, !=, <, <=, >, >=, in and not in")
    if (left is None or right is None) and not isinstance(comparison, ast.Eq | ast.NotEq):
        return isinstance(comparison, ast.NotIn)
    try:
        return COMPARISONS[type(comparison)](left, right)
    except TypeError:
        raise ValueError(f"{left!r} and {right!r} cannot be compared so") from None


def _truth(value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return bool(value)
