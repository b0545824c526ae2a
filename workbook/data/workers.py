"""Clips prepared side by side in processes of their own: a clip that crashes a decoder costs only itself."""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread

import psutil
from pebble import ProcessExpired, ProcessPool
from threadpoolctl import threadpool_limits

from workbook import InputError
from workbook.data.prepare import Prepared, prepare_clip
from workbook.files import UNGUARDED

SECONDS = 600  # that one clip may take; a film of seconds takes one
MEMORY = 4 * 2**30  # bytes that preparing one clip may take, with all libraries; a film of seconds takes 0.6 GB
TOO_LARGE = 98  # exit code of a process that takes more


def prepare_all(trials: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared]]:
    """Each row of `trials` with its prepared clip, in the order in which they finish.

    A clip that ends its process is tried twice more, alone; if that fails as well, it is a problem.

    settings : frames, image_size, protocol and audio_features of `prepare_clip`
    Raises InputError where no process can start, and as `prepare_clip` does.
    """
    remaining = trials
    for count in (workers, 1, 1):
        reasons = {}
        for row, outcome in _attempt(remaining, settings, count):
            if isinstance(outcome, Prepared):
                yield row, outcome
            else:
                reasons[row] = outcome
        remaining = {row: trials[row] for row in reasons}
    for row, reason in reasons.items():
        yield row, Prepared.failed(trials[row], f"the clip {reason}: it is left out")


def _attempt(trials: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared | str]]:
    """Each row of `trials` with its clip, prepared in one of `workers` processes, or why its process ended."""
    waiting, running = iter(trials.items()), {}
    # Spawned, not forked: a fork of a process with PyTorch's threads can hang.
    pool = ProcessPool(workers, initializer=start_worker, context=get_context("spawn"))
    try:
        while True:
            for row, trial in islice(waiting, 2 * workers - len(running)):
                running[pool.schedule(prepare_clip, [trial], settings, SECONDS)] = row
            if not running:
                return
            finished = wait(running, 2 * SECONDS, FIRST_COMPLETED).done
            if not finished:
                raise RuntimeError("no clip is finished, nor has any met its limit")
            for future in finished:
                yield running.pop(future), _outcome(future)
    except RuntimeError as error:  # the pool's: none of its processes has started
        raise InputError(f"{UNGUARDED}; if it does, run it again") from error
    finally:
        pool.stop()
        pool.join()


def _outcome(future: Future) -> Prepared | str:
    try:
        return future.result()
    except TimeoutError:
        return f"takes more than {SECONDS} s"
    except MemoryError:
        return "takes more memory than there is"
    except ProcessExpired as error:
        is_too_large = error.exitcode == TOO_LARGE
        return f"takes more than {MEMORY // 2**30} GB of memory" if is_too_large else "crashes the decoder"


def start_worker() -> None:
    """Keeps this process to one thread of linear algebra: the clips run side by side already."""
    threadpool_limits(1)
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends this process when its parent is gone, or when it takes more than MEMORY."""
    parent, process = parent_process(), psutil.Process()
    while parent.is_alive():
        if process.memory_info().rss > MEMORY:
            os._exit(TOO_LARGE)
        parent.join(timeout=0.2)
    os._exit(1)
