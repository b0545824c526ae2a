"""The command `avlib`: run a grid, list and compare runs, apply or import one, show the page, download RAVDESS."""

import signal
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click

from avlib import __version__
from workbook import DATA, OUTPUTS, InputError
from workbook.text import papermill_command, printable, quoted

PATH = click.Path(path_type=Path)
IN = click.argument("outputs_root", type=PATH, default=OUTPUTS)
RUNS = click.option(
    "--run", "runs", type=PATH, multiple=True, metavar="FOLDER", help="A trained run; several for more."
)
CLIPS = click.option(
    "--clips", type=click.IntRange(1), default=12, show_default=True, help="Test clips of each corpus."
)
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(click.ClickException):
    """The end of a command before its time: one line."""

    def __init__(self, message: str, exit_code: int = 2):  # as click itself ends for wrong options
        super().__init__(printable(message))
        self.exit_code = exit_code

    def show(self, file: Any = None) -> None:
        with suppress(OSError):  # the terminal may be closed
            super().show(file)


class Commands(click.Group):
    """The commands; an InputError, what the system refuses, and a signal are one line instead of a traceback.

    A cluster's scheduler (SIGTERM) and a closed terminal (SIGHUP) end a command as Ctrl-C does. More signals do not
    disturb the end of what it has started.
    """

    def main(self, *arguments: Any, **settings: Any) -> Any:
        if hasattr(sys.stdout, "reconfigure"):  # else it is closed, or a notebook's
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a pipe on Windows lacks most characters
        handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
        handlers = {number: signal.signal(number, self._interrupt) for number in handled}
        try:
            return super().main(*arguments, **settings)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: Any) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except InputError as error:
            raise Ended(str(error)) from None
        except OSError as error:
            if error.filename is None:  # such as a pipe that nobody reads
                raise
            raise Ended(f"{error.filename}: {error.strerror}") from error
        except KeyboardInterrupt:
            raise Ended("interrupted; the same command goes on where it stopped", 130) from None


def _echo(text: object) -> None:
    """Prints a text; a terminal that is closed, or a pipe that nobody reads, fails no run."""
    with suppress(OSError):
        click.echo(printable(text))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avlib")
def main() -> None:
    """Audiovisual emotion recognition with incomplete data: run the notebooks and compare their results."""


@main.command()
@click.argument("file", type=PATH, metavar="PARAMS.yaml")
@click.option("-p", "extra", nargs=2, multiple=True, metavar="NAME VALUE", help="Cut the grid, or set a value.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at the same time; default: 1, with Ray all that fit.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", help="host:port of a Ray cluster; default: $RAY_ADDRESS, or one on this machine.")
@click.option("--cpus-per-run", "cpus", type=click.FloatRange(0, min_open=True), help="With Ray; default: 1.")
@click.option("--gpus-per-run", "gpus", type=click.FloatRange(0), help="With Ray, such as 0.25; default: none.")
@click.option("--limit-minutes", type=click.FloatRange(0, min_open=True), help="End a run that takes longer.")
@click.option("--dry-run", is_flag=True, help="List the runs and about how long they take; execute none.")
def run(file: Path, extra: tuple, jobs: int | None, engine: str, dry_run: bool, **options: Any) -> None:
    """Run preprocess, train, evaluate and attention with the parameters of a file.

    A list of values, such as `dropout: [none, softhard]`, makes one run per value. A file may hold a list of several
    such grids. Each run has a folder under outputs/, with a log. Complete runs are skipped; a run that was stopped or
    has failed goes on where it stopped. The same command may run several times at once, also on several machines.
    """
    from workbook.sweep.grid import plan, read_grids, read_values
    from workbook.sweep.notebooks import listing
    from workbook.sweep.sweep import Sweep

    runs = plan(read_grids(file), read_values(extra), is_here=engine == "local")
    if dry_run:
        _echo(listing(runs, jobs or 1))
        return
    minutes = options.pop("limit_minutes") or 0
    with engine_of(engine, **options) as runner:
        outcomes = Sweep(runs, jobs=jobs, engine=runner, minutes=minutes, echo=_echo).run()
    _show_results([outcome.folder for outcome in outcomes if outcome.state != "failed"])
    if failed := [f"{outcome.folder}: {outcome.reason}" for outcome in outcomes if outcome.state == "failed"]:
        heading = f"{len(failed)} of {len(runs)} runs failed; the same command tries them again:"
        raise Ended("\n".join([heading, *failed]), 1)


def engine_of(name: str, **ray_options: Any) -> AbstractContextManager:
    """A block with the engine of this name, local or ray.

    ray_options : address, cpus and gpus, as in `workbook.sweep.ray_engine.connect`; None = its default
    """
    options = {option: value for option, value in ray_options.items() if value is not None}
    if name == "ray":
        from workbook.sweep.ray_engine import connect

        return connect(**options)
    if options:
        raise InputError("--address, --cpus-per-run and --gpus-per-run are options of --engine ray: add it")
    from workbook.sweep.sweep import Local

    return nullcontext(Local())


def _show_results(folders: list[Path]) -> None:
    """Prints the table of these runs, and compares those of each dataset in a figure."""
    from workbook.run.results import as_text, comparison, evaluated, result_table, runs_in

    runs = evaluated(runs_in(folders))
    if len(runs):
        _echo(f"\n{as_text(result_table(runs))}")
    for folder, own in runs.groupby(runs["folder"].map(lambda run: Path(run).parents[1]), sort=False):
        if len(own) > 1:
            _echo(f"\n{comparison(own, folder)}")


@main.command()
@IN
def table(outputs_root: Path) -> None:
    """Print the results of all runs under OUTPUTS_ROOT (default: outputs/), then the runs that are not finished."""
    from workbook.run.results import all_runs, as_text, result_table

    runs = all_runs(outputs_root)
    if runs.empty:
        raise InputError(f"no run under {outputs_root}; `avlib run params/demo.yaml` makes four")
    table = result_table(runs)
    if not table.empty:
        _echo(as_text(table))
    for folder, state in runs.loc[runs["state"] != "done", ["folder", "state"]].to_numpy():
        _echo(f"{folder}: {state}")


@main.command()
@IN
@click.option("--where", "condition", metavar="CONDITION", help="Such as \"fusion == 'ia' and AV > 80\".")
def runs(outputs_root: Path, condition: str | None) -> None:
    """List all runs under OUTPUTS_ROOT (default: outputs/) with their results, seconds, device, commit and state.

    `run.results.all_runs()` returns the same as a pandas frame, with all parameters; each is a name for --where.
    """
    from workbook.run.results import LISTED, all_runs, as_text, where

    runs = all_runs(outputs_root)
    if condition is not None:
        runs = where(runs, condition)
    if runs.empty:
        raise InputError(f"no such run under {outputs_root}" if condition else f"no run under {outputs_root}")
    _echo(as_text(runs[[*LISTED]].replace("", None).dropna(axis="columns", how="all")))


@main.command()
@IN
def report(outputs_root: Path) -> None:
    """Compare all runs under OUTPUTS_ROOT (default: outputs/) with the paper, in the notebook and files of report/."""
    from workbook.sweep.notebooks import execute_report

    _echo(execute_report(outputs_root))


@main.command()
@click.argument("clip", type=PATH, metavar="CLIP")
@click.option("--run", "folder", type=PATH, required=True, help="Folder of a trained run.")
@click.option("--sound", type=PATH, help="The sound, if it is in another file.")
@click.option("--hop", type=float, default=1.8, show_default=True, help="Seconds between two windows, at most.")
@click.option("--html", type=PATH, metavar="OUT", help="Write a page to keep.")
@click.option("--json", type=PATH, metavar="OUT", help="Write all probabilities.")
@click.option("--anyway", is_flag=True, help="Show what a network of drawn faces says of a real one.")
def predict(
    clip: Path, folder: Path, sound: Path | None, hop: float, html: Path | None, json: Path | None, anyway: bool
) -> None:
    """Name the emotions in CLIP, a film or a sound of any length, by a trained network.

    The network gets windows of 3.6 s that slide over the clip; of a film, the largest face. It answers from sound and
    picture (AV), from the sound alone (A) and from the picture alone (V).
    """
    from workbook.files import check_outputs
    from workbook.run.own_clip import predictor_of, write_prediction
    from workbook.run.reopen import from_here, open_trained

    check_outputs([html, json], [clip, sound, folder])
    predictor = predictor_of(open_trained(from_here(folder)))
    prediction = predictor(clip, sound or "", hop, progress=sys.stderr.isatty(), anyway=anyway)
    _echo("\n".join(predictor.card.sentences()) + "\n")
    _echo(write_prediction(prediction, html, json))


@main.command("import")
@click.argument("checkpoint", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="FOLDER", help="A new folder.")
@click.option("--heads", type=int, help="Of each attention. The weights do not tell: 1 is assumed.")
@click.option("--data-root", type=PATH, help="Where its corpus is; default: data/<dataset>.")
@click.option("-p", "extra", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter that you know.")
def import_(checkpoint: Path, out: Path, heads: int | None, data_root: Path | None, extra: tuple) -> None:
    """Make a run folder of CHECKPOINT: a released one of the authors (.pth), or a model.safetensors of this workbook.

    It opens as any other run. Fusion and classes are read from the file; the run says what the file does not tell.
    """
    from workbook.run.importing import import_network
    from workbook.run.reopen import from_here
    from workbook.sweep.grid import read_values

    options = {"heads": heads, "data_root": data_root and from_here(data_root)}
    values = read_values(extra) | {name: value for name, value in options.items() if value is not None}
    record = import_network(checkpoint.absolute(), out.absolute(), values)
    _echo(f"{out}: fusion {record.network['fusion']}, {len(record.labels)} labels. {record.describe_origin()}")
    _echo(f"next: {papermill_command('evaluate', {'run': out.absolute()})}")


@main.command()
def parameters() -> None:
    """List all parameters: default, allowed values, meaning."""
    import pandas as pd
    from tabulate import tabulate

    from workbook.data.datasets import DATASETS
    from workbook.run.parameters import FIELDS, allowed

    rows = [(name, str(field.default), allowed(name), field.description) for name, field in FIELDS.items()]
    _echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    own = pd.DataFrame({name: dataset.defaults for name, dataset in DATASETS.items()}).T
    _echo("\n0 or nothing stands for the dataset's default (-: none, or its files say):")
    _echo(own.replace(0, "-").to_string())


@main.command()
@RUNS
@CLIPS
@click.option("--out", type=PATH, required=True, metavar="DIR", help="A new folder, or that of an older page.")
def page(runs: tuple[Path, ...], clips: int, out: Path) -> None:
    """Write the explorer as a folder of static files; default: of the run that was trained last.

    The networks compute in the viewer's browser. Any web server can host the folder, and nothing is sent back to it.
    """
    from workbook.run.app import write_page_of

    write_page_of(runs, clips, out)
    _echo(f"{out}: host these files, or look at them with `python -m http.server --directory {quoted(out)}`")


@main.command()
@RUNS
@CLIPS
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen at; 127.0.0.1: only here.")
@click.option("--port", type=click.IntRange(0, 65535), default=8866, show_default=True)
@click.option("--browser/--no-browser", default=True, help="Open it in a browser here.")
def app(runs: tuple[Path, ...], clips: int, ip: str, port: int, browser: bool) -> None:
    """Show the explorer in a browser, as `avlib page` writes it; default: of the run that was trained last."""
    from workbook.run.app import serve

    serve(runs, clips, ip, port, browser, _echo)


@main.command()
@click.argument("dataset", type=click.Choice(["ravdess"]))
@click.option("--actors", default="1-24", show_default=True, metavar="LIST", help="Actors, such as 1-3,7.")
@click.option("--sound", is_flag=True, help="The sound alone: 200 MB for all actors.")
@click.option("--to", "folder", type=PATH, default=DATA / "ravdess", metavar="FOLDER", help="Default: data/ravdess.")
def download(dataset: str, actors: str, sound: bool, folder: Path) -> None:
    """Download the speech of RAVDESS, sound and picture, from its official record, check and unpack it.

    All 24 actors are about 13.6 GB, and as much again unpacked. Existing files are not downloaded again.
    """
    from workbook.data.download import download_ravdess, parse_actors

    root = download_ravdess(folder, parse_actors(actors), pictures=not sound)
    place = {} if root == (DATA / "ravdess").resolve() else {"data_root": root}
    _echo(f"next: {papermill_command('preprocess', {'dataset': dataset} | place)}")
