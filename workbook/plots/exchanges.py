"""What an exchange between the branches buys, and what it costs."""

import pandas as pd
from matplotlib.figure import Figure

from workbook.plots.marks import legend_around, name_rows, whiskers
from workbook.plots.style import INK, NAVY, QUIET, grid

COLOUR = {"no exchange": QUIET, "exchange without attention": "#7f9ccb", "attention": NAVY}  # of the kinds of exchange
COSTS = {"weights": "extra weights\n(thousands)", "time": "time of a step\n(concat = 1)"}


def exchanges(table: pd.DataFrame, chance: dict[str, float] | None = None) -> Figure:
    """A row per fusion, a panel per corpus: AV as the mean over runs and their range; beside it weights and time.

    table : as `workbook.run.exchanges.exchange_table`      chance : a line at this percentage, by corpus
    """
    order = table["kind"].map(list(COLOUR).index).argsort(kind="stable")
    fusions = table.iloc[order].drop_duplicates("fusion")
    places = {fusion: place for place, fusion in enumerate(fusions["fusion"])}
    corpora = list(dict.fromkeys(table["corpus"]))
    ratios = [3] * len(corpora) + [1] * len(COSTS)
    figure, (panels,) = grid(1, len(ratios), 1.2 + 0.24 * len(places), sharey=True, width_ratios=ratios)
    *panels, weights, time = panels
    for ax, corpus in zip(panels, corpora, strict=True):
        rows = table[table["corpus"] == corpus]
        own, colours = rows["fusion"].map(places), rows["kind"].map(COLOUR)
        whiskers(ax, rows, own, colours)
        ax.scatter(rows["value"], own, 5.5**2, color=colours, zorder=3)
        if chance and corpus in chance:
            ax.axvline(chance[corpus], color=INK, linewidth=0.7, linestyle=":")
        ax.set_title(corpus, fontsize=10, loc="left")
        ax.set(xlim=(0, 104))
        ax.set_xlabel("AV (%): mean, range of runs", fontsize=9)
    for ax, (column, label) in zip((weights, time), COSTS.items(), strict=True):
        values = fusions[column] / (1000 if column == "weights" else 1)
        ax.barh(fusions["fusion"].map(places), values, 0.6, color=fusions["kind"].map(COLOUR))
        ax.set_xlabel(label, fontsize=9)
    for ax in (*panels[1:], weights, time):
        ax.tick_params(axis="y", length=0)
    name_rows(panels[0], list(places), 10)
    for name, colour in COLOUR.items():
        panels[0].plot([], [], "o", color=colour, label=name)
    legend_around(figure, "upper left")
    return figure
