"""What came out: confusion, accuracies, the effect of modality dropout, and the training curve."""

import os
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from IPython.display import Image, display, update_display
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from avlib.dropout import DROPOUTS
from workbook import InputError
from workbook.plots.panels import CONDITION_STYLE, HALO, INK, QUIET, WIDTH, new_figure, tidy_axes
from workbook.progress import TrainingBar


def confusions(matrices: dict[str, np.ndarray], emotions: list[str], what: str = "emotion") -> Figure:
    """What the clips of every emotion were taken for, a panel per condition, in percent of that emotion's clips.

    matrices : by condition, (K, K) counts, rows true, columns predicted; a row without clips stays empty
    Another name than a condition's is the title of its panel.
    emotions : K names        what : they are names of, for the label
    """
    larger = max(1.0, len(emotions) / 10)  # than for the emotions of a corpus
    width = 4 * WIDTH / 3 if len(matrices) > 2 else 4.6 * len(matrices)
    figure = new_figure(height=3.7 * larger, width=width * larger)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for ax, (condition, matrix) in zip(panels, matrices.items(), strict=True):
        _confusion(ax, np.asarray(matrix, dtype=float), emotions, what)
        colour, meaning = CONDITION_STYLE.get(condition, (INK, ""))
        ax.set_title(f"{condition}  {meaning}", fontsize=11, color=colour, fontweight="bold")
    panels[0].set_ylabel(f"true {what} (rows in percent)")
    return figure


def _confusion(ax: Axes, matrix: np.ndarray, emotions: list[str], what: str) -> None:
    if matrix.shape != (len(emotions), len(emotions)):
        raise InputError(
            f"the confusion matrix is {matrix.shape} for {len(emotions)} names of {what}: it must be square in them."
        )
    with np.errstate(invalid="ignore"):
        percent = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    sns.heatmap(
        percent,
        vmin=0,
        vmax=100,
        cmap=sns.light_palette("#2b4162", as_cmap=True),
        annot=True,
        fmt=".0f",
        annot_kws={"fontsize": 8},
        square=True,
        cbar=False,
        linewidths=1,
        linecolor="white",
        xticklabels=emotions,
        yticklabels=emotions,
        ax=ax,
    )
    ax.set(xlabel="predicted", ylabel="")
    ax.tick_params(length=0, labelsize=9)
    plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    plt.setp(ax.get_yticklabels(), rotation=0)


def per_emotion(table: pd.DataFrame, ax: Axes | None = None, what: str = "emotion") -> Axes:
    """Accuracy of every emotion under every condition.

    table : columns emotion, condition, accuracy (percent)        what : the emotions are, for the label
    """
    ax = tidy_axes(ax, WIDTH, 3.2)
    present = [name for name in CONDITION_STYLE if name in set(table["condition"])]
    palette = {name: CONDITION_STYLE[name][0] for name in present}
    sns.barplot(
        table,
        x="emotion",
        y="accuracy",
        hue="condition",
        hue_order=present,
        palette=palette,
        saturation=1,
        errorbar=None,
        width=0.75,
        gap=0.08,
        ax=ax,
    )
    ax.set(xlabel=f"true {what}", ylabel="accuracy (%)", ylim=(0, 100))
    labels = [f"{name}  {CONDITION_STYLE[name][1]}" for name in present]
    handles = ax.get_legend_handles_labels()[0]
    ax.legend(handles, labels, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9)
    return ax


def conditions(
    table: pd.DataFrame,
    reachable: dict[str, float] | None = None,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Accuracy with both modalities and with one missing, without and with modality dropout.

    table : columns dropout, condition (AV, A, V, M, A noise, V noise), accuracy (percent); bars stand in the order of
        its dropout kinds, or of the systems that are named there. Several rows of a bar, such as seeds, are shown by
        their mean and their range.
    reachable : the best accuracy that a condition admits, percent; "without attention" is one for AV, too
    chance : percent
    """
    ax = tidy_axes(ax, WIDTH, 3.6)
    groups = [name for name in CONDITION_STYLE if name in set(table["condition"])]
    kinds = list(dict.fromkeys(table["dropout"]))
    accuracies = table.groupby(["dropout", "condition"]).accuracy.agg(["mean", "min", "max"])
    tints, width = np.linspace(0.4, 1, len(kinds)) if len(kinds) > 1 else [1.0], 0.78 / len(kinds)
    for place, (kind, tint) in enumerate(zip(kinds, tints, strict=True)):
        centres = np.arange(len(groups)) + (place - (len(kinds) - 1) / 2) * width
        values = accuracies.loc[kind].reindex(groups)
        ax.bar(centres, values["mean"], 0.94 * width, color=[_tinted(CONDITION_STYLE[g][0], tint) for g in groups])
        if len(table) > len(accuracies):
            ax.vlines(centres, values["min"], values["max"], color=INK, linewidth=1)
        for centre, value in zip(centres, values["mean"], strict=True):
            if np.isfinite(value):
                label = f"{value:.1f}" if len(kinds) < 4 else f"{value:.0f}"
                ax.text(centre, 2, label, fontsize=9, color=INK, ha="center", va="bottom", path_effects=HALO, zorder=4)
    names = [f"dropout: {kind}" if kind in DROPOUTS else kind for kind in kinds]
    keys = [Patch(color=_tinted(QUIET, tint), label=name) for name, tint in zip(names, tints, strict=True)]
    keys += _yardsticks(ax, groups, reachable or {}, chance)
    ax.legend(
        handles=keys,
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0, 1.02),
        frameon=False,
        fontsize=9,
        columnspacing=1.4,
        handlelength=1.6,
    )
    ax.set(xticks=range(len(groups)), xlim=(-0.5, len(groups) - 0.5), ylim=(0, 105), ylabel="accuracy (%)")
    ax.set_xticklabels([f"{name}\n{CONDITION_STYLE[name][1]}" for name in groups], fontsize=10)
    ax.tick_params(axis="x", length=0)
    return ax


def score_table(table: pd.DataFrame) -> Axes:
    """Accuracies as a coloured table, for more runs than bars can show: a row per kind of dropout or system.

    table : as in `conditions`; several folds or seeds of a kind are shown by their mean
    """
    groups = [name for name in CONDITION_STYLE if name in set(table["condition"])]
    kinds = list(dict.fromkeys(table["dropout"]))
    values = table.pivot_table(index="dropout", columns="condition", values="accuracy").loc[kinds, groups]
    ax = tidy_axes(None, 4.5, 0.28 * len(kinds) + 0.9)
    look = {"annot": True, "fmt": ".1f", "annot_kws": {"fontsize": 9}, "linewidths": 1, "linecolor": "white"}
    paint = sns.light_palette("#2b4162", as_cmap=True)
    sns.heatmap(values, vmin=0, vmax=100, cmap=paint, cbar_kws={"label": "accuracy (%)"}, ax=ax, **look)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelsize=9)
    plt.setp(ax.get_yticklabels(), rotation=0)
    return ax


def _tinted(colour: str, strength: float) -> np.ndarray:
    """The colour mixed with white; strength 1 is the colour itself."""
    return 1 - strength * (1 - np.array(to_rgb(colour)))


def _yardsticks(ax: Axes, groups: list[str], reachable: dict[str, float], chance: float | None) -> list[Line2D]:
    """Dashes at the best reachable accuracy, dots without attention, a line at chance; returns their legend keys."""
    best, luck = {"color": INK, "linewidth": 1.3, "linestyle": (0, (4, 2))}, {"color": INK, "linewidth": 0.7}
    blind = best | {"linestyle": (0, (1, 1.5))}
    keys = []
    for name, value in reachable.items():
        group, style = ("AV", blind) if name == "without attention" else (name, best)
        if group in groups:
            ax.plot(groups.index(group) + np.array([-0.42, 0.42]), [value, value], **style)
            ax.text(
                groups.index(group) + 0.43, value, f"{value:.3g}", fontsize=8, color=INK, va="center", path_effects=HALO
            )
    if reachable:
        keys.append(Line2D([], [], label="best reachable", **best))
    if "without attention" in reachable:
        keys.append(Line2D([], [], label="expected without attention", **blind))
    if chance is not None:
        ax.axhline(chance, **luck)
        keys.append(Line2D([], [], label=f"chance {chance:g} %", **luck))
    return keys


def sentiment(table: pd.DataFrame) -> Figure:
    """Predicted over true sentiment of every clip, a panel per condition; on the dashed line a prediction is right.

    Darker cells hold more clips, on one scale for all panels. The title has the mean absolute error.

    table : columns label and value (sentiment in [-3, 3]), condition (AV, A, V; others are not shown)
    """
    shown = [name for name in ("AV", "A", "V") if name in set(table["condition"])]
    if not shown:
        raise InputError("no prediction is of condition AV, A or V: there is nothing to show.")
    figure = new_figure(height=3.1, width=WIDTH * len(shown) / 3)
    figure.set_layout_engine("constrained")
    end = 1.05 * max(3.0, table[["label", "value"]].abs().to_numpy().max())
    panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for ax, name in zip(panels, shown, strict=True):
        _sentiment_panel(ax, table[table["condition"] == name], name, end)
    cells = [ax.collections[0] for ax in panels]
    for image in cells:
        image.set_clim(0, max(other.get_array().max() for other in cells))
    panels[0].set_ylabel("predicted sentiment")
    return figure


def _sentiment_panel(ax: Axes, rows: pd.DataFrame, condition: str, end: float) -> None:
    colour, name = CONDITION_STYLE[condition]
    tidy_axes(ax)
    paint = sns.light_palette(colour, as_cmap=True)
    ax.hexbin(rows["label"], rows["value"], gridsize=24, extent=(-end, end, -end, end), cmap=paint, mincnt=1)
    ax.plot([-end, end], [-end, end], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set(xlim=(-end, end), ylim=(-end, end), xlabel="true sentiment", aspect="equal")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_locator(MultipleLocator(1))
    error = (rows["label"] - rows["value"]).abs().mean()
    ax.set_title(f"{condition}  {name}: MAE {error:.2f}", fontsize=10, color=colour, fontweight="bold")


def history(table: pd.DataFrame, labels: tuple[str, str] = ("loss", "accuracy (%)")) -> Figure:
    """Loss and accuracy of training and validation over the epochs, best epoch and learning rate marked.

    table : columns epoch, train_loss, train_accuracy, validation_loss, validation_accuracy (percent), learning_rate,
            best (True = better than all epochs before; the weights of the last such are kept)
    labels : what the loss and the accuracy are called, as a task's `measures`
    """
    figure = new_figure(height=2.9)
    figure.set_layout_engine("constrained")
    kept = table[table["best"].astype(bool)].iloc[-1]
    for ax, quantity, label in zip(figure.subplots(1, 2), ("loss", "accuracy"), labels, strict=True):
        tidy_axes(ax)
        for part, colour in (("train", "#a9a9a9"), ("validation", "#2b4162")):
            ax.plot(table["epoch"], table[f"{part}_{quantity}"], color=colour, label=part, marker="o", markersize=2.5)
        ax.set(xlabel="epoch", ylabel=label, xlim=(table["epoch"].min() - 0.5, table["epoch"].max() + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.plot(kept["epoch"], kept[f"validation_{quantity}"], "o", markersize=9, color=INK, fillstyle="none")
    figure.axes[0].legend(frameon=False, fontsize=9)
    caption = f"best epoch {kept['epoch']:.0f}: {kept['validation_accuracy']:.1f} %, loss {kept['validation_loss']:.3f}"
    figure.axes[1].set_title(caption, fontsize=10, loc="left")
    _mark_learning_rates(figure.axes[0], table)
    return figure


def _mark_learning_rates(ax: Axes, table: pd.DataFrame) -> None:
    """A dotted line and the new value wherever the learning rate changed."""
    changed = table[table["learning_rate"].diff().fillna(0) != 0]
    for epoch, rate in zip(changed["epoch"], changed["learning_rate"], strict=True):
        ax.axvline(epoch, color=QUIET, linewidth=0.8, linestyle=":")
        ax.text(
            epoch,
            1,
            f" {rate:g}",
            transform=ax.get_xaxis_transform(),
            fontsize=8,
            color=QUIET,
            va="top",
            path_effects=HALO,
        )
    first = table["learning_rate"].iloc[0]
    ax.set_title(f"learning rate {first:g}" + (", then as marked" if len(changed) else ""), fontsize=10, loc="left")


class LiveHistory:
    """A training that can be watched: a bar for the batches, and a curve that is drawn anew after every epoch.

        curve = LiveHistory(labels, epochs)
        for row in fit(..., progress=curve.batch):
            curve.add(row)

    In a notebook one picture is replaced under the cell and its last state stays there, headless runs included.
    Outside one no picture is shown. The rows are kept in `table`.
    """

    def __init__(self, labels: tuple[str, str] = ("loss", "accuracy (%)"), epochs: int = 0):
        """labels : as in `history`        epochs : the last one of this training, counted from 1"""
        self.table, self.labels = pd.DataFrame(), labels
        self.bar = TrainingBar(epochs)
        self.batch = self.bar.batch
        self._name = f"history-{id(self)}-{os.getpid()}"
        self._shown = False

    def add(self, row: dict[str, float]) -> None:
        """Take in one epoch and redraw."""
        self.bar.epoch(row)
        self.table = pd.concat([self.table, pd.DataFrame([row])], ignore_index=True)
        if get_ipython() is None:
            return
        show = update_display if self._shown else display
        show(self._picture(), display_id=self._name)
        self._shown = True

    def _picture(self) -> Image:
        png = BytesIO()
        history(self.table, self.labels).savefig(png, format="png", dpi=144)
        return Image(png.getvalue(), width=int(96 * WIDTH))
