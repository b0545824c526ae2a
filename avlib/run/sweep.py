"""Many runs, side by side: each is claimed, logged and limited; complete ones are skipped, failed ones tried again.

A job is a thread with a `Kernel` that stays. The claim of a run folder divides the work among several `avlib run`, also
on several machines.
"""

import os
import platform
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, TextIO

import psutil

from avlib import InputError
from avlib.data.datasets import store_path
from avlib.files import atomic_write
from avlib.run.claim import PIPELINE, Claimed, claim, is_claimed
from avlib.run.estimates import Estimates, as_time
from avlib.run.kernels import Kernel
from avlib.run.notebooks import Echo, RunFailed, notebooks_left, run_pipeline
from avlib.run.params import Parameters
from avlib.run.records import LOG, note, now, read_record

MEMORY_SHARE, MEMORY_LEAST = 0.5, 3e9  # of the machine for all jobs together; bytes: a kernel with more is replaced


@dataclass(frozen=True)
class Outcome:
    """How one run of a sweep ended."""

    folder: Path
    state: Literal["done", "complete", "failed", "claimed"]  # complete = it was before; claimed = by another process
    reason: str = ""  # of a failure or a claim
    seconds: float = 0


def attempt(
    values: dict[str, Any],
    kernel: Kernel,
    *,
    minutes: float = 0,
    echo: Echo = lambda line: None,
    terminal: TextIO | None = None,
    stopped: threading.Event | None = None,
    prepared: dict[Path, Path] | None = None,
) -> Outcome:
    """Executes what a run still needs, with its folder claimed and a log in it. An error becomes the outcome.

    values : the run's parameters      minutes : beyond them it is killed and counts as failed; 0 = no limit
    echo : gets each line of the notebooks      terminal : shows progress bars while they change
    stopped : is set where the kernel is killed because all runs end, so that this counts as no failure
    prepared : the stores that other runs have prepared, with their folders; this run's is added
    """
    config, start, lost = Parameters(**values), monotonic(), threading.Event()
    folder, stopped = config.folder, stopped or threading.Event()
    try:
        if not notebooks_left(config):
            return Outcome(folder, "complete")
        with claim(folder, PIPELINE, on_loss=lambda: (lost.set(), kernel.kill())):
            if is_claimed(folder):
                return Outcome(folder, "claimed", "a process that executes one of its notebooks")
            left = notebooks_left(config)  # another process may just have done it
            if not left:
                return Outcome(folder, "complete")
            with _logged(folder, echo, lambda: lost.is_set() or stopped.is_set()) as said, _limited(kernel, minutes):
                left = _without_preprocess(left, config, said, prepared if prepared is not None else {})
                run_pipeline(values, left, said, kernel=kernel, terminal=terminal)
    except Claimed as error:
        return Outcome(folder, "claimed", str(error))
    except Exception as error:
        if lost.is_set():
            return Outcome(folder, "claimed", "another process, since this one was silent for too long")
        kind = "" if isinstance(error, InputError | RunFailed) else f"{type(error).__name__}: "
        return Outcome(folder, "failed", kind + " ".join(str(error).split()), monotonic() - start)
    if prepared is not None and "preprocess" in left:
        prepared[_store(config)] = folder
    return Outcome(folder, "done", seconds=monotonic() - start)


def _without_preprocess(left: list[str], config: Parameters, echo: Echo, prepared: dict[Path, Path]) -> list[str]:
    """The notebooks without preprocess, where another run has executed it on the same store: it is copied."""
    source = prepared.get(_store(config), Path()) / "preprocess.ipynb"
    if "preprocess" not in left or not source.is_file():
        return left
    with atomic_write(config.folder / source.name) as copy:
        shutil.copyfile(source, copy)
    echo(f"preprocess: copied from {source}, since the store is the same")
    return [name for name in left if name != "preprocess"]


def _store(config: Parameters) -> Path:
    return store_path(config.dataset, config.data_root, **config.of_store)


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


class Sweep:
    """Executes the runs of a grid.

    runs : the parameters of each, from `avlib.run.grid.plan`      jobs : runs at the same time
    minutes : limit for each, 0 = none      fail_fast : True ends all runs after the first failure
    echo : gets a line whenever a run ends; with one job, also what its notebooks print
    """

    def __init__(
        self,
        runs: list[dict[str, Any]],
        *,
        jobs: int = 1,
        minutes: float = 0,
        fail_fast: bool = False,
        echo: Echo = lambda line: None,
    ):
        self.configs = {config.folder: config for config in (Parameters(**values) for values in runs)}
        self.values = dict(zip(self.configs, runs, strict=True))
        self.todo, self.claimed = deque(self.configs), deque()  # claimed: waited for in the end
        self.running: dict[Path, float] = {}  # folder -> when it started
        self.outcomes: dict[Path, Outcome] = {}
        self.prepared: dict[Path, Path] = {}  # store -> folder of a run that has executed preprocess.ipynb on it
        self.minutes, self.fail_fast, self.echo = minutes, fail_fast, echo
        self.kernels = [Kernel(*share(job, jobs)) for job in range(min(jobs, len(runs)))]
        self.started, self.lock, self.stopped = now(), threading.RLock(), threading.Event()
        self.estimates = Estimates({config.outputs_root for config in self.configs.values()})

    def run(self) -> list[Outcome]:
        """The outcome of each run that ended, in the order of the grid. Ctrl-C ends all kernels first."""
        jobs = [threading.Thread(target=self._work, args=(kernel,), daemon=True) for kernel in self.kernels]
        try:
            for job in jobs:
                job.start()
            while any(job.is_alive() for job in jobs) and not self.stopped.is_set():
                sleep(0.2)
                self._show()
        finally:
            self.stopped.set()
            while any(job.is_alive() for job in jobs):
                for kernel in self.kernels:
                    kernel.kill()
                sleep(0.2)
            self._show(last=True)
        return [self.outcomes[folder] for folder in self.configs if folder in self.outcomes]

    def _work(self, kernel: Kernel) -> None:
        """One job: a run after the other, until there is none left."""
        alone = len(self.kernels) == 1
        echo = self.echo if alone else lambda line: None
        terminal = sys.stderr if alone and sys.stderr.isatty() else None
        with kernel:
            while folder := self._next():
                outcome = self._failed_elsewhere(folder)
                if outcome is None:
                    if alone and notebooks_left(self.configs[folder]):
                        self.echo(f"run {len(self.outcomes) + 1} of {len(self.configs)}")
                    settings = {"minutes": self.minutes, "stopped": self.stopped, "prepared": self.prepared}
                    outcome = attempt(self.values[folder], kernel, echo=echo, terminal=terminal, **settings)
                self._end(outcome)

    def _next(self) -> Path | None:
        """The next run for this job; None where there is none left. Waits for the runs that others have claimed."""
        told = False
        while not self.stopped.is_set():
            with self.lock:
                free = next((folder for folder in self.claimed if not _busy(folder)), None)
                if self.todo or free:
                    folder = self.todo.popleft() if self.todo else free
                    if folder is free:
                        self.claimed.remove(folder)
                    self.running[folder] = monotonic()
                    return folder
                if not self.claimed:
                    return None
                if not told and not self.running:
                    self.echo(f"waiting for {len(self.claimed)} runs at which other processes are at work")
                    told = True
            sleep(1)
        return None

    def _failed_elsewhere(self, folder: Path) -> Outcome | None:
        """The outcome of a run that another `avlib run` has tried without success since this one began."""
        with suppress(InputError):
            record = read_record(folder) or {}
            if record.get("state") == "failed" and (record.get("ended") or "") > self.started:
                return Outcome(folder, "failed", record["error"])
        return None

    def _end(self, outcome: Outcome) -> None:
        """Notes how a run ended, and tells it."""
        with self.lock:
            self.running.pop(outcome.folder, None)
            if self.stopped.is_set():
                return
            if outcome.state == "claimed":
                self.claimed.append(outcome.folder)
                return
            self.outcomes[outcome.folder] = outcome
            if outcome.state == "done":
                self.estimates.add(outcome.folder)
            if outcome.state != "complete":
                how = f"done in {as_time(outcome.seconds)}" if outcome.state == "done" else f"failed: {outcome.reason}"
                self._clear_line()
                self.echo(f"{outcome.folder}: {how} ({self._progress()})")
            if self.fail_fast and outcome.state == "failed":
                self.stopped.set()

    def _progress(self) -> str:
        """Such as `12 of 60 done, 1 failed, 2 running, about 14 min left`."""
        states = [outcome.state for outcome in self.outcomes.values()]
        failed, said = states.count("failed"), [f"{len(states) - states.count('failed')} of {len(self.configs)} done"]
        said += [f"{failed} failed"] if failed else []
        said += [f"{len(self.running)} running"] if self.running else []
        left = self._seconds_left()
        return ", ".join(said + ([f"about {as_time(left)} left"] if left else []))

    def _seconds_left(self) -> float:
        """The seconds until all runs have ended; 0 where nothing like them was recorded."""
        elapsed = {folder: monotonic() - start for folder, start in self.running.items()}
        ahead = [(self.configs[folder], elapsed.get(folder, 0)) for folder in [*self.todo, *self.running]]
        guesses = [(self.estimates.seconds(config), spent) for config, spent in ahead]
        return sum(max(0, guess - spent) for guess, spent in guesses if guess) / max(1, len(self.kernels))

    def _show(self, last: bool = False) -> None:
        """Renews the last line of a terminal, where several jobs work."""
        if len(self.kernels) > 1 and sys.stderr.isatty():
            with self.lock:
                self._clear_line()
                sys.stderr.write("" if last else self._progress())
                sys.stderr.flush()

    def _clear_line(self) -> None:
        if len(self.kernels) > 1 and sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def share(job: int, jobs: int) -> tuple[dict[str, str], float]:
    """What one of several jobs may use: variables of its kernel's environment, and bytes of memory.

    The cores are divided among the jobs, unless OMP_NUM_THREADS is set; the GPUs are dealt out in turn.
    """
    variables = {}
    if jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // jobs)))
        visible = gpus()
        if len(visible) > 1:
            variables["CUDA_VISIBLE_DEVICES"] = visible[job % len(visible)]
    return variables, max(MEMORY_LEAST, MEMORY_SHARE * psutil.virtual_memory().total / jobs)


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given is not None else [str(number) for number in range(torch.cuda.device_count())]


def _busy(folder: Path) -> bool:
    return is_claimed(folder, PIPELINE) or is_claimed(folder)
