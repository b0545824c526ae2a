"""A kernel that executes one notebook after the other, and imports torch once.

Before each notebook it forgets the last one (`sweep.reset`), so a notebook shows what it would show in a new kernel. It
is replaced after an error, when it has died, and when it holds too much memory.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import papermill
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from workbook import ROOT

ENGINE = "avlib"  # the name of this module's engine in papermill
SAVE_EVERY = 2.0  # seconds between two writes of a notebook that is executed
ANSWER = 120  # seconds in which a kernel starts, or forgets its last notebook


class Kernel:
    """Executes notebooks in a process that starts with the first one and ends with `close`.

    variables : added to this process's environment
    memory : bytes; a kernel that holds more is replaced before the next notebook; 0 = no limit
    """

    def __init__(self, variables: dict[str, str] | None = None, memory: float = 0):
        self.variables, self.memory = variables or {}, memory
        self.client: NotebookClient | None = None

    def execute(self, source: Path, output: Path, parameters: dict[str, Any], deadline: float = 0, **streams) -> None:
        """Executes a notebook into `output`, which is written every few seconds and at the end.

        deadline : by `time.monotonic`, 0 = none      streams : `stdout_file` and `stderr_file` get what it prints
        Raises what papermill raises; DeadKernelError where the process has died, CellTimeoutError at the deadline.
        """
        settings = {"engine_name": ENGINE, "kernel_name": "python3", "progress_bar": False}
        try:
            papermill.execute_notebook(
                source, output, parameters, kernel=self, deadline=deadline, **settings, **streams
            )
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """Kills the process and its children, from any thread: the notebook ends with DeadKernelError."""
        with suppress(AttributeError, TypeError, psutil.NoSuchProcess):  # it has not started, or has ended
            process = self._process()
            for member in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()

    def close(self) -> None:
        """Ends the process and its children at once: every file of a run is written completely or not at all."""
        self.kill()
        client, self.client = self.client, None
        if client and client.kc:
            client.kc.stop_channels()
        if client and client.km:
            run_sync(client.km.shutdown_kernel)(now=True)

    def make_ready(self) -> None:
        """Starts the process, or makes it forget its last notebook."""
        with suppress(DeadKernelError, CellTimeoutError, psutil.NoSuchProcess):
            if self.client is not None:
                self._run("from workbook.sweep.reset import reset; reset()")
                memory = self._process().memory_info()
                bytes_held = memory.rss - getattr(memory, "shared", 0)  # without mapped files
                if not self.memory or bytes_held <= self.memory:
                    return
        self.close()
        try:
            self._start()
        except RuntimeError:  # another program was faster to take one of its ports
            self.close()
            self._start()

    def _start(self) -> None:
        native = KernelSpecManager(kernel_dirs=[])  # this interpreter, even if another has registered a `python3`
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=native)
        self.client = NotebookClient(new_notebook(), km=manager, startup_timeout=ANSWER, timeout=ANSWER)
        self.client.start_new_kernel(cwd=str(ROOT), env=os.environ | self.variables)
        self.client.start_new_kernel_client()
        self._run("import workbook.sweep.reset; del workbook")
        manager.cleanup_connection_file()  # both sides know it, and a killed process could not remove it

    def _run(self, source: str) -> None:
        """Runs code that belongs to no notebook."""
        self.client.nb.cells = [new_code_cell(source)]
        self.client.execute_cell(self.client.nb.cells[0], 0, store_history=False)

    def _process(self) -> psutil.Process:
        return psutil.Process(self.client.km.provisioner.pid)


class WarmEngine(Engine):
    """papermill's engine for a `Kernel`."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, kernel, deadline, stdout_file, stderr_file, **_) -> None:
        def save(**_) -> None:
            # papermill's two writes per cell take longer than most cells
            if (nb_man.now() - nb_man.last_save_time).total_seconds() > SAVE_EVERY:
                NotebookExecutionManager.save(nb_man)

        kernel.make_ready()
        client = PapermillNotebookClient(
            nb_man,
            km=kernel.client.km,
            kernel_name=kernel_name,
            timeout_func=lambda cell: max(1, deadline - monotonic()) if deadline else None,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
        )
        client.kc = kernel.client.kc
        nb_man.save = save
        try:
            client.execute()
        finally:
            del nb_man.save  # papermill writes it a last time


papermill_engines.register(ENGINE, WarmEngine)


def in_threads(tasks: list[Callable], stop: Callable[[], None], watch: Callable[[], None] = lambda: None) -> None:
    """Calls functions, each in a thread; `watch` is called meanwhile.

    A signal interrupts this thread alone: `stop` is called until all functions have ended, then its error is raised.
    Raises the error of a function.
    """
    with ThreadPoolExecutor(len(tasks)) as threads:
        work = [threads.submit(task) for task in tasks]
        try:
            while wait(work, timeout=0.2).not_done:
                watch()
        finally:
            while wait(work, timeout=0.2).not_done:
                stop()
    for thread in work:
        thread.result()
