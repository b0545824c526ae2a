"""The results of evaluations: confusions, accuracies, what modality dropout changes, and what an exchange buys."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from avlib.dropout import DROPOUTS
from workbook.plots.marks import bold_title, cells, dots, grid, legend_above, legend_around, name_rows, tidy_axes
from workbook.plots.style import HALO, INK, NAVY, QUIET, WIDTH, condition_style, conditions_of
from workbook.text import in_figure

EXCHANGES = {"no exchange": QUIET, "exchange without attention": "#7f9ccb", "attention": NAVY}  # colours
COSTS = {"weights": "extra weights\n(thousands)", "time": "time of a step\n(concat = 1)"}


def confusions(matrices: dict[str, np.ndarray], names: list[str], label: str = "emotion") -> Figure:
    """Confusion matrices in percent of the true class, a panel per condition.

    matrices : by condition or by any title, (K, K) counts, rows true, columns predicted; a row without clips is empty
    names : of the K classes        label : what a class is
    """
    larger = max(1.0, len(names) / 10)  # than for the emotions of a corpus
    width = 4 * WIDTH / 3 if len(matrices) > 2 else 4.6 * len(matrices)
    figure, (panels,) = grid(1, len(matrices), 3.7 * larger, width * larger, sharey=True)
    for ax, (condition, matrix) in zip(panels, matrices.items(), strict=True):
        counts = pd.DataFrame(matrix, names, names)
        percent = 100 * counts.div(counts.sum(axis=1), axis=0)
        cells(ax, percent, NAVY, fmt=".0f", square=True, xticklabels=True, yticklabels=True)
        ax.set_xlabel("predicted")
        plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
        colour, title = condition_style(condition)
        bold_title(ax, title, colour, 11, loc="center")
    panels[0].set_ylabel(f"true {label} (rows in percent)")
    return figure


def per_emotion(table: pd.DataFrame, ax: Axes | None = None, label: str = "emotion") -> Axes:
    """Accuracy of every class under every condition.

    table : columns emotion, condition, accuracy (percent)        label : what a class is
    """
    ax = tidy_axes(ax, WIDTH, 3.2)
    wide = table.pivot_table("accuracy", "emotion", "condition", sort=False, dropna=False)
    wide = wide[conditions_of(table["condition"])]
    colours, names = zip(*map(condition_style, wide), strict=True)
    wide.rename(index=in_figure).plot.bar(ax=ax, color=colours, edgecolor="white", width=0.75, rot=0)
    ax.set(xlabel=f"true {label}", ylabel="accuracy (%)", ylim=(0, 100))
    legend_above(ax, labels=names)
    return ax


def conditions(table: pd.DataFrame, reachable: dict[str, float] | None = None, chance: float | None = None) -> Axes:
    """Accuracy with both modalities and with one missing, without and with modality dropout.

    table : columns dropout, condition (AV, A, V, M, A noise, V noise), accuracy (percent). Bars stand in the order of
        its kinds of dropout, or of the systems named there. Several rows of a bar, such as seeds, are drawn as their
        mean and their range.
    reachable : the best accuracy that a condition admits, percent; "without an exchange" is one for AV, too
    chance : percent
    """
    ax = tidy_axes(None, WIDTH, 3.6)
    groups, kinds = conditions_of(table["condition"]), list(dict.fromkeys(table["dropout"]))
    accuracies = table.groupby(["dropout", "condition"]).accuracy.agg(["mean", "min", "max"])
    tints, width = np.linspace(0.4, 1, len(kinds)) if len(kinds) > 1 else [1.0], 0.78 / len(kinds)
    number = {"fontsize": 9, "color": INK, "ha": "center", "va": "bottom", "path_effects": HALO, "zorder": 4}
    for place, (kind, tint) in enumerate(zip(kinds, tints, strict=True)):
        centres = np.arange(len(groups)) + (place - (len(kinds) - 1) / 2) * width
        values = accuracies.loc[kind].reindex(groups)
        colours = [condition_style(name)[0] for name in groups]
        ax.bar(centres, values["mean"], 0.94 * width, color=colours, alpha=tint, linewidth=0)
        if len(table) > len(accuracies):
            ax.vlines(centres, values["min"], values["max"], color=INK, linewidth=1)
        for centre, value in zip(centres, values["mean"], strict=True):
            if np.isfinite(value):
                ax.text(centre, 2, f"{value:.1f}" if len(kinds) < 4 else f"{value:.0f}", **number)
    names = [f"dropout: {kind}" if kind in (*DROPOUTS, "unknown") else in_figure(kind) for kind in kinds]
    keys = [Patch(facecolor=QUIET, alpha=tint, label=name) for name, tint in zip(names, tints, strict=True)]
    keys += _yardsticks(ax, groups, reachable or {}, chance)
    legend_above(ax, 1.02, handles=keys, columnspacing=1.4, handlelength=1.6)
    ax.set(xlim=(-0.5, len(groups) - 0.5), ylim=(0, 105), ylabel="accuracy (%)")
    ax.set_xticks(range(len(groups)), [condition_style(name)[1].replace("  ", "\n") for name in groups], fontsize=10)
    ax.tick_params(axis="x", length=0)
    return ax


def _yardsticks(ax: Axes, groups: list[str], reachable: dict[str, float], chance: float | None) -> list[Line2D]:
    """Draws dashes at the best reachable accuracy, dots without an exchange, a line at chance; returns their keys."""
    keys = {}
    for name, value in reachable.items():
        group, label, dashes = name, "best reachable", (4, 2)
        if name == "without an exchange":
            group, label, dashes = "AV", "expected without an exchange", (1, 1.5)
        if group in groups:
            ends, look = groups.index(group) + np.array([-0.42, 0.42]), {"linestyle": (0, dashes), "label": label}
            (keys[label],) = ax.plot(ends, [value, value], color=INK, linewidth=1.3, **look)
            ax.text(ends[1], value, f"{value:.3g}", fontsize=8, color=INK, va="center", path_effects=HALO)
    if chance is not None:
        keys["chance"] = ax.axhline(chance, color=INK, linewidth=0.7, label=f"chance {chance:g} %")
    return list(keys.values())


def score_table(table: pd.DataFrame) -> Axes:
    """Accuracies as a coloured table, for more runs than bars can show: a row per kind of dropout or system.

    table : as in `conditions`; several folds or seeds of a kind are shown by their mean
    """
    kinds = list(dict.fromkeys(table["dropout"]))
    values = table.pivot_table(index="dropout", columns="condition", values="accuracy")
    ax = tidy_axes(None, 4.5, 0.28 * len(kinds) + 0.9)
    look = {"cbar": True, "cbar_kws": {"label": "accuracy (%)"}}
    cells(ax, values.loc[kinds, conditions_of(table["condition"])], NAVY, 9, **look)
    return ax


def sentiment(table: pd.DataFrame) -> Figure:
    """Predicted over true sentiment of every clip, a panel per condition; on the dashed line a prediction is right.

    Darker cells hold more clips, on one scale for all panels. The title has the mean absolute error.

    table : columns label and value (sentiment in [-3, 3]) and condition; only AV, A and V are drawn
    """
    names = [name for name in ("AV", "A", "V") if name in set(table["condition"])]
    end = 1.05 * max(3.0, table[["label", "value"]].abs().to_numpy().max())
    figure, (panels,) = grid(1, len(names), 3.1, WIDTH * len(names) / 3, sharex=True, sharey=True)
    square = {"xlim": (-end, end), "ylim": (-end, end), "xticks": range(-3, 4), "yticks": range(-3, 4)}
    hexagons = []
    for ax, name in zip(panels, names, strict=True):
        rows, (colour, title) = table[table["condition"] == name], condition_style(name)
        look = {"gridsize": 24, "extent": (-end, end, -end, end), "mincnt": 1}
        hexagons.append(ax.hexbin(rows["label"], rows["value"], cmap=sns.light_palette(colour, as_cmap=True), **look))
        ax.plot([-end, end], [-end, end], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.set(**square, xlabel="true sentiment", aspect="equal")
        error = (rows["label"] - rows["value"]).abs().mean()
        bold_title(ax, f"{title}: MAE {error:.2f}", colour, loc="center")
    most = max(image.get_array().max() for image in hexagons)
    for image in hexagons:
        image.set_clim(0, most)
    panels[0].set_ylabel("predicted sentiment")
    return figure


def exchanges(table: pd.DataFrame, chance: dict[str, float] | None = None) -> Figure:
    """A row per fusion, a panel per corpus: AV as the mean over runs and their range; beside it weights and time.

    table : as `workbook.run.results.exchange_table`      chance : a line at this percentage, by corpus
    """
    order = table["kind"].map(list(EXCHANGES).index).argsort(kind="stable")
    fusions = table.iloc[order].drop_duplicates("fusion")
    places = {fusion: place for place, fusion in enumerate(fusions["fusion"])}
    corpora = list(dict.fromkeys(table["corpus"]))
    ratios = [3] * len(corpora) + [1] * len(COSTS)
    figure, (panels,) = grid(1, len(ratios), 1.2 + 0.24 * len(places), sharey=True, width_ratios=ratios)
    *panels, weights, time = panels
    for ax, corpus in zip(panels, corpora, strict=True):
        rows = table[table["corpus"] == corpus]
        own, colours = rows["fusion"].map(places), rows["kind"].map(EXCHANGES)
        dots(ax, rows, own, colours)
        if chance and corpus in chance:
            ax.axvline(chance[corpus], color=INK, linewidth=0.7, linestyle=":")
        ax.set_title(corpus, fontsize=10, loc="left")
        ax.set(xlim=(0, 104))
        ax.set_xlabel("AV (%): mean, range of runs", fontsize=9)
    for ax, (column, label) in zip((weights, time), COSTS.items(), strict=True):
        values = fusions[column] / (1000 if column == "weights" else 1)
        ax.barh(fusions["fusion"].map(places), values, 0.6, color=fusions["kind"].map(EXCHANGES))
        ax.set_xlabel(label, fontsize=9)
    for ax in (*panels[1:], weights, time):
        ax.tick_params(axis="y", length=0)
    name_rows(panels[0], list(places), 10)
    for name, colour in EXCHANGES.items():
        panels[0].plot([], [], "o", color=colour, label=name)
    legend_around(figure, "upper left")
    return figure
