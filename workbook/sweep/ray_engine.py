"""Runs and clips as tasks of a Ray cluster. The only file that imports Ray.

Each job of a sweep is a `Job` in a process of the cluster, an actor with CPUs and a share of a GPU. When its process or
its node dies, another one tries the run again; the claim of the run folder keeps it from being done twice. All nodes
need the same folders under the same paths.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import workbook
from workbook import InputError
from workbook.run.parameters import Parameters
from workbook.run.record import as_sentence
from workbook.sweep.notebooks import Echo
from workbook.sweep.sweep import MEMORY_LEAST, Job, Outcome
from workbook.text import one_line

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed here: pip install 'avlib[ray]'") from None

ANSWER = 20  # seconds in which a cluster must answer, most of them for importing Ray on a busy machine
GRACE = 5  # seconds in which a job must end its kernel
RETRIES = 3  # how often a run or a shard is repeated because its process has died
SHARD_LEAST, SHARD_MOST = 8, 64  # clips: a shard pays for importing libraries, and is held in memory as a whole


@contextmanager
def connect(address: str | None = None, cpus: float = 1, gpus: float = 0) -> Iterator["RayEngine"]:
    """A block with the engine of a cluster, which gives each run these CPUs and GPUs.

    address : host:port of the head; None = $RAY_ADDRESS, or the cluster of this machine, or a new one for this block
    Raises InputError where no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a new cluster sends nothing to Ray's authors
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        address = "auto" if _answers("auto") else "local"
    elif address != "local" and not _answers(address):
        raise InputError(f"no Ray cluster answers at {address}: give host:port as `ray start --head` has printed it")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    variables["AVLIB_DATA"] = str(workbook.DATA)
    try:
        ray.init(address, runtime_env={"env_vars": variables}, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises all kinds, also plain ones
        raise InputError(f"the Ray cluster at {address} cannot be used: {one_line(error)}") from None
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray has set its own
    try:
        yield RayEngine(cpus, gpus)
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Whether a cluster answers in time. Another process asks it: in this one Ray would try for two minutes."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        check = subprocess.run([*command, "--address", address], capture_output=True, timeout=ANSWER)
    except subprocess.TimeoutExpired:
        return False
    return check.returncode == 0 or b"AuthenticationError" in check.stderr  # this command sends no token


class RayEngine:
    """The engine of a cluster, as `Sweep` needs it: jobs with CPUs and GPUs each, and shards of clips."""

    def __init__(self, cpus: float, gpus: float):
        self.needs = {"CPU": cpus, "GPU": gpus}
        self.variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, int(cpus))))}
        if not gpus:
            self.variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides GPUs only from jobs that have some

    def room(self) -> int:
        """How many runs fit on the cluster at once; InputError where not even one does."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        shares = {kind: share for kind, share in self.needs.items() if share}
        room = sum(int(min(node.get(kind, 0) / share for kind, share in shares.items())) for node in nodes)
        if not room:
            needs = " and ".join(f"{share:g} {kind}s" for kind, share in shares.items())
            raise InputError(f"no node of the cluster has {needs}: ask for less, or give --jobs where it starts nodes")
        return room

    def jobs(self, count: int, echo: Echo) -> list["RayJob"]:
        return [RayJob(self.variables, self.needs) for _ in range(count)]

    def prepare(self, trials: dict[int, dict], settings: dict) -> Iterator[tuple[int, Any]]:
        """Each row of `trials` with its result, as `prepare_all` yields it. Shards of clips are tasks.

        Raises InputError at the end where the cluster has lost a shard for good.
        """
        shards, failure = _shards(trials, round(ray.cluster_resources().get("CPU", 1))), ""
        tasks = [_prepare_shard.remote(shard, settings) for shard in shards]
        try:
            while tasks:
                (task,), tasks = ray.wait(tasks)
                try:
                    yield from ray.get(task)
                except RayError as error:
                    failure = _sentence(error)
        finally:
            for task in tasks:
                ray.cancel(task, force=True)
        if failure:
            raise InputError(f"some clips could not be prepared on the cluster, {failure}: run it again to go on")


def _shards(trials: dict[int, dict], cpus: int) -> list[dict[int, dict]]:
    """The trials in shards, a few for each CPU."""
    size, rows = min(SHARD_MOST, max(SHARD_LEAST, len(trials) // (4 * cpus))), [*trials]
    return [{row: trials[row] for row in rows[start : start + size]} for start in range(0, len(rows), size)]


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _prepare_shard(trials: dict[int, dict], settings: dict) -> list[tuple[int, Any]]:
    from workbook.data.prepare import prepare_all

    return [*prepare_all(trials, settings, 1)]


class _Worker(Job):
    """A `Job` whose runs get the defaults, such as the device, of its own node."""

    def attempt(self, values: dict[str, Any], **settings: Any) -> Outcome:
        return super().attempt(Parameters(**values), **settings)


class RayJob:
    """A `Job` in a process of the cluster, with its methods. When the process dies, it gets another one.

    Ray's own retries of a call give up within a second while the cluster does not know yet that a node has died.
    """

    def __init__(self, variables: dict[str, str], needs: dict[str, float]):
        """variables : of the kernel's environment      needs : share of CPUs and GPUs"""
        self.variables, self.needs = variables, {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}
        self.actor, self.grace_ends = self._start(), None  # grace_ends : after stop

    def _start(self):
        actor = ray.remote(_Worker).options(**self.needs, max_concurrency=2)  # two calls at once: attempt and stop
        return actor.remote(self.variables, MEMORY_LEAST)

    def attempt(self, config: Parameters, *, minutes: float = 0, prepared: Path | None = None) -> Outcome:
        values, reason = config.model_dump(mode="json", include=config.model_fields_set), ""
        for _ in range(1 + RETRIES):
            try:
                return ray.get(self.actor.attempt.remote(values, minutes=minutes, prepared=prepared))
            except RayError as error:
                reason = _sentence(error)
                if self.grace_ends or not isinstance(error, RayActorError):
                    break
                ray.kill(self.actor)
                self.actor = self._start()
        return Outcome(config.folder, "failed", reason)

    def stop(self) -> None:
        """Ends the run. A job that has not even started, or does not answer in time, is ended from outside."""
        self.grace_ends = self.grace_ends or monotonic() + GRACE
        if monotonic() < self.grace_ends:
            self.actor.stop.remote()
        else:
            ray.kill(self.actor)

    def close(self) -> None:
        with suppress(RayError):  # or no answer in time
            ray.get(self.actor.close.remote(), timeout=GRACE)
        ray.kill(self.actor)


def _sentence(error: RayError) -> str:
    """Why a call has failed for good."""
    if isinstance(error, RayTaskError):
        return as_sentence(error.cause)
    return f"its process on the cluster died {RETRIES + 1} times ({one_line(error)[:200].rstrip('.')})"
