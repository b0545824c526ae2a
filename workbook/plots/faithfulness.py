"""Does the answer depend on the marked steps? Curves of deletion and insertion, and means with their intervals."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook.plots.marks import band, bold_title, dots, grid, legend_around, name_rows
from workbook.plots.style import COLOUR, INK, QUIET, SHADE, WIDTH

ORDERS = {  # colour, line and mark of each order of importance
    "attention": (INK, "-", "o"),
    "integrated gradients": ("#8e44ad", "-", "s"),
    "leave one out": ("#c0392b", "-", "D"),
    "random": (QUIET, (0, (2, 2)), "^"),
}


def deletion_curves(table: pd.DataFrame, areas: pd.DataFrame, score: str = "probability of the answer") -> Figure:
    """Deletion, insertion, and the area between them, a row of panels per modality, a colour per order.

    table : as `faithfulness.curves`, averaged here as in `faithfulness.interval`: over the actors' means
    areas : as `faithfulness.area_summary`; the lines are the 95 % intervals over actors
    """
    modalities = list(dict.fromkeys(table["modality"]))
    figure, panels = grid(len(modalities), 3, 2.6 * len(modalities) + 0.5, width_ratios=(3, 3, 2))
    keys = ["modality", "curve", "order", "share"]
    means = table.groupby([*keys, "actor"], sort=False)["score"].mean().groupby(keys, sort=False).mean().reset_index()
    for row, modality in zip(panels, modalities, strict=True):
        row[1].sharey(row[0])  # before anything is drawn, so that the limits fit both
        if row[2] is not panels[0, 2]:
            row[2].sharex(panels[0, 2])
        for ax, curve, action in zip(row, ("delete", "insert"), ("deleted", "put back"), strict=False):
            own = means[(means["modality"] == modality) & (means["curve"] == curve)]
            for order, rows in own.groupby("order", sort=False):
                scores, (colour, style, _) = rows.set_index("share")["score"].sort_index(), ORDERS[order]
                look = {"color": colour, "linestyle": style, "marker": "o" if len(scores) < 12 else None}
                ax.plot(100 * scores.index, scores, markersize=3, label=order, **look)
            ax.set_xlabel(f"{modality} {action} (%)", fontsize=9)
            ax.set_xlim(0, 100)
        row[0].set_ylabel(score, fontsize=9)
        bold_title(row[0], modality, COLOUR[modality])
        own = areas[areas["modality"] == modality].rename(columns={"between": "mean"})
        _dots(row[2], own, own["order"], [ORDERS[order][0] for order in own["order"]])
        row[2].set_xlabel("area between", fontsize=9)
    legend_around(figure, "upper center", handles=panels[0, 0].get_legend_handles_labels()[0])
    return figure


def _dots(ax: Axes, rows: pd.DataFrame, names: list[str], colours: list[str]) -> None:
    """Draws a dot and its interval (columns mean, low, high) for every row, under its name."""
    ax.axvline(0, color=QUIET, linewidth=0.8)
    dots(ax, rows, range(len(rows)), colours, "mean")
    name_rows(ax, names)


def intervals(table: pd.DataFrame, names: list[str], label: str, limits: tuple[float, float]) -> Figure:
    """A dot and its 95 % interval for every row, in the colour of its modality, if it has one.

    table : columns mean, low, high, the columns `names` that make a row's name, and perhaps modality
    label, limits : of the axis
    """
    figure, ((ax,),) = grid(1, 1, 0.3 * len(table) + 0.8)
    colours = [COLOUR.get(row.get("modality"), INK) for _, row in table.iterrows()]
    _dots(ax, table, table[names].agg(": ".join, axis=1), colours)
    ax.set(xlabel=label, xlim=limits)
    return figure


def changed_answers(table: pd.DataFrame) -> Figure:
    """The share of answers that each change of attention changes, with its interval.

    table : as `faithfulness.change_summary`
    """
    percent = table.assign(mean=100 * table["changed"], low=100 * table["low"], high=100 * table["high"])
    return intervals(percent, ["change"], "answers that change (%)", (0, 100))


def shuffled_layers(table: pd.DataFrame) -> Figure:
    """Rank correlation of an explanation with the trained network's, while ever more layers are shuffled.

    table : as `faithfulness.cascade`; a panel per modality, a line per method with its 95 % interval as a band
    """
    figure, panels = _by_modality(table, 2.9, WIDTH if table["modality"].nunique() > 1 else 0.6 * WIDTH)
    for modality, ax in panels.items():
        ax.axhline(0, color=QUIET, linewidth=0.8)
        for method, rows in table[table["modality"] == modality].groupby("method", sort=False):
            places, line = range(len(rows)), {"marker": "o", "markersize": 4, "label": method}
            band(ax, places, rows, "mean", ORDERS[method][0], alpha=0.2, **line)
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
    orders = [order for order in ORDERS if order in set(table["order"]) - {"random"}]
    figure, panels = _by_modality(table, 0.4 * len(runs) + 1.3)
    for modality, ax in panels.items():
        ax.axvline(0, color=QUIET, linewidth=0.8)
        for place in range(0, len(runs), 2):
            ax.axhspan(place - 0.5, place + 0.5, color=SHADE, alpha=0.5, linewidth=0, zorder=0)
        for number, order in enumerate(orders):
            rows, (colour, _, mark) = table[(table["modality"] == modality) & (table["order"] == order)], ORDERS[order]
            heights = [runs.index(run) + (number - (len(orders) - 1) / 2) * 0.25 for run in rows["run"]]
            dots(ax, rows, heights, colour, "between", marker=mark, label=order)
        name_rows(ax, runs)
        ax.set_xlabel("area between (0 = random)", fontsize=9)
    legend_around(figure, "upper center", handles=figure.axes[0].get_legend_handles_labels()[0])
    return figure


def _by_modality(table: pd.DataFrame, height: float, width: float = WIDTH) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each modality of the table, side by side; inches."""
    modalities = list(dict.fromkeys(table["modality"]))
    figure, (panels,) = grid(1, len(modalities), height, width, sharey=True)
    for modality, ax in zip(modalities, panels, strict=True):
        bold_title(ax, modality, COLOUR[modality])
    return figure, dict(zip(modalities, panels, strict=True))
