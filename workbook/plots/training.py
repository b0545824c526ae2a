"""The training curve over the epochs, at the end and while training runs."""

import os

import pandas as pd
from IPython import get_ipython
from IPython.display import display, update_display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbook.plots.marks import grid
from workbook.plots.style import HALO, INK, NAVY, QUIET, text_colour
from workbook.progress import TrainingBar


def history(table: pd.DataFrame, labels: tuple[str, str] = ("loss", "accuracy (%)")) -> Figure:
    """Loss and accuracy of training and validation over the epochs, best epoch and learning rate marked.

    table : columns epoch, train_loss, train_accuracy, validation_loss, validation_accuracy (percent), learning_rate,
            best (True = better than all epochs before; the last such epoch is the one whose weights are kept)
    labels : names of loss and accuracy, as a task's `measures`
    """
    figure, (panels,) = grid(1, 2, 2.9)
    kept = table[table["best"].astype(bool)].iloc[-1]
    for ax, quantity, label in zip(panels, ("loss", "accuracy"), labels, strict=True):
        for part, colour in (("train", "#a9a9a9"), ("validation", NAVY)):
            ax.plot(table["epoch"], table[f"{part}_{quantity}"], color=colour, label=part, marker="o", markersize=2.5)
        ax.set(xlabel="epoch", ylabel=label, xlim=(table["epoch"].min() - 0.5, table["epoch"].max() + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.plot(kept["epoch"], kept[f"validation_{quantity}"], "o", markersize=9, color=INK, fillstyle="none")
    panels[0].legend(frameon=False, fontsize=9)
    caption = f"best epoch {kept['epoch']:.0f}: {kept['validation_accuracy']:.1f} %, loss {kept['validation_loss']:.3f}"
    panels[1].set_title(caption, fontsize=10, loc="left")
    first, *changed = table[table["learning_rate"].diff() != 0].itertuples()
    for row in changed:
        panels[0].axvline(row.epoch, color=QUIET, linewidth=0.8, linestyle=":")
        number = {"fontsize": 8, "color": text_colour(QUIET), "va": "top", "path_effects": HALO}
        panels[0].text(row.epoch, 1, f" {row.learning_rate:g}", transform=panels[0].get_xaxis_transform(), **number)
    title = f"learning rate {first.learning_rate:g}" + ", then as marked" * bool(changed)
    panels[0].set_title(title, fontsize=10, loc="left")
    return figure


class LiveHistory:
    """A training to watch: a bar for the batches, and a curve that is redrawn after every epoch.

        curve = LiveHistory(labels, epochs)
        for row in fit(..., progress=curve.batch):
            curve.add(row)

    In a notebook, headless runs included, one picture is replaced under the cell; elsewhere there is none. `table` has
    the rows.
    """

    def __init__(self, labels: tuple[str, str], epochs: int):
        """labels : as in `history`        epochs : the last one of this training, counted from 1"""
        self.table, self.labels = pd.DataFrame(), labels
        self.bar = TrainingBar(epochs)
        self.batch = self.bar.batch
        self._name = f"history-{id(self)}-{os.getpid()}"

    def add(self, row: dict[str, float]) -> None:
        """Adds one epoch and redraws."""
        self.bar.epoch(row)
        show = display if self.table.empty else update_display
        self.table = pd.concat([self.table, pd.DataFrame([row])], ignore_index=True)
        if get_ipython() is not None:
            show(history(self.table, self.labels), display_id=self._name)
