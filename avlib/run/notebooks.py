"""Executes the notebooks of a run, in order, into its folder."""

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
from avlib.run.pretrained import unfinished
from avlib.run.records import MAY_CHANGE, check_same_run

NOTEBOOKS = ("preprocess", "pretrain", "train", "evaluate", "attention")

Echo = Callable[[str], None]


class RunFailed(RuntimeError):
    """A notebook failed: one sentence with the notebook, the cell, and the file with its outputs."""


class NativeKernelManager(AsyncKernelManager):
    """Starts a kernel of this interpreter, even if another environment has registered a `python3`."""

    @default("kernel_spec_manager")
    def _only_native(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"  # a kernel without it warns in the terminal


class Lines:
    """A text stream for papermill that passes on complete lines; `\\r` overwrites a line.

    terminal : shows an overwritten line, such as a progress bar, while it changes
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
        pass  # only complete lines are passed on

    def close(self) -> None:
        if self.rest:
            self.write("\n")


def run_pipeline(
    parameters: dict[str, Any], notebooks: Sequence[str] = NOTEBOOKS, echo: Echo = lambda line: None
) -> Path:
    """Executes the notebooks of one run in order; returns its folder, which has them with their outputs.

    parameters : without lists; the others have their defaults
    echo : gets each line that a notebook prints, at once
    Raises InputError, before it writes anything, for a parameter that does not fit, and where a notebook refuses its
    input; RunFailed where a notebook fails. The cells executed until then are kept.
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


def _execute(name: str, config: Parameters, given: set[str], output: Path, echo: Echo) -> None:
    """Executes a notebook into `output`, with the given parameters that it declares.

    A notebook with the parameter `run` gets the run folder in place of the run's own parameters.
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
            shutdown_kernel="immediate",  # safe: all files are written completely
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
