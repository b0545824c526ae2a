"""The notebooks of a run: executed in order into its folder, which are left, and how long they take."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TextIO

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from avlib.fusion import FUSIONS
from workbook import ROOT, InputError
from workbook.data.datasets import DATASETS
from workbook.files import check_outputs, writing
from workbook.run.claim import Claimed
from workbook.run.parameters import Parameters
from workbook.run.record import Record, epochs_done, note, read_record, run_folders
from workbook.run.run_folder import check_same_run, difference, unfinished
from workbook.sweep.kernels import Kernel, in_threads
from workbook.text import as_time, printable

NOTEBOOKS = ("preprocess", "pretrain", "train", "evaluate", "attention")
RESULT = {"train": "model.safetensors", "evaluate": "metrics.json"}  # the file that shows a notebook was executed
LIKE = {"dataset", "image_size", "frames", "vision", "train_vision", "dropout"}  # they decide most of a run's time
SAMPLE = 20  # an estimate is the median of the last runs, this many

Echo = Callable[[str], None]


class RunFailed(InputError):
    """A notebook failed: one sentence with the notebook, the cell, and the file with its outputs."""


class Lines:
    """A text stream for papermill that passes on complete lines, indented; `\\r` overwrites a line.

    terminal : shows an overwritten line, such as a progress bar, while it changes
    """

    def __init__(self, echo: Echo, terminal: TextIO | None = None):
        self.echo, self.terminal, self.rest = echo, terminal, ""

    def write(self, text: str) -> None:
        *lines, rest = (self.rest + text).split("\n")
        for line in lines:
            self.echo("  " + line.rstrip("\r").rpartition("\r")[2])
        self.rest = rest[max(0, rest.rstrip("\r").rfind("\r")) :]
        if self.terminal and "\r" in self.rest:
            with suppress(OSError):  # it may be closed
                self.terminal.write(f"\r  {printable(self.rest.strip(chr(13)))}\r")
                self.terminal.flush()

    def flush(self) -> None:
        pass  # only complete lines are passed on

    def close(self) -> None:
        if self.rest.strip():  # else a bar that has been removed
            self.write("\n")


def run_pipeline(
    config: Parameters,
    notebooks: Sequence[str] = NOTEBOOKS,
    echo: Echo = lambda line: None,
    *,
    kernel: Kernel | None = None,
    terminal: TextIO | None = None,
    minutes: float = 0,
) -> Path:
    """Executes the notebooks of one run in order; returns its folder, which has them with their outputs.

    echo : gets each line that a notebook prints, at once      terminal : shows progress bars while they change
    kernel : stays for further runs; None = one for this run alone
    minutes : limit for all notebooks together, 0 = none
    Notes in run.json which notebooks were executed, and the seconds of each.
    Raises InputError, before it writes anything, where an input is missing, and where a notebook refuses its input;
    RunFailed where a notebook fails. The cells executed until then are kept.
    """
    config.check_inputs()
    check_same_run(config)
    folder, seconds = config.folder, {}
    deadline = monotonic() + 60 * minutes if minutes else 0
    folder.mkdir(parents=True, exist_ok=True)
    with nullcontext(kernel) if kernel else closing(Kernel()) as kernel:
        for name in notebooks:
            if reason := _reason_to_skip(name, config):
                echo(f"{name}: left out, since {reason}")
                continue
            source, output, start = ROOT / "notebooks" / f"{name}.ipynb", folder / f"{name}.ipynb", monotonic()
            echo(f"{name}: {output}")
            declared = papermill.inspect_notebook(source).keys()
            values = config.model_dump(mode="json", include=declared & config.model_fields_set)
            values |= {"run": str(folder)} if "run" in declared else {}
            with (
                closing(Lines(echo, terminal)) as stdout,
                closing(Lines(echo)) as stderr,
                _errors_as_sentences(source, output, minutes),
            ):
                kernel.execute(source, output, values, deadline, stdout_file=stdout, stderr_file=stderr)
            seconds[name] = round(monotonic() - start, 1)
            if record := read_record(folder):
                note(folder, notebooks=record.notebooks | seconds)
    return folder


@contextmanager
def _errors_as_sentences(source: Path, output: Path, minutes: float = 0) -> Iterator[None]:
    """A block that executes a notebook into `output`, which is no link; its errors become one sentence."""
    check_outputs([output], [source])
    try:
        yield
    except papermill.PapermillExecutionError as error:
        refusal = {"InputError": InputError, "Claimed": Claimed}.get(error.ename)
        if refusal:
            raise refusal(error.evalue) from None
        place = f"{output.name} stopped in cell [{error.exec_count}]"
        raise RunFailed(f"{place} with {error.ename}: {error.evalue}; see {output}") from None
    except DeadKernelError:
        raise RunFailed(f"the kernel of {output.name} died, as it does when memory runs out; see {output}") from None
    except CellTimeoutError:
        raise RunFailed(f"stopped after {minutes:g} minutes, the limit of --limit-minutes") from None
    except OSError:
        with writing(output):
            raise


def execute_report(outputs_root: Path) -> Path:
    """The executed report.ipynb on the runs below a folder, in its folder `report`, with all its files.

    Raises InputError where there is no evaluated run.
    """
    from workbook.run.report import sections  # imports matplotlib

    outputs_root = Path(outputs_root).absolute()
    sections(outputs_root)
    source, output = ROOT / "notebooks" / "report.ipynb", outputs_root / "report" / "report.ipynb"
    output.parent.mkdir(exist_ok=True)
    with closing(Kernel()) as kernel, _errors_as_sentences(source, output):
        task = partial(kernel.execute, source, output, {"outputs_root": str(outputs_root)})
        in_threads([task], kernel.kill)
    return output


def notebooks_left(config: Parameters) -> list[str]:
    """The notebooks that a run still needs, in order; none where it is complete, on the data as they are now."""
    notebooks = [name for name in NOTEBOOKS if not _reason_to_skip(name, config)]
    folder, record = config.folder, read_record(config.folder) if config.resume else None
    if record is None or difference(record, config, config.corpus.fingerprint):
        return notebooks
    done = [name for name in record.notebooks if (folder / RESULT.get(name, f"{name}.ipynb")).exists()]
    later = notebooks[notebooks.index("train") + 1 :]
    return [name for name in later if name not in done] if "train" in done else notebooks


def _reason_to_skip(notebook: str, config: Parameters) -> str:
    """Why a run does not need a notebook, as the end of a sentence; "" where it does."""
    if notebook == "preprocess" and DATASETS[config.dataset].kind == "features":
        return f"{config.dataset} comes as features"
    if notebook == "pretrain" and not config.teaches_frames:
        return f"pretrained is {config.pretrained}"
    if notebook == "pretrain" and not unfinished(config):
        return f"{config.starts_from} is there"
    if notebook == "attention" and not FUSIONS[config.fusion].widths:
        return f"fusion {config.fusion} has no attention"
    return ""


def listing(runs: list[Parameters], jobs: int) -> str:
    """A line per planned run with what is to be done and about how long it takes; the last line has the sums."""
    records, lines, times = _executed({config.outputs_root for config in runs}), [], []
    for config in runs:
        state, notebooks = "complete", notebooks_left(config)
        if notebooks:
            times.append(_seconds(config, records))
            about = f", about {as_time(times[-1])}" if times[-1] else ""
            state = f"{', '.join(notebooks)} to be done{about}"
        lines.append(f"{config.folder}: {state}")
    total = f"{len(runs)} runs, {len(times)} to be done"
    if None in times:
        total += "; how long they take is known once a run like each of them is done"
    elif times:
        total += f": about {as_time(sum(times) / jobs)} with --jobs {jobs}"
    return "\n".join([*lines, total])


def _executed(roots: set[Path]) -> list[Record]:
    """The records of the runs below some folders of which `avlib run` has executed all."""
    records = []
    for folder in (folder for root in roots for folder in run_folders(root)):
        with suppress(InputError):  # damaged
            record = read_record(folder)
            records += [record] if "evaluate" in record.notebooks and record.seconds.get("train") else []
    return records


def _seconds(config: Parameters, records: list[Record]) -> float | None:
    """The seconds that a run still takes, of which those of training grow with the epochs; None = no run is like it."""
    like = config.model_dump(mode="json", include=LIKE).items()
    records = [record for record in records if like <= record.parameters.items()][-SAMPLE:]
    if not records:
        return None
    epoch = median(record.seconds["train"] / record.parameters["epochs"] for record in records)
    rest = median(max(0, sum(record.notebooks.values()) - record.seconds["train"]) for record in records)
    return max(0, config.epochs - epochs_done(config.folder)) * epoch + rest
