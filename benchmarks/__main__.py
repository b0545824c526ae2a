"""`python -m benchmarks NAME`: how fast the workbook is, beside the original code where --peer names it."""

import sys
from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

import benchmarks
from workbook import InputError

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if "def measure(" in path.read_text("utf-8")
)


def main(arguments: list[str] | None = None) -> None:
    """Measures how fast the workbook is. A GPU's machine may lack the libraries of the shell command."""
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog="docs/speed.md tells more.")
    parser.add_argument("name", choices=NAMES)
    for option in fields(benchmarks.Options):
        parser.add_argument(f"--{option.name.replace('_', '-')}", default=option.default, **option.metadata)
    values = vars(parser.parse_args(arguments))
    name = values.pop("name")
    try:
        benchmarks.run(name, benchmarks.Options(**values), print)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
