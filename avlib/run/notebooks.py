"""The notebooks of a run, executed in order into its folder."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import papermill
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from traitlets import default

from avlib import ROOT, InputError
from avlib.data.datasets import DATASETS
from avlib.fusion import FUSIONS
from avlib.run.params import Parameters
from avlib.run.records import MAY_CHANGE, check_same_run

NOTEBOOKS = ("preprocess", "train", "evaluate", "attention")

Echo = Callable[[str], None]


class RunFailed(RuntimeError):
    """A notebook stopped in the middle: one sentence that says which, where, and what is left to look at."""


class NativeKernelManager(AsyncKernelManager):
    """Starts the kernel of this very interpreter, also where another environment has registered a `python3`."""

    @default("kernel_spec_manager")
    def _only_native(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"  # a kernel without it warns in the terminal


class Lines:
    """A text stream for papermill that hands on whole lines; of a line overwritten by `\\r`, what it became.

    terminal : where such a line, a progress bar, is shown while it changes
    """

    def __init__(self, echo: Echo, terminal: TextIO | None = None):
        self.echo, self.terminal, self.rest = echo, terminal, ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.echo(line.rstrip("\r").rpartition("\r")[2])
        last = self.rest.rstrip("\r").rfind("\r")
        self.rest = self.rest[max(last, 0) :]
        if self.terminal and "\r" in self.rest:
            self.terminal.write(f"\r  {self.rest.strip(chr(13))}\r")
            self.terminal.flush()

    def flush(self) -> None:
        pass  # lines go out when they are whole

    def close(self) -> None:
        if self.rest:
            self.write("\n")


def run_pipeline(
    parameters: dict[str, Any], notebooks: Sequence[str] = NOTEBOOKS, echo: Echo = lambda line: None
) -> Path:
    """The folder of one run, after the notebooks were executed in order; each stays there with its outputs.

    parameters : without lists; what is left out takes its default
    echo : gets each line that a notebook prints, as it prints it
    Raises InputError, before anything is written, where a parameter does not fit, and where a notebook refuses its
    input; RunFailed where a notebook breaks. What it has executed until then is kept.
    """
    config = Parameters(**parameters)
    check_same_run(config)
    folder = config.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): give another outputs_root") from None
    for name in notebooks:
        reason = _needless(name, config)
        if reason:
            echo(f"{name}: left out, since {reason}")
            continue
        echo(f"{name}: {folder / name}.ipynb")
        _execute(name, config, set(parameters), folder / f"{name}.ipynb", echo)
    return folder


def _needless(notebook: str, config: Parameters) -> str:
    """Why a notebook has nothing to do in a run, as the end of a sentence; "" where it has."""
    if notebook == "preprocess" and DATASETS[config.dataset].kind == "features":
        return f"{config.dataset} comes as features"
    if notebook == "attention" and not FUSIONS[config.fusion].widths:
        return f"in {config.fusion} no modality attends to the other"
    return ""


def _execute(name: str, config: Parameters, given: set[str], output: Path, echo: Echo) -> None:
    """Executes a notebook into `output`, with those of the given parameters that it declares.

    One that looks into a trained run gets its folder in place of what the run was made with.
    """
    source = _escaped(ROOT / "notebooks" / f"{name}.ipynb")
    declared = set(papermill.inspect_notebook(source))
    values = config.model_dump(mode="json", include=given & declared)
    if "run" in declared:
        values = {key: value for key, value in values.items() if key in MAY_CHANGE} | {"run": str(config.folder)}
    lines = Lines(lambda line: echo(f"  {line}"), sys.stderr if sys.stderr.isatty() else None)
    try:
        papermill.execute_notebook(
            source,
            _escaped(output),
            parameters=values,
            kernel_name="python3",
            kernel_manager_class=NativeKernelManager,
            shutdown_kernel="immediate",  # every file is written whole, so there is nothing to wait for
            progress_bar=False,
            stdout_file=lines,
            stderr_file=sys.stderr,
            cwd=ROOT,
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        where = f"{name}.ipynb stopped in cell [{error.exec_count}]"
        raise RunFailed(f"{where} with {error.ename}: {error.evalue}; see {output}") from None
    except DeadKernelError:
        raise RunFailed(f"the kernel of {name}.ipynb died, as it does when memory runs out; see {output}") from None
    finally:
        lines.close()


def _escaped(path: Path) -> str:
    """The path for papermill, which reads braces as the names of parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")
