"""Many runs, side by side: complete ones are skipped, failed ones tried again.

Each of several threads has a `Job` and gives it one run after the other. An engine says what a job is: a kernel of this
machine (`Local`), or a worker of a cluster (`sweep.ray_engine`). The claim of a run folder divides the work among
several `avlib run`, also on several machines.
"""

import os
import platform
import shutil
import sys
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TextIO

import psutil

from workbook import InputError
from workbook.files import atomic_write, without_links
from workbook.run.claim import PIPELINE, Claimed, claim, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.record import LOG, as_sentence, note, now, read_record
from workbook.sweep.kernels import Kernel, in_threads
from workbook.sweep.notebooks import Echo, RunFailed, notebooks_left, run_pipeline
from workbook.text import as_time, printable

MEMORY_SHARE = 0.5  # of the machine's memory, for the kernels of all jobs together
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

    def attempt(self, config: Parameters, *, minutes: float = 0, prepared: Path | None = None) -> Outcome:
        """Executes what a run still needs, with its folder claimed and a log in it. An error becomes the outcome.

        minutes : beyond them it is ended and counts as failed; 0 = no limit
        prepared : the folder of a run that has executed preprocess.ipynb on the same store
        """
        folder, self.is_stopped = config.folder, False
        try:
            if not notebooks_left(config):
                return Outcome(folder, "complete")
            with claim(folder, PIPELINE, on_loss=self.stop):
                if is_claimed(folder):
                    return Outcome(folder, "claimed")
                notebooks = notebooks_left(config)  # another process may just have executed them
                return self._execute(config, notebooks, minutes, prepared) if notebooks else Outcome(folder, "complete")
        except Claimed:
            return Outcome(folder, "claimed")
        except Exception as error:
            return Outcome(folder, "claimed" if self.is_stopped else "failed", as_sentence(error))

    def _execute(self, config: Parameters, notebooks: list[str], minutes: float, prepared: Path | None) -> Outcome:
        """Executes notebooks of a run. Its log gets each line, and how it ended; a failure is noted in run.json, too.

        preprocess.ipynb is copied from the run `prepared`.
        """

        def log(line: str) -> None:
            with suppress(OSError), open(folder / LOG, "a", encoding="utf-8", opener=without_links) as file:
                file.write(f"{printable(line)}\n")  # a full disk hides no other error

        def say(line: str) -> None:
            self.echo(line)
            log(line)

        folder, start = config.folder, monotonic()
        log(f"{now()}, process {os.getpid()} on {platform.node()}")
        try:
            if prepared and "preprocess" in notebooks:
                notebooks.remove("preprocess")
                with atomic_write(folder / "preprocess.ipynb") as copy:
                    shutil.copyfile(prepared / "preprocess.ipynb", copy)
                say(f"preprocess: copied from {prepared}, since the store is the same")
            run_pipeline(config, notebooks, say, kernel=self.kernel, terminal=self.terminal, minutes=minutes)
        except Exception as error:
            if self.is_stopped:
                log("stopped")
            elif not isinstance(error, Claimed):
                log(f"failed: {as_sentence(error)}")
                with suppress(OSError, InputError):
                    record = read_record(folder)  # refused input leaves it unchanged
                    if isinstance(error, RunFailed) or (record and record.state == "running"):
                        note(folder, state="failed", error=as_sentence(error), ended=now())
            raise
        seconds = monotonic() - start
        log(f"done in {as_time(seconds)}")
        return Outcome(folder, "done", seconds=seconds, notebooks=tuple(notebooks))

    def stop(self) -> None:
        """Ends the run, from any thread; it counts as no failure."""
        self.is_stopped = True
        self.kernel.kill()

    def close(self) -> None:
        """Ends the kernel."""
        self.kernel.close()


class Local:
    """The engine of this machine: its jobs are kernels. A single one shows all that its notebooks print.

    An engine is where the runs of a sweep are executed; `sweep.ray_engine` has another one.
    """

    prepare = None  # as in `build_store`: makes missing stores before the runs; None = their notebooks do

    def room(self) -> int:
        """How many runs fit at once, unless the user says how many."""
        return 1

    def jobs(self, count: int, echo: Echo) -> list[Job]:
        """`count` jobs, or objects with their methods."""
        if count == 1:
            return [Job(*share(0, 1), echo, sys.stderr if sys.stderr.isatty() else None)]
        if 0 < (cards := len(gpus())) < count:
            echo(f"{count} jobs share the memory of {cards} GPU{'s' * (cards > 1)}; if it is full, give fewer --jobs")
        return [Job(*share(job, count)) for job in range(count)]


class Sweep:
    """Executes the runs of a grid.

    runs : from `workbook.sweep.grid.plan`      jobs : runs at once, None = as many as fit
    engine : such as `Local()`, which None stands for      minutes : limit for each run, 0 = none
    echo : gets a line whenever a run ends; with one job, also what its notebooks print
    """

    def __init__(
        self,
        runs: list[Parameters],
        *,
        jobs: int | None = None,
        engine: Any = None,
        minutes: float = 0,
        echo: Echo = lambda line: None,
    ):
        self.configs = {config.folder: config for config in runs}
        self.minutes, self.echo, self.engine = minutes, echo, engine or Local()
        self.count = min(jobs or self.engine.room(), len(runs))
        self.stores = {folder: config.corpus.store_path for folder, config in self.configs.items()}
        self.remaining = list(self.configs)  # those that other processes have claimed come last
        self.claimed: set[Path] = set()
        self.running: set[Path] = set()
        self.outcomes: dict[Path, Outcome] = {}
        self.begin, self.started = monotonic(), now()
        self.lock, self.stopped = threading.RLock(), threading.Event()

    def run(self) -> list[Outcome]:
        """The outcome of each run that ended, in the order of the grid. Ctrl-C ends all jobs first."""
        if self.engine.prepare:
            self._make_stores()
        jobs = self.engine.jobs(self.count, self.echo)

        def stop() -> None:
            self.stopped.set()
            self._show("")
            for job in jobs:
                job.stop()

        in_threads([partial(self._work, job) for job in jobs], stop, lambda: self._show(self._progress()))
        self._show("")
        return [self.outcomes[folder] for folder in self.configs if folder in self.outcomes]

    def _make_stores(self) -> None:
        """Makes the stores of clips that the runs need; where that fails, their runs have failed."""
        configs = [config for config in self.configs.values() if "preprocess" in notebooks_left(config)]
        for store, config in {self.stores[config.folder]: config for config in configs}.items():
            try:
                config.corpus.preprocess(prepare=self.engine.prepare)
            except (InputError, OSError) as error:
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                for folder in (config.folder for config in configs if self.stores[config.folder] == store):
                    self.remaining.remove(folder)
                    self._note(Outcome(folder, "failed", as_sentence(error)))

    def _work(self, job: Job) -> None:
        """One thread: a run after the other, until none is left."""
        with closing(job):
            while folder := self._next():
                how = {"minutes": self.minutes, "prepared": self._prepared(folder)}
                outcome = self._failed_elsewhere(folder) or job.attempt(self.configs[folder], **how)
                with self.lock:
                    self._note(outcome)
                if outcome.state == "claimed":
                    self.stopped.wait(1)

    def _next(self) -> Path | None:
        """The next run for a job, if possible on another store than the running ones; None where none is left."""
        with self.lock:
            if not self.remaining or self.stopped.is_set():
                return None
            shared = {self.stores[folder] for folder in self.running | self.claimed}
            free = (folder for folder in self.remaining if self.stores[folder] not in shared)
            folder = next(free, self.remaining[0])
            self.remaining.remove(folder)
            self.running.add(folder)
            return folder

    def _failed_elsewhere(self, folder: Path) -> Outcome | None:
        """The outcome of a run at which another process has failed since this sweep began: it is not tried again."""
        with suppress(InputError, OSError):  # `Job.attempt` says what is damaged
            record = read_record(folder)
            if record and record.state == "failed" and (record.ended or "") > self.started:
                return Outcome(folder, "failed", record.error or "")

    def _prepared(self, folder: Path) -> Path | None:
        """The folder of a run that has executed preprocess.ipynb on the same store."""
        done = [outcome.folder for outcome in list(self.outcomes.values()) if "preprocess" in outcome.notebooks]
        return next((other for other in done if self.stores[other] == self.stores[folder]), None)

    def _note(self, outcome: Outcome) -> None:
        """Keeps how a run ended, and prints it."""
        self.running.discard(outcome.folder)
        if self.stopped.is_set():
            return
        if outcome.state == "claimed":
            self.remaining.append(outcome.folder)
            if outcome.folder not in self.claimed:
                self.claimed.add(outcome.folder)
                self.echo(f"{outcome.folder}: waiting for another process that has it")
            return
        self.outcomes[outcome.folder] = outcome
        if "train" in outcome.notebooks:  # side by side, the last one to end is none of the reader's choice
            with suppress(InputError, OSError):  # a disk that is full by now stops no other run
                note(outcome.folder, sweep=(self.started, list(self.configs).index(outcome.folder)))
        if outcome.state != "complete":
            result = f"done in {as_time(outcome.seconds)}" if outcome.state == "done" else f"failed: {outcome.reason}"
            self._show("")
            self.echo(f"{outcome.folder}: {result} ({self._progress()})")

    def _progress(self) -> str:
        """Such as `12 of 60 done, 1 failed, 2 running, about 14 min left`."""
        states = [outcome.state for outcome in list(self.outcomes.values())]
        executed, failed = len(states) - states.count("complete"), states.count("failed")
        parts = [f"{len(states) - failed} of {len(self.configs)} done"]
        parts += [f"{count} {state}" for state, count in (("failed", failed), ("running", len(self.running))) if count]
        if executed and len(states) < len(self.configs):
            left = (monotonic() - self.begin) / executed * (len(self.configs) - len(states))
            parts.append(f"about {as_time(left)} left")
        return ", ".join(parts)

    def _show(self, text: str) -> None:
        """Renews the last line of a terminal, where several jobs work."""
        with suppress(OSError):  # the terminal may be closed
            if self.count > 1 and sys.stderr.isatty():
                sys.stderr.write(f"\r\033[K{text}")
                sys.stderr.flush()


def share(job: int, jobs: int) -> tuple[dict[str, str], float]:
    """What one of several jobs may use: variables of its kernel's environment, and bytes of memory.

    The cores are divided among the jobs, unless OMP_NUM_THREADS is set; the GPUs are dealt out in turn.
    """
    variables = {}
    if jobs > 1:
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // jobs)))
        visible = gpus()
        if len(visible) > 1:
            variables["CUDA_VISIBLE_DEVICES"] = visible[job % len(visible)]
    return variables, max(MEMORY_LEAST, MEMORY_SHARE * psutil.virtual_memory().total / jobs)


def cores() -> int:
    """The cores that this process may use; all of the machine where the system cannot restrict them."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if visible is None else visible.split(",")
    return [*names][:count]  # CUDA stops at the first that does not exist, such as -1
