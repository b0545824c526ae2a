"""Clips prepared side by side in processes of their own, so that one that crashes a decoder costs only itself."""

import os
import resource
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess

from threadpoolctl import threadpool_limits

from workbook import InputError
from workbook.data.faults import MEMORY, Fault
from workbook.data.prepare import Prepared, prepare_clip
from workbook.files import UNGUARDED, UNGUARDED_EXIT

PATIENCE = 8  # faults in a row after which the other clips of a round are left: the machine cannot read now
SECONDS = 300  # of computing that one clip may take; one of seconds takes one
TOO_LARGE = 98  # how a process ends that takes more memory than a clip may
OUTSIDE = {-number for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}  # no clip's doing
ENDS = {  # how a process ended twice that had one clip to read -> what the clip does
    TOO_LARGE: f"takes more than {MEMORY / 2**30:.0f} GB of memory",
    -signal.SIGPROF: f"takes more than {SECONDS} s of computing",
}
CRASH = "makes the decoder crash"  # of any other end


def prepare_all(jobs: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared | Fault]]:
    """Each row of `jobs` with what became of its trial, in the order in which they finish.

    What the machine could not read, and what was under way when a process ended, is tried twice more, one at a time. A
    clip that ends its process both times is a problem, unless the process was ended from outside. What is still in
    doubt then is a Fault, at the end.

    settings : frames, image_size, protocol and audio_features of `prepare_clip`.
    """
    faults: dict[int, list[Fault]] = defaultdict(list)
    waiting = jobs
    for count in (workers, 1, 1):
        again = {}
        for row, outcome in _round(waiting, settings, count):
            if isinstance(outcome, Prepared):
                yield row, outcome
            else:
                faults[row].append(outcome)
                again[row] = jobs[row]
        waiting = again
    for row, job in waiting.items():
        yield row, _left_out(job, faults[row][1:]) or faults[row][-1]


def _left_out(trial: dict, ends: list[Fault]) -> Prepared | None:
    """What becomes of a trial that ended its own process each time; None where the machine may be to blame."""
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY  # libraries crash for want of memory
    if limited or any(end.code is None or end.code in OUTSIDE for end in ends):
        return None
    path = trial["video_path"] or trial["audio_path"]
    reason = f"the clip {ENDS.get(ends[-1].code, CRASH)}: it is left out"
    return Prepared(
        {}, [{"clip": trial["clip"], "path": path, "modality": "audio and video", "reason": reason}], None, None
    )


def _round(jobs: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared | Fault]]:
    """Each row of `jobs`, tried once. After a crash all clips under way are in doubt; a new pool takes the others."""
    waiting, in_a_row, fault = dict(jobs), 0, None
    while waiting and in_a_row < PATIENCE:
        running: dict[Future, int] = {}
        crashed: list[int] = []
        with _pool(workers) as pool:
            process, fault = _start(pool)
            in_a_row += PATIENCE // 2 if fault else 0
            try:
                while (waiting or running) and in_a_row < PATIENCE and not (fault and fault.spent):
                    _submit(pool, waiting, running, settings, limit=1 if workers == 1 else 2 * workers)
                    future = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
                    outcome = _outcome(future)
                    fault = outcome if isinstance(outcome, Fault) else None
                    in_a_row = in_a_row + 1 if fault else 0
                    yield running.pop(future), outcome
                waiting = {row: jobs[row] for row in running.values()} | waiting
            except BrokenProcessPool:
                crashed = list(running.values())
            pool.shutdown(cancel_futures=True)
        if crashed:
            in_a_row, fault = in_a_row + 1, _ended(process.exitcode if workers == 1 else None)
            yield from ((row, fault) for row in crashed)
    yield from ((row, fault) for row in waiting)


def _start(pool: ProcessPoolExecutor) -> tuple[BaseProcess | None, Fault | None]:
    """The first process of a pool, and a fault where it cannot even start: no clip is to blame for that.

    Raises InputError where the script that asks for the pool is the reason.
    """
    before = {*active_children()}
    future = pool.submit(os.getpid)
    process = next(iter({*active_children()} - before), None)
    try:
        future.result()
    except BrokenProcessPool as error:
        pool.shutdown()
        code = process.exitcode if process else None
        script = getattr(sys.modules["__main__"], "__file__", None)
        if code == UNGUARDED_EXIT or (script and not os.path.exists(script)):  # "<stdin>"
            raise InputError(UNGUARDED) from error
        how = f"by signal {-code}" if code and code < 0 else f"with exit code {code}"
        return process, Fault(f"the processes that prepare clips end as they start, {how}", spent=True)
    return process, None


def _submit(pool: ProcessPoolExecutor, waiting: dict, running: dict, settings: dict, limit: int) -> None:
    """Hands waiting trials to the pool until `limit` are under way: few, so that few are in doubt after a crash."""
    while waiting and len(running) < limit:
        row = next(iter(waiting))
        running[pool.submit(_within_limits, prepare_clip, waiting[row], settings)] = row
        del waiting[row]


def _outcome(future: Future) -> Prepared | Fault:
    try:
        return future.result()
    except Fault as fault:
        return fault
    except MemoryError:
        return Fault("there is too little memory", spent=True)


def _ended(code: int | None) -> Fault:
    how = f"by signal {-code}" if code and code < 0 else "from outside or by a fault in a decoder"
    return Fault(f"the process that read it was ended {how}", code)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Fresh processes: a fork of one that runs PyTorch's threads can hang.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    # All processes start with the first job, as Python does for forks alone. A process that starts while another
    # crashes is missed by the thread that ends them all, and then waited for without end.
    pool._safe_to_dynamically_spawn_children = False
    return pool


def _start_worker() -> None:
    """Keeps this process to one thread of linear algebra, and ends it when the one that started it is gone.

    The clips run side by side already: with threads of their own on top they are several times slower. And a pool
    whose parent was killed would wait for ever. A process that takes more than MEMORY ends, too.
    """
    threadpool_limits(1)

    def watch() -> None:
        while parent_process().is_alive():
            if _resident() > MEMORY:
                os._exit(TOO_LARGE)
            parent_process().join(timeout=0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _resident() -> int:
    """The bytes of memory that this process has taken; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _within_limits(prepare: Callable, trial: dict, settings: dict) -> Prepared:
    """What `prepare_clip` returns. A clip that takes more than SECONDS of computing ends this process."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return prepare(trial, **settings)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
