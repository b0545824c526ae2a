"""A network's answers: probabilities over a film, and the outputs for one clip, of one network or two."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook.plots.marks import bold_title, grid, tidy_axes
from workbook.plots.style import HALO, INK, QUIET, SHADE, condition_style, text_colour
from workbook.text import in_figure

if TYPE_CHECKING:
    from workbook.predict.windows import Windows

FACE = 0.45  # inches of a face's side
STRIP = 15  # faces in a row, at most
INCHES = 7.1  # the width of the panels, about
NUMBERED = 7  # windows up to which each cell has its number


def probabilities(table: pd.DataFrame, windows: "Windows", labels: Sequence[str]) -> Figure:
    """The faces of a clip over its seconds, and below them the probabilities of each condition that has an answer.

    A column is a window, drawn around its middle up to halfway to the next one. A frame surrounds the likeliest label.

    table : as `workbook.predict.prediction.Prediction.table`
    """
    conditions = list(dict.fromkeys(table["condition"]))
    heights = [FACE] * bool(windows.has_video.any()) + [0.19 * len(labels)] * len(conditions) or [FACE]
    height = sum(heights) + 0.3 * len(conditions) + 0.5
    figure, panels = grid(len(heights), 1, height, sharex=True, height_ratios=heights)
    axes = list(panels[:, 0])
    if windows.has_video.any():
        _strip(windows, axes[0])
    for condition, ax in zip(conditions, axes[len(axes) - len(conditions) :], strict=True):
        _panel(table[table["condition"] == condition], condition, windows, labels, ax)
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set(xlim=(0, windows.seconds), xlabel="time in the clip (s)")
    return figure


def _panel(rows: pd.DataFrame, condition: str, windows: "Windows", labels: Sequence[str], ax: Axes) -> None:
    """Draws a column of cells for each window, from white (0) to the condition's colour (1); grey = no answer."""
    colour, title = condition_style(condition)
    centres = windows.starts + (windows.frame_times[0, [0, -1]].mean() - windows.starts[0])
    edges = np.array([0.0, *(centres[1:] + centres[:-1]) / 2, windows.seconds])
    values = np.full((len(labels), len(centres)), np.nan)
    values[:, rows["window"]] = rows[list(labels)].to_numpy().T
    ax.set_facecolor(SHADE)
    look = {"cmap": sns.blend_palette(["white", colour], as_cmap=True), "edgecolor": "white", "linewidth": 0.5}
    ax.pcolormesh(edges, np.arange(len(labels) + 1), values, vmin=0, vmax=1, **look)
    number = {"ha": "center", "va": "center", "fontsize": 8, "path_effects": HALO}
    for window in rows["window"]:
        best, (left, right) = int(values[:, window].argmax()), edges[window : window + 2]
        ax.plot([left, right, right, left, left], best + np.array([0, 0, 1, 1, 0]), color=INK, linewidth=1.1)
        for label in range(len(labels)) if len(centres) <= NUMBERED else ():
            ax.text((left + right) / 2, label + 0.5, f"{100 * values[label, window]:.0f} %", **number)
    ax.set_ylim(len(labels), 0)
    ax.set_yticks(np.arange(len(labels)) + 0.5, map(in_figure, labels), fontsize=9, color=INK)
    ax.tick_params(axis="y", length=0)
    bold_title(ax, title, colour)


def _strip(windows: "Windows", ax: Axes) -> None:
    """Draws faces evenly over the clip, each at its time; grey = no face."""
    times, has_face = windows.frame_times.ravel(), (windows.has_face & windows.has_video[:, None]).ravel()
    faces = windows.pictures.reshape(-1, *windows.video.shape[2:])
    width = windows.seconds / min(STRIP, len(times))
    half = min(0.48 * width, FACE / INCHES * windows.seconds / 2)
    for centre in (np.arange(round(windows.seconds / width)) + 0.5) * width:
        nearest = int(np.abs(times - centre).argmin())
        picture = faces[nearest] if has_face[nearest] else np.full((1, 1, 3), 228, np.uint8)
        ax.imshow(picture, extent=(centre - half, centre + half, 0, 1), aspect="auto")
    ax.set(ylim=(0, 1), yticks=[])
    ax.set_title("the followed face; grey: not seen", loc="left", fontsize=9, color=text_colour(QUIET))
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False)


def outputs(
    values: Sequence[np.ndarray | None],
    before: Sequence[np.ndarray | None],
    condition: str,
    names: Sequence[str],
    ax: Axes | None = None,
) -> Axes:
    """Bars of one or two networks' outputs under a condition; the title has the answers, the second's bars are hatched.

    values : probabilities (classes,), or a score in [-3, 3] (1,), of each network; None where it gives no answer
    before : the same, of the clip before it was changed, drawn as a line in each bar        names : of the outputs
    """
    ax, (colour, title) = tidy_axes(ax, 4, 3), condition_style(condition)
    is_score, height, names = len(names) == 1, 0.8 / len(values), [*map(in_figure, names)]
    for order, (now, old) in enumerate(zip(values, before, strict=True)):
        if now is None:
            continue
        places = np.arange(len(names)) - 0.4 + (order + 0.5) * height
        ax.barh(places, now, height * 0.92, **network_look(order, colour))
        ax.vlines(old, places - height / 2, places + height / 2, color=INK, linewidth=1.5)
        title += f"\n{now[0]:+.2f}" if is_score else f"\n{names[now.argmax()]} {now.max():.0%}"
    ax.set(xlim=(-3, 3) if is_score else (0, 1), xticks=[-3, 0, 3] if is_score else [0, 1])
    ax.set_title(title, fontsize=9, color=text_colour(colour), loc="left")
    ax.set_yticks(range(len(names)), names)
    ax.yaxis.set_inverted(True)  # the first on top, also where panels share the axis
    return ax


def network_look(order: int, colour: str) -> dict[str, str]:
    """How bars of the first (0) and the second (1) network are filled."""
    return {"facecolor": "white", "edgecolor": colour, "hatch": "////"} if order else {"color": colour}
