"""How sure the numbers are: intervals of systems, differences between them, and the protocol ladder."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook.evaluate.statistics import ALPHA
from workbook.plots.marks import FEWEST_ACTORS, cells, dots, grid, legend_above, name_rows, tidy_axes, whiskers
from workbook.plots.style import HALO, INK, QUIET, WIDTH, condition_style, text_colour


def system_intervals(table: pd.DataFrame, chance: float | None = None) -> Axes:
    """A row per system, with a point and its interval for each condition.

    table : as `workbook.evaluate.statistics.intervals` makes it      chance : of guessing, percent
    """
    systems, conditions = list(dict.fromkeys(table["system"])), list(dict.fromkeys(table["condition"]))
    ax = tidy_axes(None, WIDTH, 0.9 + 0.13 * len(systems) * (len(conditions) + 1))
    for place, condition in enumerate(conditions):
        rows = table[table["condition"] == condition]
        below = (place - (len(conditions) - 1) / 2) / (len(conditions) + 1)
        heights = [systems.index(name) + below for name in rows["system"]]
        colour, name = condition_style(condition)
        dots(ax, rows, heights, colour, label=name)
    if chance is not None:
        ax.axvline(chance, color=INK, linewidth=0.7)
        ax.text(chance, len(systems) - 0.45, f" chance {chance:g}", fontsize=8, color=INK, va="bottom")
    name_rows(ax, systems, 10, margin=0.4)
    ax.set_xlabel(f"accuracy (%), with 95 % intervals{_warning(table)}")
    legend_above(ax, ncols=6, handletextpad=0.1)
    return ax


def differences(table: pd.DataFrame) -> Axes:
    """Pairs of systems: a point with the interval of their difference in points; filled where Holm's p is below 0.05.

    table : as `evaluate.statistics.differences` makes it, best of one condition; of several, each row names its own
    """
    ax = tidy_axes(None, WIDTH, 0.7 + 0.24 * len(table))
    several, places = table["condition"].nunique() > 1, range(len(table))
    colours = [condition_style(name)[0] for name in table["condition"]]
    fills = np.where(table["p_holm"] < ALPHA, colours, "white")
    dots(ax, table, places, colours, "difference", color=fills, edgecolors=colours, linewidths=1)
    ax.axvline(0, color=INK, linewidth=0.7, zorder=0)
    name_rows(ax, [f"{row.first} less {row.second}" + f"   {row.condition}" * several for row in table.itertuples()])
    ax.set_xlabel(f"points, with 95 % intervals; filled: p < 0.05 after Holm{_warning(table)}", fontsize=9)
    return ax


def difference_matrices(tables: dict[str, pd.DataFrame], title: str = "", colour: str = INK) -> Figure:
    """Row less column for all pairs of systems, in points; bold where Holm's p is below 0.05, else pale.

    Matrices stand side by side on one scale, for families of pairs such as kinds of dropout.

    tables : by the title of the panel, each as `evaluate.statistics.differences` makes it, of one condition
    title, colour : of the figure
    """
    most = max(len(_systems(table)) for table in tables.values())
    width = max(0.6 + len(tables) * (0.7 + 0.38 * most), 4.5)
    figure, (panels,) = grid(1, len(tables), 1.1 + 0.33 * most, width)
    end = max(1.0, *(table["difference"].abs().max() for table in tables.values()))
    for ax, (key, table) in zip(panels, tables.items(), strict=True):
        _draw_matrix(ax, table, end, 9 if most < 6 else 6.5)
        ax.set_title(key, fontsize=10, loc="left")
    figure.suptitle(title, fontsize=10, color=colour, fontweight="bold")
    figure.supxlabel("row less column in points; bold: p < 0.05 after Holm", fontsize=9)
    return figure


def _systems(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys([*table["first"], *table["second"]]))


def _draw_matrix(ax: Axes, table: pd.DataFrame, end: float, fontsize: float) -> None:
    """Draws one matrix, colours from -end to end."""
    mirrored = table.rename(columns={"first": "second", "second": "first"}).assign(difference=-table["difference"])
    pairs, names = pd.concat([table, mirrored]), _systems(table)
    wide = pairs.pivot(index="first", columns="second").reindex(names)
    paint = sns.diverging_palette(35, 250, s=80, l=60, as_cmap=True)
    points = wide["difference"].reindex(columns=names).round(1) + 0.0  # never -0.0
    cells(ax, points, paint, fontsize, vmin=-end, vmax=end, fmt="+.1f")
    significant = wide["p_holm"].reindex(columns=names) < ALPHA
    for text in ax.texts:
        column, row = (int(place) for place in text.get_position())
        bold = significant.iloc[row, column]
        text.set(color=INK if bold else QUIET, fontweight="bold" if bold else "normal", path_effects=HALO)


def ladder(table: pd.DataFrame) -> Axes:
    """The protocol ladder: how a system's number falls from rung to rung, with its intervals.

    table : as `workbook.evaluate.protocol.ladder` makes it
    """
    ax, places, condition = tidy_axes(None, WIDTH, 3.0), np.arange(len(table)), table["condition"].iloc[0]
    colour = condition_style(condition)[0]
    ax.step([*places - 0.5, places[-1] + 0.5], [*table["value"], table["value"].iloc[-1]], where="post", color=colour)
    whiskers(ax, table, places, colour, vertical=True)
    number = {"va": "bottom", "path_effects": HALO}
    for place, row in zip(places, table.itertuples(), strict=True):
        ax.text(place + 0.05, row.value, f"{row.value:.1f}", fontsize=10, color=INK, **number)
        if np.isfinite(row.step):
            ax.text(place - 0.47, row.value, f"{row.step:+.1f}", fontsize=9, color=text_colour(QUIET), **number)
    names = [f"{row.rung}\n{row.clips} clips, {row.actors} actors" for row in table.itertuples()]
    ax.set(xlim=(-0.5, len(table) - 0.5), ylabel=f"accuracy (%), {condition}")
    ax.set_xticks(places, names, fontsize=9, color=INK)
    ax.tick_params(axis="x", length=0)
    return ax


def _warning(table: pd.DataFrame) -> str:
    return f"; dotted: fewer than {FEWEST_ACTORS} actors" if (table["actors"] < FEWEST_ACTORS).any() else ""
