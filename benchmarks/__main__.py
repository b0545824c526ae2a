"""`python -m benchmarks NAME`: how fast the workbook is, beside the original code where --peer names it."""

from pathlib import Path

import click

import benchmarks
from workbook import InputError

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if "def measure(" in path.read_text("utf-8")
)


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--peer", type=click.Path(path_type=Path), help="A checkout of the original code, to run beside avlib.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="Clips to preprocess; data/ravdess unless given.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the measurements to this JSON file.")
@click.option("--rounds", type=click.IntRange(1), help="How often each side is measured.")
@click.option("--batch", type=click.IntRange(1), help="Clips in a batch.")
@click.option("--frames", type=click.IntRange(1), help="Frames of a clip.")
@click.option("--image-size", type=click.IntRange(64), help="Side of a frame in pixels.")
@click.option("--clips", type=click.IntRange(1), help="Clips, at most.")
@click.option("--workers", type=click.IntRange(1), help="Processes that preprocess.")
@click.option("--runs", type=click.IntRange(1), help="Runs of a sweep, or in the list of runs.")
@click.option("--jobs", type=click.IntRange(1), help="Runs of a sweep, or viewers, at the same time.")
@click.option("--steps", type=click.IntRange(1), help="Steps of the explorer in each of its series.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Of a sweep.")
@click.option("--run", metavar="FOLDER", help="A trained run: viewers.")
def main(name: str, out: Path | None, **options) -> None:
    """Measure how fast the workbook is, beside the original code where --peer names it: see docs/speed.md."""
    options = {option: value for option, value in options.items() if value is not None}
    try:
        benchmarks.run(name, benchmarks.Options(**options), out, click.echo)
    except InputError as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main()
