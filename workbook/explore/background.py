"""Work in the background that leaves the processor to whoever waits for an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread, main_thread

import torch


class Background:
    """A thread that does small pieces of work one after the other, and none while it is paused."""

    def __init__(self):
        self._free = Event()  # set = nobody waits
        self._free.set()
        self._thread: Thread | None = None

    def do(self, pieces: Iterator) -> None:
        """Does these pieces, one for each `next`, instead of what was still to be done."""
        self._thread = Thread(target=self._run, args=(pieces,))
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until all is done, so many seconds at most; None = as long as it takes."""
        if self._thread is not None:
            self._thread.join(seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block that runs alone, but for the rest of one piece."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def _run(self, pieces: Iterator) -> None:
        torch.set_num_threads(1)  # of this thread, and of those that PyTorch meets later; not of those it knows already
        for _ in pieces:
            self._free.wait()
            if self._thread is not current_thread() or not main_thread().is_alive():  # as when Python ends
                return
