"""Progress bars: how much is done, and how long the rest takes."""

import sys
import time
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, label: str, **settings: Any) -> tqdm:
    """A bar of tqdm, on stdout in a notebook, since JupyterLab shows stderr on a red ground; otherwise on stderr.

    label : the text before the bar      settings : others of tqdm
    """
    shell = sys.modules.get("IPython")  # a notebook's kernel has imported it
    if shell and shell.get_ipython():
        settings |= {"file": sys.stdout, "ncols": 100}  # the terminal behind it may have no width at all
    return tqdm(total=total, desc=label, **settings)


class TrainingBar:
    """A bar for each epoch, batch by batch, with the running loss and the time that the remaining epochs take.

    `batch` is the `progress` of `workbook.train.training.fit`; `epoch` takes each row that it yields.
    """

    def __init__(self, epochs: int):
        """epochs : the last one, counted from 1"""
        self.epochs, self.finished = epochs, 0
        self.start, self.first = time.monotonic(), None  # first: the epochs that an earlier session finished
        self.bar: tqdm | None = None

    def epoch(self, row: dict[str, float]) -> None:
        """Counts an epoch as finished; those of an earlier session come first and took no time."""
        self.finished = int(row["epoch"])
        self.close()

    def batch(self, done: int, total: int, loss: float) -> None:
        """Moves the bar: `done` of `total` batches of this epoch; `loss` is their mean."""
        if self.bar is None:
            layout = "{desc} {percentage:3.0f}%|{bar:24}| batch {n_fmt} of {total_fmt}{postfix}"
            label = f"epoch {self.finished + 1} of {self.epochs}"
            self.bar = progress_bar(total, label, bar_format=layout, leave=False, miniters=1, mininterval=0.3)
        self.first = self.finished if self.first is None else self.first
        finished = (self.finished - self.first) * total + done  # batches
        remaining = (self.epochs - self.finished) * total - done
        seconds = (time.monotonic() - self.start) / finished * remaining
        self.bar.set_postfix_str(f"loss {loss:.3f}, {tqdm.format_interval(seconds)} left", refresh=False)
        self.bar.update(done - self.bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Removes the bar, where there is one."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None
