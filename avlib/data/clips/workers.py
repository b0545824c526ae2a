"""Clips prepared side by side in processes of their own, so that one that crashes a decoder costs only itself."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from threadpoolctl import threadpool_limits

from avlib import InputError
from avlib.data.clips.prepare import Prepared, prepare_clip
from avlib.files import UNGUARDED


def prepare_all(jobs: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared | None]]:
    """Each row of `jobs` with what became of its trial, in the order in which they finish.

    None stands for a trial that ended its process. A crash does not say which of the clips under way was the cause:
    these are done again one at a time, then the others go on side by side.

    settings : frames, image_size, protocol and audio_features of `prepare_clip`.
    """
    waiting = dict(jobs)
    while waiting:
        running = {}
        try:
            with _pool(workers) as pool:
                _refuse_lame(pool)
                while waiting or running:
                    _submit(pool, waiting, running, settings, limit=1 if workers == 1 else 2 * workers)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        prepared = future.result()
                        yield running.pop(future), prepared
        except BrokenProcessPool:
            suspects = {row: jobs[row] for row in sorted(running.values())}
            waiting = {row: job for row, job in waiting.items() if row not in suspects}
            if len(suspects) == 1:
                yield next(iter(suspects)), None
            else:
                yield from prepare_all(suspects, settings, workers=1)


def _refuse_lame(pool: ProcessPoolExecutor) -> None:
    """Raises InputError where the pool's processes cannot even start: no clip is to blame for that."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise InputError(UNGUARDED) from error


def _submit(pool: ProcessPoolExecutor, waiting: dict, running: dict, settings: dict, limit: int) -> None:
    """Hands waiting trials to the pool until `limit` are under way: few, so that few are in doubt after a crash."""
    while waiting and len(running) < limit:
        row = next(iter(waiting))
        running[pool.submit(prepare_clip, waiting[row], **settings)] = row
        del waiting[row]


def _pool(workers: int) -> ProcessPoolExecutor:
    # Fresh processes: a fork of one that runs PyTorch's threads can hang.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """Keeps this process to one thread of linear algebra, and ends it when the one that started it is gone.

    The clips run side by side already: with threads of their own on top they are several times slower. And a pool
    whose parent was killed would wait for ever.
    """
    threadpool_limits(1)

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
