"""A kernel that stays: it executes one notebook after the other, and imports torch once.

Before each notebook it forgets the one before (`sweep.reset`). It is replaced after an error, when it has died, and
when it holds too much memory. Nothing in a notebook tells whether its kernel is new.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import papermill
import psutil
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from traitlets import default

from workbook import ROOT

ENGINE = "avlib"  # the name of this module's engine in papermill
SAVE_EVERY = 2.0  # seconds between two times that the executed notebook is written
HISTORY = "--HistoryManager.hist_file=:memory:"  # no file that other kernels share


class NativeKernelManager(AsyncKernelManager):
    """Starts a kernel of this interpreter, even if another environment has registered a `python3`."""

    @default("kernel_spec_manager")
    def _only_native(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"  # a kernel without it warns in the terminal


class Kernel:
    """Executes notebooks in a process of its own, which starts with the first one and ends with the block.

    variables : of the environment, beside those of this process
    memory : bytes; a kernel that holds more is replaced before the next notebook; 0 = no limit
    """

    def __init__(self, variables: dict[str, str] | None = None, memory: float = 0):
        self.variables, self.memory = variables or {}, memory
        self.manager, self.client = None, None

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def execute(self, source: Path, output: Path, parameters: dict[str, Any], stdout, stderr) -> None:
        """Executes a notebook with parameters into `output`, which is written every few seconds and at the end.

        stdout, stderr : streams that get what it prints, at once
        Raises what papermill raises.
        """
        try:
            papermill.execute_notebook(
                escaped(source),
                escaped(output),
                parameters=parameters,
                engine_name=ENGINE,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=stdout,
                stderr_file=stderr,
                kernel=self,
            )
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """Kills the process and its children, from any thread: the notebook ends with DeadKernelError."""
        with suppress(AttributeError, TypeError, ProcessLookupError):  # it has not started, or has ended
            os.killpg(self.manager.provisioner.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the process at once: all files of a run are written whole or not at all."""
        manager, client, self.manager, self.client = self.manager, self.client, None, None
        if client is not None:
            client.stop_channels()
        if manager is not None:
            run_sync(manager.shutdown_kernel)(now=True)

    def make_ready(self) -> None:
        """Starts the process, or makes it forget its last notebook."""
        if self.manager is not None and run_sync(self.manager.is_alive)():
            self._run("from workbook.sweep.reset import reset; reset()")
            if not self.memory or self._held() <= self.memory:
                return
        self.close()
        self._start()

    def _start(self) -> None:
        """Starts the process; a second time where another program was faster to take one of its ports."""
        for last in (False, True):
            self.manager = NativeKernelManager(kernel_name="python3")
            try:
                environment = os.environ | self.variables
                run_sync(self.manager.start_kernel)(cwd=str(ROOT), env=environment, extra_arguments=[HISTORY])
                self.client = self.manager.client()
                self.client.start_channels()
                run_sync(self.client.wait_for_ready)(timeout=120)
                self.client.allow_stdin = False
                self._run("import workbook.sweep.reset; del workbook")
                return
            except RuntimeError:
                self.close()
                if last:
                    raise

    def _run(self, source: str) -> None:
        """Runs code that belongs to no notebook."""
        cell = new_code_cell(source)
        client = NotebookClient(new_notebook(cells=[cell]), km=self.manager)
        client.kc = self.client
        client.execute_cell(cell, 0, store_history=False)

    def _held(self) -> int:
        """The bytes of memory that the process holds, without files that it has mapped; 0 where it has ended."""
        with suppress(psutil.NoSuchProcess):
            memory = psutil.Process(self.manager.provisioner.pid).memory_info()
            return memory.rss - getattr(memory, "shared", 0)
        return 0


class WarmEngine(Engine):
    """papermill's engine for a `Kernel` that stays."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, kernel, stdout_file, stderr_file, **_) -> None:
        kernel.make_ready()
        streams = {"stdout_file": stdout_file, "stderr_file": stderr_file}
        client = PapermillNotebookClient(nb_man, km=kernel.manager, kernel_name=kernel_name, timeout=None, **streams)
        client.kc = kernel.client
        save, nb_man.save = nb_man.save, _sparing(nb_man.save)
        try:
            client.execute()
        finally:
            save()


def _sparing(save: Callable[[], None]) -> Callable[[], None]:
    """Calls `save` at most every SAVE_EVERY seconds: papermill's two times per cell take longer than most cells."""
    saved = monotonic()

    def spare(**_) -> None:
        nonlocal saved
        if monotonic() - saved > SAVE_EVERY:
            save()
            saved = monotonic()

    return spare


papermill_engines.register(ENGINE, WarmEngine)


def escaped(path: Path) -> str:
    """The path for papermill, which reads braces as the names of parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")
