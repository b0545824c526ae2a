"""What speaks for an answer: the scores of a clip's steps, and the places in its faces."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avlib import InputError
from avlib.data.clips.window import HOP, SAMPLE_RATE
from avlib.lab.plots.panels import COLOUR, INK, SECONDS, WIDTH, Clock, even_times, faces, tidy_axes, time_span


def _input_times(steps: int, modality: str, clock: Clock = SECONDS) -> np.ndarray:
    """The centres (steps,) of a modality's input steps: MFCC k at k hops; all others share the clip evenly."""
    if modality == "audio" and clock == SECONDS:
        return np.arange(steps) * HOP / SAMPLE_RATE
    return even_times(steps, clock)


def scores(values: np.ndarray, modality: str, method: str, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """How much each input step speaks for an answer (up) or against it (down), as `avlib.lab.attribution` finds it.

    values : (T,), a score per MFCC step or frame        modality : audio | video      method : for the title
    """
    ax, values = tidy_axes(ax, WIDTH, 1.4), np.asarray(values, dtype=float)
    times, colour = _input_times(len(values), modality, clock), COLOUR[modality]
    if len(values) <= 30:
        ax.bar(times, values, width=0.96 * time_span(times, clock)[2], color=colour)
    else:
        ax.plot(times, values, color=colour, linewidth=1.2)
        ax.fill_between(times, 0, values, color=colour, alpha=0.25, linewidth=0)
    ax.axhline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    ax.set(xlim=(0, clock.length), xlabel=clock.label)
    title = f"{modality}: {method}, for (+) or against (−) the answer"
    ax.set_title(title, loc="left", fontsize=9, color=colour)
    return ax


def grad_cam(strip: np.ndarray, heat: np.ndarray, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """A row of faces, bright where the frame network's maps speak for the answer and dark elsewhere.

    A map has S / 32 cells a side with EfficientFace: 7 of 224 pixels, and only 2 of 64.

    strip : (Tv, S, S, 3) uint8 RGB        heat : (Tv, S, S) in [0, 1], as `avlib.lab.attribution.grad_cam` finds it
    """
    if heat.shape != strip.shape[:3]:
        raise InputError(f"the faces are {strip.shape[:3]} and Grad-CAM is {heat.shape}: they must agree.")
    lit = (strip * (0.25 + 0.75 * heat[..., None])).round().astype(np.uint8)
    return faces(lit, even_times(len(strip), clock), ax, clock)
