"""`python -m benchmarks NAME`: how fast the workbook is, beside the original code where --peer names it."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import benchmarks
from workbook import InputError

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if "def measure(" in path.read_text("utf-8")
)
NUMBERS = {  # whole ones, from 1
    "rounds": "how often each side is measured",
    "batch": "clips in a batch",
    "frames": "frames of a clip",
    "image-size": "side of a frame in pixels",
    "clips": "clips, at most",
    "workers": "processes that preprocess",
    "runs": "runs of a sweep, or in the list of runs",
    "jobs": "runs of a sweep, or viewers, at the same time",
    "steps": "steps of the explorer in each of its series",
}


def main(arguments: list[str] | None = None) -> None:
    """Measures how fast the workbook is. A GPU's machine may lack the libraries of the shell command."""
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog="docs/speed.md tells more.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--peer", type=Path, help="a checkout of the original code, to run beside avlib")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--data-root", type=Path, help="clips to preprocess; data/ravdess unless given")
    parser.add_argument("--out", type=Path, help="write the measurements to this JSON file")
    parser.add_argument("--engine", choices=["local", "ray"], help="of a sweep")
    parser.add_argument("--run", metavar="FOLDER", help="a trained run: viewers")
    for name, meaning in NUMBERS.items():
        parser.add_argument(f"--{name}", type=_at_least(64 if name == "image-size" else 1), help=meaning)
    values = {option: value for option, value in vars(parser.parse_args(arguments)).items() if value is not None}
    name = values.pop("name")
    try:
        benchmarks.run(name, benchmarks.Options(**values), values.get("out"), print)
    except InputError as error:
        parser.error(str(error))


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return number


if __name__ == "__main__":
    main(sys.argv[1:])
