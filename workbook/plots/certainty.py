"""How sure the numbers are: intervals of systems, differences between them, and the protocol ladder.

Tables come from `evaluate.statistics` and `evaluate.protocol`. Intervals of fewer than `FEWEST` actors are dotted:
they are too short to be trusted.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook import InputError
from workbook.plots.panels import CONDITION_STYLE, HALO, INK, QUIET, WIDTH, new_figure, tidy_axes

FEWEST = (
    8  # actors from which on 95 % intervals held the truth in 95 % of simulations, see workbook.evaluate.statistics
)
ALPHA = 0.05


def system_intervals(
    table: pd.DataFrame, chance: float | None = None, label: str = "accuracy (%)", ax: Axes | None = None
) -> Axes:
    """A row per system, and in it a point with its interval for each condition.

    table : as `workbook.evaluate.statistics.intervals` makes it      chance : of guessing, in the unit of the values
    """
    systems, conditions = list(dict.fromkeys(table["system"])), list(dict.fromkeys(table["condition"]))
    ax = tidy_axes(ax, WIDTH, 0.9 + 0.13 * len(systems) * (len(conditions) + 1))
    for place, condition in enumerate(conditions):
        rows = table[table["condition"] == condition]
        below = (place - (len(conditions) - 1) / 2) / (len(conditions) + 1)
        heights = [systems.index(name) + below for name in rows["system"]]
        colour, meaning = CONDITION_STYLE.get(condition, (INK, ""))
        _whiskers(ax, rows, heights, colour)
        ax.plot(rows["value"], heights, "o", color=colour, markersize=4.5, label=f"{condition}  {meaning}".strip())
    if chance is not None:
        ax.axvline(chance, color=INK, linewidth=0.7)
        ax.text(chance, len(systems) - 0.45, f" chance {chance:g}", fontsize=8, color=INK, va="bottom")
    ax.set(yticks=range(len(systems)), ylim=(len(systems) - 0.4, -0.6))
    ax.set_xlabel(f"{label}, with 95 % intervals of actors{_warning(table)}")
    ax.set_yticklabels(systems, fontsize=10, color=INK)
    ax.tick_params(axis="y", length=0)
    ax.legend(ncols=6, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9, handletextpad=0.1)
    return ax


def differences(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Pairs of systems: a point with the interval of their difference in points; filled where Holm's p is below 0.05.

    table : as `evaluate.statistics.differences` makes it, best of one condition; of several, it says which in each row
    """
    ax = tidy_axes(ax, WIDTH, 0.7 + 0.24 * len(table))
    heights = range(len(table))
    several = table["condition"].nunique() > 1
    colours = [CONDITION_STYLE.get(name, (INK, ""))[0] for name in table["condition"]]
    for height, (_, row), colour in zip(heights, table.iterrows(), colours, strict=True):
        _whiskers(ax, row.to_frame().T, [height], colour)
        fill = colour if row["p_holm"] < ALPHA else "white"
        ax.plot(row["difference"], height, "o", color=colour, markerfacecolor=fill, markersize=5.5)
    ax.axvline(0, color=INK, linewidth=0.7, zorder=0)
    names = [f"{row.first} less {row.second}" + f"   {row.condition}" * several for row in table.itertuples()]
    ax.set(yticks=heights, ylim=(len(table) - 0.5, -0.5))
    ax.set_yticklabels(names, fontsize=9, color=INK)
    ax.set_xlabel(f"points, with 95 % intervals of actors; filled: p < 0.05 after Holm{_warning(table)}", fontsize=9)
    return ax


def difference_matrix(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Row less column for all pairs of systems, in points; bold where Holm's p is below 0.05, else pale.

    table : as `workbook.evaluate.statistics.differences` makes it, of one condition
    """
    if table["condition"].nunique() != 1:
        raise InputError("a matrix of differences shows one condition: give the rows of one")
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    ax = tidy_axes(ax, 1.5 + 0.62 * len(names), 1.0 + 0.36 * len(names))
    end = max(1.0, table["difference"].abs().max())
    _draw_matrix(ax, table, names, end, cbar_kws={"label": "points"}, annot_kws={"fontsize": 9})
    ax.set_title(f"{table['condition'].iloc[0]}: row less column; bold: p < 0.05 after Holm", fontsize=10, loc="left")
    return ax


def difference_matrices(tables: dict[str, pd.DataFrame], title: str = "", colour: str = INK) -> Figure:
    """Matrices as `difference_matrix` side by side on one scale, for families of pairs such as kinds of dropout.

    tables : by the title of the panel      title, colour : of the whole figure
    """
    names = {key: list(dict.fromkeys([*table["first"], *table["second"]])) for key, table in tables.items()}
    most = max(map(len, names.values()))
    size = {"fontsize": 9 if most < 6 else 6.5}
    figure = new_figure(height=1.1 + 0.33 * most, width=max(0.6 + len(tables) * (0.7 + 0.38 * most), 4.5))
    figure.set_layout_engine("constrained")
    end = max(1.0, *(table["difference"].abs().max() for table in tables.values()))
    for ax, (key, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        _draw_matrix(tidy_axes(ax), table, names[key], end, cbar=False, annot_kws=size)
        ax.set_title(key, fontsize=10, loc="left")
    figure.suptitle(title, fontsize=10, color=colour, fontweight="bold")
    figure.supxlabel("row less column in points; bold: p < 0.05 after Holm", fontsize=9)
    return figure


def _draw_matrix(ax: Axes, table: pd.DataFrame, names: list[str], end: float, **look) -> None:
    """Row less column for all pairs, colours from -end to end; bold where Holm's p is below 0.05."""
    matrix, sure = pd.DataFrame(np.nan, names, names), pd.DataFrame(False, names, names)
    for row in table.itertuples():
        points = round(row.difference, 1) + 0.0  # never -0.0
        matrix.loc[row.first, row.second], matrix.loc[row.second, row.first] = points, 0.0 - points
        sure.loc[row.first, row.second] = sure.loc[row.second, row.first] = row.p_holm < ALPHA
    paint = sns.diverging_palette(35, 250, s=80, l=60, as_cmap=True)
    look = {"linewidths": 1, "linecolor": "white"} | look
    sns.heatmap(matrix, vmin=-end, vmax=end, cmap=paint, annot=True, fmt="+.1f", ax=ax, **look)
    for text in ax.texts:
        column, row = (int(place) for place in text.get_position())
        bold = bool(sure.iloc[row, column])
        text.set(color=INK if bold else QUIET, fontweight="bold" if bold else "normal", path_effects=HALO)
    ax.tick_params(length=0, labelsize=9)
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)


def ladder(table: pd.DataFrame, label: str = "accuracy (%)", ax: Axes | None = None) -> Axes:
    """The protocol ladder: what a system's number falls to, rung by rung, with intervals of actors.

    table : as `workbook.evaluate.protocol.ladder` makes it
    """
    ax = tidy_axes(ax, WIDTH, 3.0)
    places, colour = np.arange(len(table)), CONDITION_STYLE.get(table["condition"].iloc[0], (INK, ""))[0]
    ax.step([*places - 0.5, places[-1] + 0.5], [*table["value"], table["value"].iloc[-1]], where="post", color=colour)
    for place, row in zip(places, table.itertuples(), strict=True):
        ax.vlines(place, row.low, row.high, color=colour, linewidth=1.6, linestyle=_style(row.actors))
        ax.text(place + 0.05, row.value, f"{row.value:.1f}", va="bottom", fontsize=10, color=INK, path_effects=HALO)
        if np.isfinite(row.step):
            ax.text(
                place - 0.47, row.value, f"{row.step:+.1f}", va="bottom", fontsize=9, color=QUIET, path_effects=HALO
            )
    names = [f"{row.rung}\n{row.clips} clips, {row.actors} actors" for row in table.itertuples()]
    ax.set(xticks=places, xlim=(-0.5, len(table) - 0.5), ylabel=f"{label}, {table['condition'].iloc[0]}")
    ax.set_xticklabels(names, fontsize=9, color=INK)
    ax.tick_params(axis="x", length=0)
    return ax


def _warning(table: pd.DataFrame) -> str:
    return f"; dotted: of fewer than {FEWEST}" if (table["actors"] < FEWEST).any() else ""


def _whiskers(ax: Axes, rows: pd.DataFrame, heights: list[float], colour: str) -> None:
    """The intervals of rows, columns low, high and actors; nothing where there is none."""
    for height, row in zip(heights, rows.itertuples(), strict=True):
        ax.hlines(height, row.low, row.high, color=colour, linewidth=1.6, linestyle=_style(row.actors))


def _style(actors: int) -> str:
    return "-" if actors >= FEWEST else ":"
