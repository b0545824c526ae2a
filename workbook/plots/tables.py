"""The paper's tables as figures: what modality dropout changes, and systems by condition.

Cells come from `evaluate.paper_tables`. Toy, real and the paper's numbers never share a panel; each has its own colour.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from workbook import InputError
from workbook.plots.certainty import _style
from workbook.plots.panels import CONDITION_STYLE, HALO, INK, ORIGIN_COLOUR, QUIET, WIDTH, new_figure, tidy_axes

CONDITIONS = ("AV", "A", "V")
FEW = 5  # systems up to which every point has its number
WHOSE = {"real": "ours (real)", "toy": "ours (toy)", "paper": "the paper"}
SLOPES = ("none", "softhard")


def slopes(cells: pd.DataFrame, origin: str, title: str = "") -> Figure:
    """What softhard changes: a panel per system, and in it a line per condition, from none to softhard.

    Below, the paper's numbers of the same systems, where the cells have them.

    cells : as `workbook.evaluate.paper_tables.table_cells` makes them, of accuracies; systems without both are left out
    origin : real | toy, of ours
    Raises InputError where no system has both.
    """
    cells = cells[(cells["metric"] == "accuracy") & cells["condition"].isin(CONDITIONS)]
    ends = cells[cells["dropout"].isin(SLOPES) & cells["value"].notna()]
    both = ends.groupby("system", sort=False)["dropout"].nunique()
    systems = [name for name, kinds in both.items() if kinds == 2]
    if not systems:
        raise InputError("no system has runs without modality dropout and with softhard: there is no slope to draw")
    kinds = ["value", "paper"] if cells["paper"].notna().any() else ["value"]
    height = 0.6 + 2.3 * len(kinds)
    width = WIDTH if len(systems) > 2 else 2.6 + 1.9 * len(systems)
    figure = new_figure(height=height, width=width)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(kinds), len(systems), sharex=True, sharey=True, squeeze=False)
    numbers = len(systems) <= FEW
    for row, kind in zip(panels, kinds, strict=True):
        for ax, system in zip(row, systems, strict=True):
            _slope_panel(ax, cells[cells["system"] == system], kind, numbers)
        whose = "paper" if kind == "paper" else origin
        row[0].set_ylabel(f"{WHOSE[whose]}\naccuracy (%)", color=ORIGIN_COLOUR[whose], fontweight="bold", fontsize=9)
    for ax, system in zip(panels[0], systems, strict=True):
        ax.set_title(system, fontsize=10, color=INK)
    styles = {name: CONDITION_STYLE[name] for name in CONDITIONS}
    keys = [Line2D([], [], color=ink, marker="o", label=f"{name}  {said}") for name, (ink, said) in styles.items()]
    figure.legend(handles=keys, ncols=3, loc="outside lower center", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10, color=ORIGIN_COLOUR[origin], fontweight="bold")
    return figure


def _slope_panel(ax: Axes, cells: pd.DataFrame, kind: str, numbers: bool) -> None:
    """The lines of one system; `kind` is the column: value, with intervals, or paper."""
    tidy_axes(ax)
    for place, condition in enumerate(CONDITIONS):
        rows = cells[cells["condition"] == condition].set_index("dropout").reindex(SLOPES)
        colour, x = CONDITION_STYLE[condition][0], np.array([0.0, 1.0]) + 0.05 * (place - 1)
        ax.plot(x, rows[kind], "o-", color=colour, markersize=4, linewidth=1.6)
        if kind == "value":
            for at, row in zip(x, rows.itertuples(), strict=True):
                ax.vlines(at, row.low, row.high, color=colour, linewidth=1.2, linestyle=_style(row.actors), alpha=0.7)
    if numbers:
        for at, dropout, side in ((-0.12, "none", "right"), (1.12, "softhard", "left")):
            rows = cells[cells["dropout"] == dropout].set_index("condition")[kind].reindex(CONDITIONS).dropna()
            for (condition, value), height in zip(rows.items(), _apart(rows.to_numpy(), 9), strict=True):
                look = {"fontsize": 8, "color": CONDITION_STYLE[condition][0], "path_effects": HALO}
                ax.text(at, height, f"{value:.0f}", ha=side, va="center", **look)
    ax.set(xlim=(-0.5, 1.5), ylim=(0, 100), xticks=(0, 1))
    ax.set_xticklabels(SLOPES, fontsize=9 if numbers else 7, rotation=0 if numbers else 35)
    ax.tick_params(axis="x", length=0)


def _apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """The heights in the same order, the upper ones moved up so that neighbours are `gap` apart."""
    moved, below = np.array(heights, dtype=float), -np.inf
    for place in np.argsort(heights, kind="stable"):
        moved[place] = below = max(moved[place], below + gap)
    return moved


def system_heatmap(cells: pd.DataFrame, origin: str, title: str = "") -> Figure:
    """Systems by condition as coloured tables on one scale: ours on the left, the paper's on the right in grey.

    cells : as in `slopes`      origin : real | toy, of ours      A cell that was not run stays empty.
    """
    cells = cells[cells["metric"] == "accuracy"]
    kinds = {"value": origin} | ({"paper": "paper"} if cells["paper"].notna().any() else {})
    rows = cells[["dropout", "system"]].drop_duplicates()
    names = [name for name in CONDITION_STYLE if name in set(cells["condition"])]
    width = 1.6 + 0.62 * len(names) * len(kinds) + 0.9
    figure = new_figure(height=0.9 + 0.235 * len(rows), width=max(width, 4.5))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for ax, (kind, whose) in zip(panels, kinds.items(), strict=True):
        values = cells.pivot(index=["dropout", "system"], columns="condition", values=kind)
        values = values.reindex(index=pd.MultiIndex.from_frame(rows), columns=names).astype(float)
        _heat(ax, values, whose)
    starts = rows["dropout"].ne(rows["dropout"].shift()).to_numpy().nonzero()[0]
    labels = [f"{row.dropout}   {row.system}" if k in starts else row.system for k, row in enumerate(rows.itertuples())]
    panels[0].set_yticks(np.arange(len(rows)) + 0.5, labels, rotation=0, fontsize=9, color=INK)
    for ax in panels:
        ax.hlines(starts[1:], *ax.get_xlim(), color=INK, linewidth=0.8)
    figure.suptitle(title, fontsize=10, color=ORIGIN_COLOUR[origin], fontweight="bold")
    return figure


def _heat(ax: Axes, values: pd.DataFrame, whose: str) -> None:
    colour = ORIGIN_COLOUR[whose]
    look = {"annot": True, "fmt": ".1f", "annot_kws": {"fontsize": 8}, "linewidths": 1, "linecolor": "white"}
    paint = sns.light_palette(colour, as_cmap=True)
    sns.heatmap(values, vmin=0, vmax=100, cmap=paint, cbar=False, ax=ax, **look)
    ax.set(xlabel="", ylabel="")
    ax.set_xticks(np.arange(values.shape[1]) + 0.5, values.columns, fontsize=9)
    ax.set_title(WHOSE[whose], fontsize=10, color=colour, fontweight="bold")
    ax.tick_params(length=0)


def styled(wide: pd.DataFrame, origin: str) -> Styler:
    """A table of `tables.as_wide` for a notebook: ours in the colour of its origin, the paper's grey and in italics.

    origin : real | toy
    """
    look = {
        "ours": f"color: {ORIGIN_COLOUR[origin]}; white-space: nowrap",
        "paper": f"color: {QUIET}; font-style: italic",
    }
    table = wide.style.apply(lambda column: [look.get(column.name[1], "white-space: nowrap")] * len(column))
    cell = {"selector": "th, td", "props": "text-align: left; font-size: 85%; padding: 0.2em 0.5em"}
    part = {"selector": "th.row_heading.level0", "props": "vertical-align: top"}
    return table.set_table_styles([cell, part])
