"""Runs and clips as tasks of a Ray cluster. The only file that imports Ray.

Each job of a sweep is a `Job` in a process of the cluster, an actor with CPUs and a share of a GPU. When its process or
its node dies, the run is tried again in another one. The claim of the run folder keeps it from being done twice. All
nodes need the same folders under the same paths.
"""

import os
import signal
import socket
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
from workbook.sweep.job import Job, Outcome
from workbook.sweep.notebooks import Echo
from workbook.sweep.sweep import MEMORY_LEAST

try:
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed here: pip install 'avlib[ray]'") from None

CONNECT = 5  # seconds in which the address of a cluster must take a connection
ANSWER = 20  # seconds in which it must answer as Ray, most of them for importing Ray on a busy machine
GRACE = 5  # seconds in which a job must end its kernel
RETRIES = 3  # times that a run or a shard is repeated because its process has died
SHARD_LEAST, SHARD_MOST = 8, 64  # clips: a shard pays for importing libraries, and is held in memory as a whole


@contextmanager
def connected(address: str | None = None, cpus: float = 1, gpus: float = 0) -> Iterator["RayEngine"]:
    """A block with the engine of a cluster, which gives each run so many CPUs and GPUs.

    address : host:port of the head; None = $RAY_ADDRESS, or the cluster of this machine, or a new one for this block
    Raises InputError where no cluster answers.
    """
    if gpus > 1 and gpus % 1:
        raise InputError(f"--gpus-per-run is {gpus:g}: give a whole number, or a part of 1")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of a new one: it sends nothing to Ray's authors
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        address = "auto" if _answers("auto") else "local"
    elif address != "local" and not _answers(address):
        raise InputError(f"no Ray cluster answers at {address}: give host:port as `ray start --head` has printed it")
    of_command = signal.getsignal(signal.SIGTERM)
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    variables["AVLIB_DATA"] = str(workbook.DATA)
    try:
        ray.init(address, runtime_env={"env_vars": variables}, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises all kinds, also plain ones
        raise InputError(f"the Ray cluster at {address} cannot be used: {' '.join(str(error).split())}") from None
    signal.signal(signal.SIGTERM, of_command)  # Ray has set its own
    try:
        yield RayEngine(cpus, gpus)
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Whether a cluster answers in time. It is asked in another process: in this one Ray would try for two minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except (OSError, OverflowError, ValueError):
            return False
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        done = subprocess.run([*command, "--address", address], capture_output=True, timeout=ANSWER)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 or b"AuthenticationError" in done.stderr  # this command sends no token


class RayEngine:
    """The engine of a cluster, as `Sweep` needs it: jobs with so many CPUs and GPUs each, and who prepares clips."""

    def __init__(self, cpus: float, gpus: float):
        self.needs = {"CPU": cpus, "GPU": gpus}
        self.variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, int(cpus))))}
        if not gpus:
            self.variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides GPUs only from who has some

    def room(self) -> int:
        """The runs that the cluster has room for at the same time; InputError where there is none for a single one."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = {kind: share for kind, share in self.needs.items() if share}
        room = sum(int(min(node.get(kind, 0) / share for kind, share in needs.items())) for node in nodes)
        if not room:
            asked = " and ".join(f"{share:g} {kind}s" for kind, share in needs.items())
            raise InputError(f"no node of the cluster has {asked}: ask for less, or give --jobs where it starts nodes")
        return room

    def jobs(self, count: int, echo: Echo) -> list["RayJob"]:
        return [RayJob(self.variables, self.needs) for _ in range(count)]

    def prepare(self, trials: dict[int, dict], settings: dict) -> Iterator[tuple[int, Any]]:
        """Each row of `trials` with what became of it, as `prepare_all` yields it. Shards of clips are tasks.

        Raises InputError at the end where the cluster has lost a shard for good.
        """
        shards, failure = _shards(trials, round(ray.cluster_resources().get("CPU", 1))), ""
        waiting = [_prepare_shard.remote(shard, settings) for shard in shards]
        try:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                try:
                    yield from ray.get(done)
                except RayError as error:
                    failure = _sentence(error)
        finally:
            for task in waiting:
                ray.cancel(task, force=True)
        if failure:
            raise InputError(f"some clips could not be prepared on the cluster, {failure}: run it again to go on")


def _shards(trials: dict[int, dict], cpus: int) -> list[dict[int, dict]]:
    """The trials in shards, a few for each CPU."""
    size, rows = min(SHARD_MOST, max(SHARD_LEAST, len(trials) // (4 * cpus))), [*trials]
    return [{row: trials[row] for row in rows[start : start + size]} for start in range(0, len(rows), size)]


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _prepare_shard(trials: dict[int, dict], settings: dict) -> list[tuple[int, Any]]:
    from workbook.data.workers import prepare_all

    return [*prepare_all(trials, settings, 1)]


class RayJob:
    """A `Job` in a process of the cluster, with its methods. When the process dies, it gets another one.

    Ray's own way to repeat a call would give up within a second where a node has died and nobody knows it yet.
    """

    def __init__(self, variables: dict[str, str], needs: dict[str, float]):
        """variables : of the kernel's environment      needs : how much of a CPU and of a GPU"""
        self.variables, self.needs = variables, {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"]}
        self.actor, self.last_moment = self._start(), None  # last_moment : after stop

    def _start(self):
        actor = ray.remote(Job).options(**self.needs, max_concurrency=2)  # two calls at once: attempt and stop
        return actor.remote(self.variables, MEMORY_LEAST)

    def attempt(self, values: dict[str, Any], *, minutes: float = 0, prepared: Path | None = None) -> Outcome:
        reason = ""
        for _ in range(1 + RETRIES):
            try:
                return ray.get(self.actor.attempt.remote(values, minutes=minutes, prepared=prepared))
            except RayError as error:
                reason = _sentence(error)
                if self.last_moment or not isinstance(error, RayActorError):
                    break
                ray.kill(self.actor)
                self.actor = self._start()
        return Outcome(Parameters(**values).folder, "failed", reason)

    def stop(self) -> None:
        """Ends the run. A job that has not even started, or does not answer in time, is ended from outside."""
        self.last_moment = self.last_moment or monotonic() + GRACE
        if monotonic() < self.last_moment:
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
        return f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}"
    return f"its process on the cluster died {RETRIES + 1} times ({str(error).splitlines()[0].rstrip('.')})"
