"""Executes the notebooks of a run, in order, into its folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from avlib.fusion import FUSIONS
from workbook import ROOT, InputError
from workbook.data.datasets import DATASETS
from workbook.files import check_outputs, writing
from workbook.run.claim import Claimed
from workbook.run.frame_network_folder import unfinished
from workbook.run.parameters import Parameters
from workbook.run.record import note, read_record
from workbook.run.run_folder import check_same_run, difference
from workbook.sweep.kernels import Kernel, in_threads
from workbook.text import printable

NOTEBOOKS = ("preprocess", "pretrain", "train", "evaluate", "attention")
RESULT = {"train": "model.safetensors", "evaluate": "metrics.json"}  # the file that shows a notebook was executed

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
    parameters: dict[str, Any],
    notebooks: Sequence[str] = NOTEBOOKS,
    echo: Echo = lambda line: None,
    *,
    kernel: Kernel | None = None,
    terminal: TextIO | None = None,
    minutes: float = 0,
) -> Path:
    """Executes the notebooks of one run in order; returns its folder, which has them with their outputs.

    parameters : without lists; the others have their defaults
    echo : gets each line that a notebook prints, at once      terminal : shows progress bars while they change
    kernel : stays for further runs; None = one for this run alone
    minutes : limit for all notebooks together, 0 = none
    Notes in run.json which notebooks were executed, and the seconds of each.
    Raises InputError, before it writes anything, for a parameter that does not fit, and where a notebook refuses its
    input; RunFailed where a notebook fails. The cells executed until then are kept.
    """
    config = Parameters(**parameters)
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
            values = config.model_dump(mode="json", include=declared & parameters.keys())
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
    streams = dict.fromkeys(("stdout_file", "stderr_file"))
    with closing(Kernel()) as kernel, _errors_as_sentences(source, output):
        task = partial(kernel.execute, source, output, {"outputs_root": str(outputs_root)}, **streams)
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
