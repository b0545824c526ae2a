"""Attribution of an answer: scores of a clip's steps, places in its faces, and the share of each modality."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbook.data.window import HOP, SAMPLE_RATE
from workbook.plots.clock import SECONDS, Clock, even_times, time_span
from workbook.plots.inputs import faces
from workbook.plots.marks import legend_above, steps
from workbook.plots.style import COLOUR, INK, QUIET, WIDTH, text_colour, tidy_axes


def scores(values: np.ndarray, modality: str, method: str, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """How much each input step speaks for an answer (up) or against it (down).

    values : (T,), a score per MFCC step or frame        modality : audio | video      method : for the title
    """
    ax = tidy_axes(ax, WIDTH, 1.4)
    has_hops = modality == "audio" and clock == SECONDS
    times = np.arange(len(values)) * HOP / SAMPLE_RATE if has_hops else even_times(len(values), clock)
    steps(ax, times, values, COLOUR[modality], time_span(times, clock)[2], linewidth=1.2)
    ax.set(xlim=(0, clock.length), xlabel=clock.label)
    title = f"{modality}: {method}, for (+) or against (−) the answer"
    ax.set_title(title, loc="left", fontsize=9, color=text_colour(COLOUR[modality]))
    return ax


def grad_cam(strip: np.ndarray, heat: np.ndarray, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """A row of faces, bright where the frame network's maps speak for the answer and dark elsewhere.

    EfficientFace's maps have S / 32 cells a side: 7 for faces of 224 pixels, 2 for faces of 64.

    strip : (Tv, S, S, 3) uint8 RGB        heat : (Tv, S, S) in [0, 1]
    """
    lit = (strip * (0.25 + 0.75 * heat[..., None])).round().astype(np.uint8)
    return faces(lit, even_times(len(strip), clock), ax, clock)


def branches(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How much sound and picture raise the output of the answer, mean over the clips of each emotion.

    table : a row per clip, columns emotion, audio, video and together, as `attention.attribution.answer_branches`
    """
    means = table.groupby("emotion", sort=False)[["audio", "video", "together"]].mean()
    ax = tidy_axes(ax, WIDTH, 0.42 * len(means) + 1.2)
    heights = np.arange(len(means), dtype=float)
    for place, name in enumerate(("audio", "video")):
        ax.barh(heights + 0.38 * (place - 0.5), means[name], 0.36, color=COLOUR[name], label=f"{name}'s share")
    ax.plot(means["together"], heights, "D", color=INK, markersize=5, label="only together")
    ax.axvline(0, color=QUIET, linewidth=0.8)
    ax.set(yticks=heights, yticklabels=means.index, xlabel="raises the output of the answer by")
    ax.invert_yaxis()
    legend_above(ax)
    return ax
