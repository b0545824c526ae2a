"""Work ahead of the user, in a thread that pauses while the user waits for an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread, main_thread

import torch


class Prefetcher:
    """A thread that runs an iterator piece by piece, and pauses on request."""

    def __init__(self):
        self._may_run = Event()
        self._may_run.set()
        self._thread: Thread | None = None

    def start(self, pieces: Iterator) -> None:
        """Runs an iterator in place of the one before; each `next` is a piece."""
        self._thread = Thread(target=self._run, args=(pieces,))
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until the iterator ends, at most `seconds`; None = without a limit."""
        if self._thread is not None:
            self._thread.join(seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block during which no new piece begins."""
        self._may_run.clear()
        try:
            yield
        finally:
            self._may_run.set()

    def _run(self, pieces: Iterator) -> None:
        torch.set_num_threads(1)  # of this thread and of new ones, not of those that run already
        for _ in pieces:
            self._may_run.wait()
            if self._thread is not current_thread() or not main_thread().is_alive():  # replaced, or Python ends
                return
