"""What a network says of a clip of any length: probabilities over its seconds, under the faces that it saw."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook.plots.panels import CONDITION_STYLE, HALO, INK, QUIET, SHADE, new_figure, tidy_axes

if TYPE_CHECKING:
    from workbook.predict.windows import Windows

FACE = 0.45  # inches of a face's side
STRIP = 15  # faces in a row, at most
INCHES = 7.1  # the width of the panels, about
NUMBERED = 7  # windows up to which each cell has its number


def probabilities(table: pd.DataFrame, windows: "Windows", labels: Sequence[str]) -> Figure:
    """The faces of a clip over its seconds, and below them the probabilities of each condition that has an answer.

    A column is a window, drawn around its middle up to halfway to the next one. A frame surrounds the likeliest label.

    table : as `workbook.predict.prediction.answers` makes it
    """
    conditions = list(dict.fromkeys(table["condition"]))
    heights = [FACE] * bool(windows.has_video.any()) + [0.19 * len(labels)] * len(conditions)
    figure = new_figure(sum(heights) + 0.3 * len(conditions) + 0.5)
    figure.set_layout_engine("constrained")
    axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    if len(axes) > len(conditions):
        _strip(windows, axes[0])
    for condition, ax in zip(conditions, axes[-len(conditions) :], strict=True):
        _panel(table[table["condition"] == condition], condition, windows, labels, ax)
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set(xlim=(0, windows.seconds), xlabel="time in the clip (s)")
    return figure


def _panel(rows: pd.DataFrame, condition: str, windows: "Windows", labels: Sequence[str], ax: Axes) -> None:
    """A column of cells for each window, from white (0) to the condition's colour (1); grey = no answer."""
    tidy_axes(ax)
    colour, meaning = CONDITION_STYLE[condition]
    centres = windows.starts + (windows.frame_times[0, [0, -1]].mean() - windows.starts[0])
    edges = np.array([0.0, *(centres[1:] + centres[:-1]) / 2, windows.seconds])
    values = np.full((len(labels), len(centres)), np.nan)
    values[:, rows["window"]] = rows[list(labels)].to_numpy().T
    ax.set_facecolor(SHADE)
    paint = sns.blend_palette(["white", colour], as_cmap=True)
    ax.pcolormesh(
        edges, np.arange(len(labels) + 1), values, cmap=paint, vmin=0, vmax=1, edgecolor="white", linewidth=0.5
    )
    for window in rows["window"]:
        best = int(values[:, window].argmax())
        left, right = edges[window], edges[window + 1]
        ax.plot([left, right, right, left, left], best + np.array([0, 0, 1, 1, 0]), color=INK, linewidth=1.1)
        for label in range(len(labels)) if len(centres) <= NUMBERED else ():
            text = f"{100 * values[label, window]:.0f} %"
            ax.text((left + right) / 2, label + 0.5, text, ha="center", va="center", fontsize=8, path_effects=HALO)
    ax.set(yticks=np.arange(len(labels)) + 0.5, ylim=(len(labels), 0))
    ax.set_yticklabels(labels, fontsize=9, color=INK)
    ax.tick_params(axis="y", length=0)
    ax.set_title(f"{condition}  {meaning}", loc="left", fontsize=10, color=colour, fontweight="bold")


def _strip(windows: "Windows", ax: Axes) -> None:
    """Faces evenly over the clip, each where it was seen; grey = no face."""
    tidy_axes(ax)
    times, seen = windows.frame_times.ravel(), (windows.seen & windows.has_video[:, None]).ravel()
    faces = windows.video.reshape(-1, *windows.video.shape[2:])
    width = windows.seconds / min(STRIP, len(times))
    half = min(0.48 * width, FACE / INCHES * windows.seconds / 2)
    for centre in (np.arange(round(windows.seconds / width)) + 0.5) * width:
        nearest = int(np.abs(times - centre).argmin())
        extent = (centre - half, centre + half, 0, 1)
        picture = faces[nearest] if seen[nearest] else np.full((1, 1, 3), 228, np.uint8)
        ax.imshow(picture, extent=extent, aspect="auto")
    ax.set(ylim=(0, 1), yticks=[])
    ax.set_title("the followed face; grey: not seen", loc="left", fontsize=9, color=QUIET)
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False)
