"""Names, labels and people in users' files: columns of a table, arrays of an .npz."""

import logging
import re
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from pathlib import Path

from workbook import InputError

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
log = logging.getLogger(__name__)


def check_names(path: Path, names: Collection[str], required: Collection[str], optional: Collection[str]) -> None:
    """Raises InputError where a required name is missing or an optional one seems misspelt. Other names are ignored."""
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: it has {', '.join(names) or 'nothing'}")
    for name in {*names} - {*required, *optional}:
        for match in get_close_matches(name, {*optional} - {*names}, 1, cutoff=0.8):
            raise InputError(f"{path} has '{name}', which is not read: did you mean '{match}'?")


def class_names(path: Path, labels: Iterable[str]) -> list[str]:
    """The different labels in the order of their values if all are numbers, else of their names.

    Raises InputError where two of them are the same word or number in another spelling, such as Happy and happy.
    """
    names = sorted({*labels})
    is_number = all(map(NUMBER.fullmatch, names))
    if twins := _twins(names, float if is_number else _spelling):
        raise InputError(f"{path} has the labels {twins}: write a class in one way")
    return sorted(names, key=float) if is_number else names


def people(path: Path, names: Iterable[str]) -> list[str] | list[int]:
    """Who is in each clip: numbers where all are whole numbers, else names. Warns of names that may be one person's.

    Numbers from 2^53 on, of which a float keeps only the first digits, are names.
    """
    names = [*names]
    if all(NUMBER.fullmatch(name) and float(name).is_integer() and abs(float(name)) < 2**53 for name in names):
        return [int(float(name)) for name in names]
    if twins := _twins(names, _spelling):
        log.warning("%s has the people %s: they count as two, and may be in two splits", path, twins)
    return names


def _spelling(name: str) -> str:
    """A name in lower case and with single spaces, equal for two spellings of it."""
    return " ".join(name.casefold().split())


def _twins(names: Iterable[str], key: Callable[[str], str | float]) -> str:
    """Two different names with the same key, as `'a' and 'b'`; "" where there are none."""
    first = {}
    for name in names:
        if first.setdefault(key(name), name) != name:
            return f"'{first[key(name)]}' and '{name}'"
    return ""
