"""The paper's tables as figures: what modality dropout changes, and systems by condition.

Cells come from `evaluate.paper_tables`. Toy, real and the paper's numbers never share a panel; each has its own colour.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from workbook import InputError
from workbook.plots.marks import bold_title, grid, legend_around, whiskers
from workbook.plots.marks import cells as draw_cells
from workbook.plots.style import HALO, INK, ORIGIN_COLOUR, QUIET, WIDTH, condition_style, conditions_of
from workbook.text import styled as styled_text

CONDITIONS = ("AV", "A", "V")
FEW = 5  # systems up to which every point has its number
ORIGINS = {"real": "ours (real)", "toy": "ours (toy)", "paper": "the paper"}
ENDS = ("none", "softhard")  # of a slope


def slopes(cells: pd.DataFrame, origin: str, title: str = "") -> Figure:
    """What softhard changes: a panel per system, with a line per condition from none to softhard.

    Below, the paper's numbers of the same systems, where the cells have them.

    cells : as `workbook.evaluate.paper_tables.table_cells` makes them; systems without both ends are left out
    origin : real | toy, of ours
    Raises InputError where no system has both.
    """
    cells = cells[(cells["metric"] == "accuracy") & cells["condition"].isin(CONDITIONS)]
    ends = cells[cells["dropout"].isin(ENDS) & cells["value"].notna()]
    systems = [name for name, rows in ends.groupby("system", sort=False) if rows["dropout"].nunique() == 2]
    if not systems:
        raise InputError("no system has runs without modality dropout and with softhard: there is no slope to draw")
    origins = _origins(cells, origin)
    width = WIDTH if len(systems) > 2 else 2.6 + 1.9 * len(systems)
    height = 0.6 + 2.3 * len(origins)
    figure, panels = grid(len(origins), len(systems), height, width, sharex=True, sharey=True)
    for row, (column, name) in zip(panels, origins.items(), strict=True):
        for ax, system in zip(row, systems, strict=True):
            _slope_panel(ax, cells[cells["system"] == system], column, numbers=len(systems) <= FEW)
        label = f"{ORIGINS[name]}\naccuracy (%)"
        row[0].set_ylabel(label, color=ORIGIN_COLOUR[name], fontweight="bold", fontsize=9)
    for ax, system in zip(panels[0], systems, strict=True):
        ax.set_title(system, fontsize=10, color=INK)
    styles = [condition_style(name) for name in CONDITIONS]
    keys = [Line2D([], [], color=colour, marker="o", label=label) for colour, label in styles]
    legend_around(figure, "lower center", handles=keys)
    figure.suptitle(title, fontsize=10, color=ORIGIN_COLOUR[origin], fontweight="bold")
    return figure


def _origins(cells: pd.DataFrame, origin: str) -> dict[str, str]:
    """The columns of cells that hold numbers, and whose numbers they are."""
    return {"value": origin} | ({"paper": "paper"} if cells["paper"].notna().any() else {})


def _slope_panel(ax: Axes, cells: pd.DataFrame, column: str, numbers: bool) -> None:
    """Draws the lines of one system; column : value, with intervals, or paper."""
    for place, condition in enumerate(CONDITIONS):
        rows = cells[cells["condition"] == condition].set_index("dropout").reindex(ENDS)
        colour, x = condition_style(condition)[0], np.array([0.0, 1.0]) + 0.05 * (place - 1)
        ax.plot(x, rows[column], "o-", color=colour, markersize=4, linewidth=1.6)
        if column == "value":
            whiskers(ax, rows, x, colour, vertical=True, linewidth=1.2, alpha=0.7)
    for x, dropout, side in ((-0.12, "none", "right"), (1.12, "softhard", "left")) if numbers else ():
        rows, below = cells[cells["dropout"] == dropout].set_index("condition")[column], -np.inf
        for condition, value in rows.sort_values(kind="stable").dropna().items():
            below = max(value, below + 9)  # numbers do not lie on each other
            look = {"fontsize": 8, "color": condition_style(condition)[0], "path_effects": HALO}
            ax.text(x, below, f"{value:.0f}", ha=side, va="center", **look)
    ax.set(xlim=(-0.5, 1.5), ylim=(0, 100))
    ax.set_xticks((0, 1), ENDS, fontsize=9 if numbers else 7, rotation=0 if numbers else 35)
    ax.tick_params(axis="x", length=0)


def system_heatmap(cells: pd.DataFrame, origin: str, title: str = "") -> Figure:
    """Systems by condition as coloured tables on one scale: ours on the left, the paper's on the right in grey.

    cells : as in `slopes`      origin : real | toy, of ours      A cell that was not run stays empty.
    """
    cells = cells[cells["metric"] == "accuracy"]
    origins, names = _origins(cells, origin), conditions_of(cells["condition"])
    rows = cells[["dropout", "system"]].drop_duplicates()
    width = max(4.5, 2.5 + 0.62 * len(names) * len(origins))
    figure, (panels,) = grid(1, len(origins), 0.9 + 0.235 * len(rows), width, sharey=True)
    starts = rows["dropout"].ne(rows["dropout"].shift()).to_numpy().nonzero()[0]
    for ax, (column, name) in zip(panels, origins.items(), strict=True):
        values = cells.pivot(index=["dropout", "system"], columns="condition", values=column)
        values = values.reindex(index=pd.MultiIndex.from_frame(rows), columns=names).astype(float)
        draw_cells(ax, values, ORIGIN_COLOUR[name])
        ax.set_xticks(np.arange(len(names)) + 0.5, names, fontsize=9)
        bold_title(ax, ORIGINS[name], ORIGIN_COLOUR[name], loc="center")
        ax.hlines(starts[1:], *ax.get_xlim(), color=INK, linewidth=0.8)
    labels = [f"{row.dropout}   {row.system}" if k in starts else row.system for k, row in enumerate(rows.itertuples())]
    panels[0].set_yticks(np.arange(len(rows)) + 0.5, labels, rotation=0, fontsize=9, color=INK)
    figure.suptitle(title, fontsize=10, color=ORIGIN_COLOUR[origin], fontweight="bold")
    return figure


def styled(wide: pd.DataFrame, origin: str) -> Styler:
    """A table of `as_wide` for a notebook: ours in the colour of its origin, the paper's grey and in italics.

    origin : real | toy
    """
    look = {"ours": f"color: {ORIGIN_COLOUR[origin]}", "paper": f"color: {QUIET}; font-style: italic"}
    table = styled_text(wide).apply(lambda column: [look.get(column.name[1], "")] * len(column))
    styles = {"th, td": "text-align: left; font-size: 85%; padding: 0.2em 0.5em", "td": "white-space: nowrap"}
    styles |= {"th.row_heading.level0": "vertical-align: top"}
    return table.set_table_styles([{"selector": selector, "props": props} for selector, props in styles.items()])
