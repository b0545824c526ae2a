"""The check of names in users' files: columns of a table, arrays of an .npz."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from workbook import InputError


def check_names(path: Path, names: Collection[str], required: Collection[str], optional: Collection[str]) -> None:
    """Raises InputError where a required name is missing or an optional one seems misspelt. Other names are ignored."""
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: it has {', '.join(names) or 'nothing'}")
    for name in {*names} - {*required, *optional}:
        for match in get_close_matches(name, {*optional} - {*names}, 1, cutoff=0.8):
            raise InputError(f"{path} has '{name}', which is not read: did you mean '{match}'?")
