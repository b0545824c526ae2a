"""One run of many: claimed, logged and limited, in a kernel that stays. An error becomes its outcome."""

import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TextIO

from workbook import InputError
from workbook.files import atomic_write, without_links
from workbook.run.claim import PIPELINE, Claimed, claim, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.record import LOG, as_sentence, note, now, read_record
from workbook.sweep.kernels import Kernel
from workbook.sweep.notebooks import Echo, RunFailed, notebooks_left, run_pipeline
from workbook.text import as_time, printable

MEMORY_LEAST = 3e9  # bytes: a kernel that holds more may be replaced


@dataclass(frozen=True)
class Outcome:
    """How one run of a sweep ended."""

    folder: Path
    state: Literal["done", "complete", "failed", "claimed"]  # complete = it was before; claimed = by another process
    reason: str = ""  # of a failure or a claim
    seconds: float = 0
    notebooks: tuple[str, ...] = ()  # that it executed


class Job:
    """Executes one run after the other, in a kernel that stays.

    variables, memory : of the kernel      echo : gets each line of the notebooks
    terminal : shows progress bars while they change
    """

    def __init__(
        self,
        variables: dict[str, str] | None = None,
        memory: float = 0,
        echo: Echo = lambda line: None,
        terminal: TextIO | None = None,
    ):
        self.kernel, self.is_stopped = Kernel(variables, memory), False
        self.echo, self.terminal = echo, terminal

    def attempt(self, values: dict[str, Any], *, minutes: float = 0, prepared: Path | None = None) -> Outcome:
        """Executes what a run still needs, with its folder claimed and a log in it. An error becomes the outcome.

        values : the run's parameters      minutes : beyond them it is ended and counts as failed; 0 = no limit
        prepared : the folder of a run that has executed preprocess.ipynb on the same store
        """
        config, self.is_stopped = Parameters(**values), False
        folder = config.folder
        try:
            if not notebooks_left(config):
                return Outcome(folder, "complete")
            with claim(folder, PIPELINE, on_loss=self.stop):
                if is_claimed(folder):
                    return Outcome(folder, "claimed")
                notebooks = notebooks_left(config)  # another process may just have executed them
                if not notebooks:
                    return Outcome(folder, "complete")
                start = monotonic()
                self._execute(values, folder, notebooks, minutes, prepared)
                return Outcome(folder, "done", seconds=monotonic() - start, notebooks=tuple(notebooks))
        except Claimed:
            return Outcome(folder, "claimed")
        except Exception as error:
            return Outcome(folder, "claimed" if self.is_stopped else "failed", as_sentence(error))

    def _execute(self, values, folder: Path, notebooks: list[str], minutes: float, prepared: Path | None) -> None:
        """Executes notebooks of a run. Its log gets each line, and how it ended; a failure is noted in run.json, too.

        preprocess.ipynb is copied from the run `prepared`.
        """

        def say(line: str) -> None:
            self.echo(line)
            _log(folder, line)

        start = monotonic()
        _log(folder, f"{now()}, process {os.getpid()} on {platform.node()}")
        try:
            if prepared and "preprocess" in notebooks:
                notebooks.remove("preprocess")
                with atomic_write(folder / "preprocess.ipynb") as copy:
                    shutil.copyfile(prepared / "preprocess.ipynb", copy)
                say(f"preprocess: copied from {prepared}, since the store is the same")
            run_pipeline(values, notebooks, say, kernel=self.kernel, terminal=self.terminal, minutes=minutes)
            _log(folder, f"done in {as_time(monotonic() - start)}")
        except Exception as error:
            if self.is_stopped:
                _log(folder, "stopped")
            elif not isinstance(error, Claimed):
                _log(folder, f"failed: {as_sentence(error)}")
                with suppress(OSError, InputError):
                    record = read_record(folder)  # refused input leaves it unchanged
                    if isinstance(error, RunFailed) or (record and record.state == "running"):
                        note(folder, state="failed", error=as_sentence(error), ended=now())
            raise

    def stop(self) -> None:
        """Ends the run, from any thread; it counts as no failure."""
        self.is_stopped = True
        self.kernel.kill()

    def close(self) -> None:
        """Ends the kernel."""
        self.kernel.close()


def _log(folder: Path, line: str) -> None:
    with suppress(OSError), open(folder / LOG, "a", encoding="utf-8", opener=without_links) as file:
        file.write(f"{printable(line)}\n")  # a full disk hides no other error
