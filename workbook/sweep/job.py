"""One run of many: claimed, logged and limited, in a kernel that stays. An error becomes its outcome."""

import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TextIO

from workbook import InputError
from workbook.files import atomic_write
from workbook.run.claim import PIPELINE, Claimed, claim, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.records import LOG, note, now, read_record
from workbook.sweep.estimates import as_time
from workbook.sweep.kernels import Kernel
from workbook.sweep.notebooks import Echo, RunFailed, notebooks_left, run_pipeline


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
        self.kernel, self.stopped = Kernel(variables, memory), threading.Event()
        self.echo, self.terminal = echo, terminal

    def attempt(self, values: dict[str, Any], *, minutes: float = 0, prepared: Path | None = None) -> Outcome:
        """Executes what a run still needs, with its folder claimed and a log in it. An error becomes the outcome.

        values : the run's parameters      minutes : beyond them it is ended and counts as failed; 0 = no limit
        prepared : the folder of a run that has executed preprocess.ipynb on the same store
        """
        config, start, lost = Parameters(**values), monotonic(), threading.Event()
        folder = config.folder
        try:
            if not notebooks_left(config):
                return Outcome(folder, "complete")
            with claim(folder, PIPELINE, on_loss=lambda: (lost.set(), self.kernel.kill())):
                if is_claimed(folder):
                    return Outcome(folder, "claimed", "a process that executes one of its notebooks")
                left = notebooks_left(config)  # another process may just have done it
                if not left:
                    return Outcome(folder, "complete")
                ended = _logged(folder, self.echo, lambda: lost.is_set() or self.stopped.is_set())
                with ended as said, _limited(self.kernel, minutes):
                    left = _without_preprocess(left, folder, said, prepared)
                    run_pipeline(values, left, said, kernel=self.kernel, terminal=self.terminal)
        except Claimed as error:
            return Outcome(folder, "claimed", str(error))
        except Exception as error:
            if lost.is_set():
                return Outcome(folder, "claimed", "another process, since this one was silent for too long")
            kind = "" if isinstance(error, InputError | RunFailed) else f"{type(error).__name__}: "
            return Outcome(folder, "failed", kind + " ".join(str(error).split()), monotonic() - start)
        return Outcome(folder, "done", seconds=monotonic() - start, notebooks=tuple(left))

    def stop(self) -> None:
        """Ends the run, from any thread, so that it counts as no failure."""
        self.stopped.set()
        self.kernel.kill()

    def close(self) -> None:
        """Ends the kernel."""
        self.kernel.close()


def _without_preprocess(left: list[str], folder: Path, echo: Echo, prepared: Path | None) -> list[str]:
    """The notebooks without preprocess, where another run has executed it on the same store: it is copied."""
    source = prepared / "preprocess.ipynb" if prepared else None
    if "preprocess" not in left or not source or not source.is_file():
        return left
    with atomic_write(folder / source.name) as copy:
        shutil.copyfile(source, copy)
    echo(f"preprocess: copied from {source}, since the store is the same")
    return [name for name in left if name != "preprocess"]


@contextmanager
def _logged(folder: Path, echo: Echo, ended: Callable[[], bool]) -> Iterator[Echo]:
    """A block that notes in the run's log what it is told and how it ended; a failure is noted in run.json, too.

    ended : whether an error only comes from the end of this process's work on the run
    """

    def written(line: str) -> None:
        with suppress(OSError), open(folder / LOG, "a", encoding="utf-8") as file:  # a full disk hides no error
            file.write(f"{line}\n")

    def said(line: str) -> None:
        echo(line)
        written(line)

    start = monotonic()
    written(f"{now()}, process {os.getpid()} on {platform.node()}")
    try:
        yield said
    except Exception as error:
        reason = " ".join(str(error).split())
        written("stopped" if ended() else f"failed: {reason}")
        if not ended():
            _note_failure(folder, error, reason)
        raise
    written(f"done in {as_time(monotonic() - start)}")


def _note_failure(folder: Path, error: Exception, reason: str) -> None:
    """Notes a failure that the notebook has not noted itself; what it has refused leaves the run as it was."""
    with suppress(OSError, InputError):
        record = read_record(folder) or {}
        if isinstance(error, RunFailed) or record.get("state") == "running":
            note(folder, state="failed", error=reason, ended=now())


@contextmanager
def _limited(kernel: Kernel, minutes: float) -> Iterator[None]:
    """A block whose kernel is killed after so many minutes; RunFailed then says so. 0 = no limit."""
    ended, expired = threading.Event(), threading.Event()

    def watch() -> None:
        if not ended.wait(60 * minutes):
            expired.set()
            while not ended.wait(0.5):  # it may just be starting
                kernel.kill()

    if minutes:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception:
        if expired.is_set():
            raise RunFailed(f"stopped after {minutes:g} minutes, the limit of --limit-minutes") from None
        raise
    finally:
        ended.set()
