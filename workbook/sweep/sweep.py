"""Many runs, side by side: complete ones are skipped, failed ones tried again.

Each of several threads has a `Job` and gives it one run after the other. An engine says what a job is: a kernel of this
machine (`Local`), or a worker of a cluster (`sweep.ray_engine`). The claim of a run folder divides the work among
several `avlib run`, also on several machines.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import psutil

from workbook import InputError
from workbook.run.claim import PIPELINE, is_claimed
from workbook.run.parameters import Parameters
from workbook.run.record import note, now, read_record
from workbook.sweep.estimates import Estimates, as_time
from workbook.sweep.job import MEMORY_LEAST, Job, Outcome, as_sentence
from workbook.sweep.notebooks import Echo, notebooks_left

MEMORY_SHARE = 0.5  # of the machine's memory, for the kernels of all jobs together


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


def engine_of(name: Literal["local", "ray"], **ray_options: Any) -> AbstractContextManager:
    """A block with the engine of this name.

    ray_options : address, cpus and gpus, as in `workbook.sweep.ray_engine.connect`; None = its default
    """
    options = {option: value for option, value in ray_options.items() if value is not None}
    if name == "ray":
        from workbook.sweep.ray_engine import connect

        return connect(**options)
    if options:
        raise InputError("--address, --cpus-per-run and --gpus-per-run are options of --engine ray: add it")
    return nullcontext(Local())


class Sweep:
    """Executes the runs of a grid.

    runs : the parameters of each, from `workbook.sweep.grid.plan`      jobs : runs at once, None = as many as fit
    engine : such as `Local()`, which None stands for
    minutes : limit for each, 0 = none      fail_fast : True ends all runs after the first failure
    echo : gets a line whenever a run ends; with one job, also what its notebooks print
    """

    def __init__(
        self,
        runs: list[dict[str, Any]],
        *,
        jobs: int | None = None,
        engine: Any = None,
        minutes: float = 0,
        fail_fast: bool = False,
        echo: Echo = lambda line: None,
    ):
        self.configs = {config.folder: config for config in (Parameters(**values) for values in runs)}
        self.values = dict(zip(self.configs, runs, strict=True))
        self.minutes, self.fail_fast, self.echo = minutes, fail_fast, echo
        self.engine = engine or Local()
        self.count = min(jobs or self.engine.room(), len(runs))
        self.remaining = dict.fromkeys(self.configs, False)  # True = another process had claimed it
        self.running: set[Path] = set()
        self.outcomes: dict[Path, Outcome] = {}
        self.started, self.lock, self.stopped = now(), threading.RLock(), threading.Event()
        self.estimates = Estimates({config.outputs_root for config in self.configs.values()})
        self.end = self._estimated_end()

    def run(self) -> list[Outcome]:
        """The outcome of each run that ended, in the order of the grid. Ctrl-C ends all jobs first."""
        if self.engine.prepare:
            self._make_stores()
        jobs = self.engine.jobs(self.count, self.echo)
        with ThreadPoolExecutor(self.count) as threads:
            work = [threads.submit(self._work, job) for job in jobs]
            try:
                while wait(work, timeout=0.2).not_done and not self.stopped.is_set():
                    self._show(self._progress())
            finally:
                self.stopped.set()
                while wait(work, timeout=0.2).not_done:
                    for job in jobs:
                        job.stop()
                self._show("")
        for thread in work:
            thread.result()  # raises its error
        return [self.outcomes[folder] for folder in self.configs if folder in self.outcomes]

    def _make_stores(self) -> None:
        """Makes the stores of clips that the runs need; where that fails, their runs have failed."""
        configs = [config for config in self.configs.values() if "preprocess" in notebooks_left(config)]
        for store, config in {config.corpus.store_path: config for config in configs}.items():
            try:
                config.corpus.preprocess(prepare=self.engine.prepare)
            except InputError as error:
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
                for folder in (config.folder for config in configs if config.corpus.store_path == store):
                    del self.remaining[folder]
                    self._note(Outcome(folder, "failed", str(error)))

    def _work(self, job: Job) -> None:
        """One thread: a run after the other, until none is left."""
        with closing(job):
            while folder := self._next():
                outcome = self._attempt(job, folder)
                with self.lock:
                    self._note(outcome)
                if outcome.state == "claimed":  # it may look free again at once, where clocks of hosts differ
                    self.stopped.wait(1)

    def _next(self) -> Path | None:
        """The next run for a job; None where none is left. Runs that other processes have claimed come last."""
        is_waiting = False
        while not self.stopped.is_set():
            with self.lock:
                free = (
                    folder for folder, was_claimed in self.remaining.items() if not was_claimed or not _busy(folder)
                )
                if folder := next(free, None):
                    del self.remaining[folder]
                    self.running.add(folder)
                    return folder
                if not self.remaining:
                    return None
                if not self.running and not is_waiting:
                    runs = "1 run" if len(self.remaining) == 1 else f"{len(self.remaining)} runs"
                    self.echo(f"waiting for {runs} of other processes")
                    is_waiting = True
            self.stopped.wait(1)
        return None

    def _attempt(self, job: Job, folder: Path) -> Outcome:
        """The outcome of a run. An error is one, too, such as a folder that cannot be read."""
        try:
            record = read_record(folder)
            if record and record.state == "failed" and (record.ended or "") > self.started:  # in another process
                return Outcome(folder, "failed", record.error or "")
            if self.count == 1 and notebooks_left(self.configs[folder]):
                self.echo(f"run {len(self.outcomes) + 1} of {len(self.configs)}")
            return job.attempt(self.values[folder], minutes=self.minutes, prepared=self._prepared(folder))
        except Exception as error:
            return Outcome(folder, "failed", as_sentence(error))

    def _prepared(self, folder: Path) -> Path | None:
        """The folder of a run that has executed preprocess.ipynb on the same store."""
        done = [outcome.folder for outcome in self.outcomes.values() if "preprocess" in outcome.notebooks]
        store = self.configs[folder].corpus.store_path
        return next((other for other in done if self.configs[other].corpus.store_path == store), None)

    def _note(self, outcome: Outcome) -> None:
        """Notes how a run ended, and says it."""
        self.running.discard(outcome.folder)
        if self.stopped.is_set():
            return
        if outcome.state == "claimed":
            self.remaining[outcome.folder] = True
            return
        self.outcomes[outcome.folder] = outcome
        if outcome.state == "done":
            self.estimates.add(outcome.folder)
        if "train" in outcome.notebooks:  # side by side, the last one to end is none of the reader's choice
            note(outcome.folder, sweep=(self.started, list(self.configs).index(outcome.folder)))
        self.end = self._estimated_end()
        if outcome.state != "complete":
            result = f"done in {as_time(outcome.seconds)}" if outcome.state == "done" else f"failed: {outcome.reason}"
            self._show("")
            self.echo(f"{outcome.folder}: {result} ({self._progress()})")
        if self.fail_fast and outcome.state == "failed":
            self.stopped.set()

    def _progress(self) -> str:
        """Such as `12 of 60 done, 1 failed, 2 running, about 14 min left`."""
        failures = sum(outcome.state == "failed" for outcome in list(self.outcomes.values()))
        parts = [f"{len(self.outcomes) - failures} of {len(self.configs)} done"]
        parts += [f"{failures} failed"] if failures else []
        parts += [f"{len(self.running)} running"] if self.running else []
        left = self.end - monotonic()
        return ", ".join(parts + ([f"about {as_time(left)} left"] if left > 0 else []))

    def _estimated_end(self) -> float:
        """When all runs will have ended, by `time.monotonic`; runs like none that is recorded count as nothing."""
        left = sum(self.estimates.seconds(self.configs[folder]) or 0 for folder in [*self.remaining, *self.running])
        return monotonic() + left / self.count

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

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    return [name for name in visible.split(",") if name]


def _busy(folder: Path) -> bool:
    return is_claimed(folder, PIPELINE) or is_claimed(folder)
