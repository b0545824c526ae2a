"""Colours, empty figures and saving. Blue is audio, orange is video, green is both, in every figure."""

from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from workbook.files import atomic_write

AUDIO, VIDEO, BOTH = "#0173b2", "#de8f05", "#029e73"  # from seaborn's colour-blind palette
COLOUR = {"video": VIDEO, "audio": AUDIO}  # in the order of the modalities in a figure
INK, QUIET, SHADE, NAVY = "#333333", "#8a8a8a", "#e4e4e4", "#2b4162"
CONDITION_STYLE = {  # colour and meaning of each condition, in the order of the conditions in a figure
    "AV": (BOTH, "both"),
    "A": (AUDIO, "audio alone"),
    "V": (VIDEO, "video alone"),
    "M": (QUIET, "mean"),
    "A noise": (AUDIO, "noise for video"),
    "V noise": (VIDEO, "noise for audio"),
    "A zeros": (AUDIO, "zeros for video"),
    "V zeros": (VIDEO, "zeros for audio"),
}
DARKER = {VIDEO: "#8f5a00", BOTH: "#01714f", "#8a8a8a": "#6b6b6b"}  # of text: a contrast of at least 4.5 on white
AROUND = {name: sns.blend_palette([INK, "white", colour], as_cmap=True) for name, colour in COLOUR.items()}
ORIGIN_COLOUR = {"real": NAVY, "toy": "#a0528c", "paper": QUIET}  # of results, which never mix
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps a number readable where a line crosses it
WIDTH = 8.0  # inches of every full-width figure: at 150 dpi just over what GitHub shows, so text keeps its size


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


def text_colour(colour: str) -> str:
    """The colour, or a darker one that is readable as text on white."""
    return DARKER.get(colour, colour)


def condition_style(condition: str) -> tuple[str, str]:
    """The colour of a condition, and its name with its meaning, such as `A  audio alone`."""
    colour, meaning = CONDITION_STYLE.get(condition, (INK, ""))
    return colour, f"{condition}  {meaning}".rstrip()


def conditions_of(names) -> list[str]:
    """The conditions among the names, each once, in the order of a figure."""
    return [name for name in CONDITION_STYLE if name in set(names)]


def save(figure: Figure | Axes, path: str | Path) -> Path:
    """The path of the saved figure (150 dots per inch, tight). A failed write leaves the old file."""
    path = Path(path)
    with atomic_write(path) as temporary:
        figure.figure.savefig(temporary, dpi=150, bbox_inches="tight", facecolor="white")
    return path
