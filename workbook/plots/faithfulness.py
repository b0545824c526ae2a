"""Does the answer depend on what is marked? Curves of deletion and insertion, and means with their intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook.plots.panels import COLOUR, INK, QUIET, SHADE, WIDTH, new_figure, tidy_axes

ORDER_STYLE = {  # colour and line of each order of importance
    "attention": (INK, "-"),
    "integrated gradients": ("#8e44ad", "-"),
    "leave one out": ("#c0392b", "-"),
    "random": (QUIET, (0, (2, 2))),
}
MARKS = "osD^vP*X"


def deletion_curves(table: pd.DataFrame, areas: pd.DataFrame, score: str = "probability of the answer") -> Figure:
    """Deletion, insertion, and the area between them, a row of panels per modality, a colour per order.

    table : as `faithfulness.curves`, averaged here as in `faithfulness.interval`: over the actors' means
    areas : as `faithfulness.area_summary`; the lines are the 95 % intervals over actors
    """
    modalities = list(dict.fromkeys(table["modality"]))
    figure = new_figure(height=2.6 * len(modalities) + 0.5)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(modalities), 3, squeeze=False, width_ratios=(3, 3, 2))
    means = table.groupby(["modality", "order", "curve", "share", "actor"], sort=False)["score"].mean()
    means = means.groupby(["modality", "order", "curve", "share"], sort=False).mean().reset_index()
    for row, modality in zip(grid, modalities, strict=True):
        row[1].sharey(row[0])  # before anything is drawn, so that the limits fit both
        if row[2] is not grid[0, 2]:
            row[2].sharex(grid[0, 2])
        for ax, curve, done in zip(row, ("delete", "insert"), ("deleted", "put back"), strict=False):
            _curves(ax, means[(means["modality"] == modality) & (means["curve"] == curve)])
            ax.set_xlabel(f"{modality} {done} (%)", fontsize=9)
        row[0].set_ylabel(score, fontsize=9)
        _name(row[0], modality)
        here = areas[areas["modality"] == modality].rename(columns={"between": "mean"})
        _dots(row[2], here, here["order"], [ORDER_STYLE.get(order, (INK, "-"))[0] for order in here["order"]])
        row[2].set_xlabel("area between", fontsize=9)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
    return figure


def _curves(ax: Axes, means: pd.DataFrame) -> None:
    tidy_axes(ax)
    for order, rows in means.groupby("order", sort=False):
        line = rows.set_index("share")["score"].sort_index()
        colour, style = ORDER_STYLE.get(order, (INK, "-"))
        mark = "o" if len(line) < 12 else None
        ax.plot(100 * line.index, line, color=colour, linestyle=style, label=order, marker=mark, markersize=3)
    ax.set_xlim(0, 100)


def _dots(ax: Axes, rows: pd.DataFrame, names: list[str], colours: list[str], zero: float = 0) -> None:
    """A dot and its interval (columns mean, low, high) for every row, from top to bottom; names stand at the axis."""
    tidy_axes(ax)
    ax.axvline(zero, color=QUIET, linewidth=0.8)
    ax.hlines(range(len(rows)), rows["low"], rows["high"], color=colours, linewidth=2)
    ax.scatter(rows["mean"], range(len(rows)), color=colours, s=25, zorder=3)
    ax.set(yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0, labelsize=9)


def intervals(
    table: pd.DataFrame, names: list[str], label: str, limits: tuple[float, float] | None = None, zero: float = 0
) -> Figure:
    """A dot and its 95 % interval for every row, in the colour of its modality, if it has one.

    table : columns mean, low, high, those in `names`, of which the row's label is made, and perhaps modality
    label : what is measured        limits : of its axis        zero : where a line stands, the value that says nothing
    """
    figure = new_figure(height=0.3 * len(table) + 0.8)
    figure.set_layout_engine("constrained")
    ax = figure.subplots()
    colours = [COLOUR.get(row.get("modality"), INK) for _, row in table.iterrows()]
    _dots(ax, table, table[names].agg(": ".join, axis=1), colours, zero)
    ax.set(xlabel=label, xlim=limits)
    return figure


def shuffled_layers(table: pd.DataFrame) -> Figure:
    """Rank correlation of an explanation with the trained network's, while ever more layers are shuffled.

    table : as `interventions.cascade`; a panel per modality, a line per method with its 95 % interval as a band
    """
    figure, panels = _panels(table, 2.9, WIDTH if table["modality"].nunique() > 1 else 0.6 * WIDTH)
    for modality, ax in panels.items():
        ax.axhline(0, color=QUIET, linewidth=0.8)
        for method, rows in table[table["modality"] == modality].groupby("method", sort=False):
            colour = ORDER_STYLE[method][0]
            places = np.arange(len(rows))
            ax.plot(places, rows["mean"], color=colour, marker="o", markersize=4, label=method)
            ax.fill_between(places, rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
            ax.set_xticks(places, rows["layer"], rotation=30, ha="right")
        ax.set(ylim=(-1.05, 1.05), xlabel="shuffled down to")
    figure.axes[0].set_ylabel("ρ with the trained network's", fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def areas_of_runs(table: pd.DataFrame) -> Figure:
    """The area between deletion and insertion of several runs, a panel per modality, a row per run.

    table : columns run (its name), and those of `faithfulness.area_summary`
    """
    runs = list(dict.fromkeys(table["run"]))
    orders = [order for order in ORDER_STYLE if order in set(table["order"]) and order != "random"]
    figure, panels = _panels(table, 0.4 * len(runs) + 1.3)
    for modality, ax in panels.items():
        ax.axvline(0, color=QUIET, linewidth=0.8)
        for place in range(0, len(runs), 2):
            ax.axhspan(place - 0.5, place + 0.5, color=SHADE, alpha=0.5, linewidth=0, zorder=0)
        for number, order in enumerate(orders):
            rows = table[(table["modality"] == modality) & (table["order"] == order)]
            heights = [runs.index(run) + (number - (len(orders) - 1) / 2) * 0.25 for run in rows["run"]]
            ax.hlines(heights, rows["low"], rows["high"], color=ORDER_STYLE[order][0], linewidth=1.5)
            ax.plot(rows["between"], heights, MARKS[number], color=ORDER_STYLE[order][0], markersize=4.5, label=order)
        ax.set(yticks=range(len(runs)), yticklabels=runs, ylim=(len(runs) - 0.5, -0.5))
        ax.set_xlabel("area between (0 = random)", fontsize=9)
        ax.tick_params(axis="y", length=0, labelsize=9)
    keys = figure.axes[0].get_legend_handles_labels()
    figure.legend(*keys, loc="outside upper center", ncols=len(orders), frameon=False, fontsize=9)
    return figure


def _panels(table: pd.DataFrame, height: float, width: float = WIDTH) -> tuple[Figure, dict[str, Axes]]:
    """A figure, and in it a panel for each modality of the table, side by side; inches."""
    modalities = list(dict.fromkeys(table["modality"]))
    figure = new_figure(height, width)
    figure.set_layout_engine("constrained")
    panels = dict(zip(modalities, figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0], strict=True))
    for modality, ax in panels.items():
        _name(tidy_axes(ax), modality)
    return figure, panels


def _name(ax: Axes, modality: str) -> None:
    ax.set_title(modality, loc="left", fontsize=10, fontweight="bold", color=COLOUR[modality])
