"""Many runs, side by side: complete ones are skipped, failed ones tried again.

Each of several threads has a `Job` and gives it one run after the other. An engine says what a job is: a kernel of this
machine (`Local`), or a worker of a cluster (`sweep.ray_engine`). The claim of a run folder divides the work among
several `avlib run`, also on several machines.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, Protocol

import psutil

from workbook import InputError
from workbook.data.datasets import preprocess, store_path
from workbook.run.claim import PIPELINE, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.records import now, read_record
from workbook.sweep.estimates import Estimates, as_time
from workbook.sweep.job import Job, Outcome
from workbook.sweep.notebooks import Echo, notebooks_left

MEMORY_SHARE, MEMORY_LEAST = 0.5, 3e9  # of the machine for all jobs together; bytes: a kernel with more is replaced


class Engine(Protocol):
    """Where the runs of a sweep are executed."""

    prepare: Callable | None  # as in `build_store`, makes missing stores before the runs; None = their notebooks do

    def room(self) -> int:
        """The runs at the same time, unless the user says how many."""

    def jobs(self, count: int, echo: Echo) -> list[Job]:
        """So many jobs, or what has the methods of jobs."""


class Local:
    """Kernels of this machine. A single one shows all that its notebooks print."""

    prepare = None

    def room(self) -> int:
        return 1

    def jobs(self, count: int, echo: Echo) -> list[Job]:
        if count == 1:
            return [Job(*share(0, 1), echo, sys.stderr if sys.stderr.isatty() else None)]
        return [Job(*share(job, count)) for job in range(count)]


def engine_of(name: Literal["local", "ray"], **of_ray: Any) -> AbstractContextManager[Engine]:
    """A block with the engine of this name.

    of_ray : address, cpus and gpus, as in `workbook.sweep.ray_engine.connected`; None = not given
    """
    given = {option: value for option, value in of_ray.items() if value is not None}
    if name == "ray":
        from workbook.sweep.ray_engine import connected

        return connected(**given)
    if given:
        raise InputError("--address, --cpus-per-run and --gpus-per-run are options of --engine ray: add it")
    return nullcontext(Local())


class Sweep:
    """Executes the runs of a grid.

    runs : the parameters of each, from `workbook.sweep.grid.plan`      jobs : runs at once, None = the engine's room
    minutes : limit for each, 0 = none      fail_fast : True ends all runs after the first failure
    echo : gets a line whenever a run ends; with one job, also what its notebooks print
    """

    def __init__(
        self,
        runs: list[dict[str, Any]],
        *,
        jobs: int | None = None,
        engine: Engine | None = None,
        minutes: float = 0,
        fail_fast: bool = False,
        echo: Echo = lambda line: None,
    ):
        self.configs = {config.folder: config for config in (Parameters(**values) for values in runs)}
        self.values = dict(zip(self.configs, runs, strict=True))
        self.todo, self.claimed = deque(self.configs), deque()  # claimed: waited for in the end
        self.running: dict[Path, float] = {}  # folder -> when it started
        self.outcomes: dict[Path, Outcome] = {}
        self.broken = ""  # why a job has ended before its time
        self.prepared: dict[Path, Path] = {}  # store -> folder of a run that has executed preprocess.ipynb on it
        self.minutes, self.fail_fast, self.echo = minutes, fail_fast, echo
        self.engine = engine or Local()
        self.count = min(jobs or self.engine.room(), len(runs))
        self.started, self.lock, self.stopped = now(), threading.RLock(), threading.Event()
        self.guesses: dict[Path, float | None] = {}  # folder -> seconds in all, for a running one as it began
        self.estimates = Estimates({config.outputs_root for config in self.configs.values()})

    def run(self) -> list[Outcome]:
        """The outcome of each run that ended, in the order of the grid. Ctrl-C ends all jobs first."""
        if self.engine.prepare:
            self._make_stores()
        jobs = self.engine.jobs(self.count, self.echo)
        threads = [threading.Thread(target=self._work, args=(job,), daemon=True) for job in jobs]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and not self.stopped.is_set():
                sleep(0.2)
                self._show()
        finally:
            self.stopped.set()
            while any(thread.is_alive() for thread in threads):
                for job in jobs:
                    job.stop()
                sleep(0.2)
            self._show(last=True)
        if self.broken:
            for folder in self.configs.keys() - self.outcomes.keys():
                self.outcomes[folder] = Outcome(folder, "failed", f"its job ended early: {self.broken}")
        return [self.outcomes[folder] for folder in self.configs if folder in self.outcomes]

    def _make_stores(self) -> None:
        """Makes the stores of clips that the runs need, side by side; where that fails, their runs have failed."""
        needed = [config for config in self.configs.values() if "preprocess" in notebooks_left(config)]
        failed: dict[Path, str] = {}
        for store, config in {_store(config): config for config in needed}.items():
            try:
                preprocess(config.dataset, config.data_root, prepare=self.engine.prepare, **config.of_store)
            except InputError as error:
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                failed[store] = str(error)
        for config in needed:
            if _store(config) in failed:
                self.todo.remove(config.folder)
                self._end(Outcome(config.folder, "failed", failed[_store(config)]))

    def _work(self, job: Job) -> None:
        """One thread: a run after the other, until there is none left."""
        try:
            with closing(job):
                while folder := self._next():
                    outcome = self._attempt(job, folder)
                    self._end(outcome)
                    if outcome.state == "claimed":  # it may look free again at once, where clocks of hosts differ
                        self.stopped.wait(1)
        except Exception as error:  # this job is lost; others go on
            self.broken = "" if self.stopped.is_set() else _sentence(error)

    def _attempt(self, job: Job, folder: Path) -> Outcome:
        """The outcome of a run. An error is one, too, such as a folder that cannot be read."""
        try:
            if outcome := self._failed_elsewhere(folder):
                return outcome
            if self.count == 1 and notebooks_left(self.configs[folder]):
                self.echo(f"run {len(self.outcomes) + 1} of {len(self.configs)}")
            prepared = self.prepared.get(_store(self.configs[folder]))
            return job.attempt(self.values[folder], minutes=self.minutes, prepared=prepared)
        except Exception as error:
            return Outcome(folder, "failed", _sentence(error))

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
                    runs = "1 run" if len(self.claimed) == 1 else f"{len(self.claimed)} runs"
                    self.echo(f"waiting for {runs} of other processes")
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
                self.guesses = {folder: self.guesses[folder] for folder in self.running if self.guesses.get(folder)}
            if "preprocess" in outcome.notebooks:
                self.prepared[_store(self.configs[outcome.folder])] = outcome.folder
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
        ahead = [*self.todo, *self.running]
        for folder in (folder for folder in ahead if folder not in self.guesses):
            self.guesses[folder] = self.estimates.seconds(self.configs[folder])
        spent = {folder: monotonic() - start for folder, start in self.running.items()}
        left = [max(0, self.guesses[folder] - spent.get(folder, 0)) for folder in ahead if self.guesses[folder]]
        return sum(left) / max(1, self.count)

    def _show(self, last: bool = False) -> None:
        """Renews the last line of a terminal, where several jobs work."""
        if self.count > 1 and sys.stderr.isatty():
            with self.lock:
                self._clear_line()
                sys.stderr.write("" if last else self._progress())
                sys.stderr.flush()

    def _clear_line(self) -> None:
        if self.count > 1 and sys.stderr.isatty():
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


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _busy(folder: Path) -> bool:
    return is_claimed(folder, PIPELINE) or is_claimed(folder)


def _store(config: Parameters) -> Path:
    return store_path(config.dataset, config.data_root, **config.of_store)
