"""Empty figures and panels, saving, and the marks that figures share: intervals, cells, names, titles and legends."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbook.files import atomic_write
from workbook.plots.style import INK, QUIET, WIDTH, text_colour
from workbook.text import in_figure

FEWEST_ACTORS = 8  # an interval of fewer is of one fold, or of very few people
DPI = 150  # of saved figures
MOST_BARS = 30  # steps; of more, a line


class DescribedFigure(Figure):
    """A figure that a notebook shows with an alternative text, for readers who do not see it."""

    words = ""  # the alternative text; "" = its `description`

    def _repr_html_(self) -> str:
        from IPython import get_ipython
        from IPython.core.pylabtools import print_figure

        png = print_figure(self, "png", base64=True)
        if shell := get_ipython():  # image/png is asked for next; so the figure is drawn once
            shell.display_formatter.formatters["image/png"].for_type(DescribedFigure, lambda figure: png)
        return f'<img alt="{escape(self.words or description(self))}" src="data:image/png;base64,{png}">'


def description(figure: Figure) -> str:
    """The titles, axes and legends of a figure in words, each once."""
    panels, legends = figure.axes, [*figure.legends, *filter(None, (ax.get_legend() for ax in figure.axes))]
    parts = {
        "Figure": [figure.get_suptitle(), *(ax.get_title(loc) for ax in panels for loc in ("left", "center"))],
        "across": [ax.get_xlabel() for ax in panels],
        "upwards": [ax.get_ylabel() for ax in panels],
        "legend": [text.get_text() for legend in legends for text in legend.get_texts()],
    }
    words = {name: dict.fromkeys(" ".join(text.split()) for text in texts if text) for name, texts in parts.items()}
    texts = [f"{name}: {'; '.join(own)}" if own else name for name, own in words.items() if own or name == "Figure"]
    return ". ".join(texts).replace(r"\$", "$")


def new_figure(height: float, width: float = WIDTH, layout: str | None = "constrained") -> Figure:
    """An empty figure, closed for pyplot, so that a notebook shows it once; lengths in inches."""
    figure = plt.figure(figsize=(width, height), layout=layout, FigureClass=DescribedFigure)
    plt.close(figure)
    return figure


def grid(rows: int, columns: int, height: float, width: float = WIDTH, **subplots) -> tuple[Figure, np.ndarray]:
    """A new figure and its panels (rows, columns) of `Figure.subplots`, without upper and right spines; in inches."""
    figure = new_figure(height, width)
    panels = figure.subplots(rows, columns, squeeze=False, **subplots)
    for ax in panels.flat:
        tidy_axes(ax)
    return figure, panels


def tidy_axes(ax: Axes | None, width: float = WIDTH, height: float = 2.0) -> Axes:
    """`ax`, or new axes where it is None (inches), without the upper and right spines."""
    if ax is None:
        ax = plt.figure(figsize=(width, height), layout="constrained", FigureClass=DescribedFigure).subplots()
    sns.despine(ax=ax)
    ax.tick_params(labelsize=9, color=QUIET)
    return ax


def save(figure: Figure | Axes, path: str | Path) -> Path:
    """The path of the saved figure (DPI, tight). A failed write leaves the old file."""
    path = Path(path)
    with atomic_write(path) as temporary:
        figure.figure.savefig(temporary, dpi=DPI, bbox_inches="tight", facecolor="white")
    return path


def whiskers(ax: Axes, table: pd.DataFrame, places: Sequence[float], colour, vertical: bool = False, **look) -> None:
    """Draws the interval of each row (columns low and high) as a line at its place on the other axis.

    Where the table has a column actors, intervals of fewer than FEWEST_ACTORS are dotted.
    """
    few = table["actors"] < FEWEST_ACTORS if "actors" in table else np.zeros(len(table), dtype=bool)
    draw = ax.vlines if vertical else ax.hlines
    usual = {"color": colour, "linewidth": 1.6, "linestyles": np.where(few, ":", "-").tolist()}
    draw(places, table["low"], table["high"], **usual | look)


def dots(ax: Axes, table: pd.DataFrame, places: Sequence[float], colour, column: str = "value", **look) -> None:
    """Draws a dot for each row at its place on the y axis, and its interval as `whiskers`; look : of the dots."""
    whiskers(ax, table, places, colour)
    ax.scatter(table[column], places, **{"color": colour, "s": 25, "zorder": 3} | look)


def band(ax: Axes, x: Sequence[float], table: pd.DataFrame, column: str, colour, alpha: float, **line) -> None:
    """Draws a column over x as a line, and the interval (columns low and high) as a band around it."""
    ax.fill_between(x, table["low"], table["high"], color=colour, alpha=alpha, linewidth=0)
    ax.plot(x, table[column], color=colour, **line)


def steps(ax: Axes, times: np.ndarray, values: np.ndarray, colour: str, width: float, base: float = 0) -> None:
    """Draws values (T,) up or down from `base`: bars for up to MOST_BARS steps, a line for more; width : of a step."""
    if len(values) <= MOST_BARS:
        ax.bar(times, values - base, width=0.96 * width, bottom=base, color=colour)
    else:
        ax.plot(times, values, color=colour, linewidth=1.4)
        ax.fill_between(times, base, values, color=colour, alpha=0.25, linewidth=0)
    ax.axhline(base, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def cells(ax: Axes, table: pd.DataFrame, colours, fontsize: float = 8, **look) -> None:
    """Draws a table as coloured cells with their numbers, from 0 to 100.

    colours : a colour map, or the colour of 100        look : other arguments of `seaborn.heatmap`
    """
    paint = sns.light_palette(colours, as_cmap=True) if isinstance(colours, str) else colours
    usual = {"vmin": 0, "vmax": 100, "annot": True, "fmt": ".1f", "linewidths": 1, "linecolor": "white", "cbar": False}
    usual |= {"annot_kws": {"fontsize": fontsize}, "cmap": paint}
    sns.heatmap(table.rename(index=in_figure, columns=in_figure), ax=ax, **usual | look)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelsize=9)
    ax.tick_params(axis="y", labelrotation=0)


def name_rows(ax: Axes, names: Sequence[str], fontsize: float = 9, margin: float = 0.5) -> None:
    """Names the rows 0, 1, 2, ... on the y axis, the first on top."""
    ax.set_ylim(len(names) - margin, margin - 1)
    ax.set_yticks(range(len(names)), map(in_figure, names), fontsize=fontsize, color=INK)
    ax.tick_params(axis="y", length=0)


def bold_title(ax: Axes, text: str, colour: str, fontsize: float = 10, loc: str = "left") -> None:
    """Sets a bold title in the colour of its modality, condition or origin."""
    ax.set_title(text, loc=loc, fontsize=fontsize, color=text_colour(colour), fontweight="bold")


def box(ax: Axes, x: float, y: float, text: str, colour: str, fontsize: float) -> None:
    """Writes text in a box of this colour; x, y : its centre."""
    edge = {"boxstyle": "round,pad=0.3", "edgecolor": colour, "facecolor": "white", "linewidth": 1.4}
    ax.text(x, y, text, ha="center", va="center", fontsize=fontsize, color=text_colour(colour), bbox=edge, zorder=2)


def legend_above(ax: Axes, height: float = 1.0, **options) -> None:
    """Puts the legend above the axes, in a row; height : of its lower edge, 1 = at the axes."""
    usual = {"ncols": 4, "loc": "lower left", "bbox_to_anchor": (0, height), "frameon": False, "fontsize": 9}
    ax.legend(**usual | options)


def legend_around(figure: Figure, loc: str, **options) -> None:
    """Puts a legend outside the panels of a figure, such as at `upper center`; options : of `Figure.legend`."""
    figure.legend(**{"loc": f"outside {loc}", "ncols": 4, "frameon": False, "fontsize": 9} | options)


def colour_bar(axes: Axes | np.ndarray, label: str, **options) -> Colorbar:
    """The labelled colour bar of the first image of one panel or several; options : of `Figure.colorbar`."""
    first = np.ravel(axes)[0]
    image = (first.images or first.collections)[0]
    bar = first.figure.colorbar(image, ax=axes, **options)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=9)
    return bar
