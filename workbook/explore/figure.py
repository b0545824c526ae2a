"""The explorer's figure without a browser, composed of the panels of `plots`."""

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from workbook.explore.view import View, map_name
from workbook.plots.attention import attention_limits, attention_map, draw_clip, heights_of, panels_of
from workbook.plots.marks import MOST_BARS
from workbook.plots.prediction import network_look, outputs
from workbook.plots.style import INK, QUIET, new_figure
from workbook.text import in_figure

FACE = 0.85  # inches of a face, at most


def clip_figure(view: View, video: np.ndarray, audio: np.ndarray) -> Figure:
    """A changed clip over time on the left; on the right the answers of the networks and an attention map.

    video, audio : as in `plots.attention_over_clip`
    """
    panels = heights_of(panels_of(next(iter(view.answers.values())).vectors, {"": view.scores}), video, FACE)
    figure = new_figure(max(7.2, sum(panels) + 0.25 * len(panels) + 0.9), 12.8)
    left, right = figure.subfigures(1, 2, width_ratios=[1.65, 1])
    _over_time(left, view, video, audio)
    above, below = right.subfigures(2, 1, height_ratios=[1.3, 1]) if view.maps else (right, None)
    _answers(above, view)
    if view.maps:
        _maps(below, view)
    title = fill(view.title, 150, break_long_words=False, break_on_hyphens=False)
    figure.suptitle(in_figure(title), fontsize=11, x=0.01, ha="left")
    return figure


def _over_time(figure: SubFigure, view: View, video: np.ndarray, audio: np.ndarray) -> None:
    """Attention and scores over the inputs; masked spans are hatched, thin lines are attention before the change."""
    first, *others = view.answers.values()
    attribution = {"integrated gradients": view.scores}
    panels = draw_clip(figure, first.vectors, first.times, video, audio, view.cues, view.clock, attribution, FACE)
    lines = [(next(iter(view.before.values())), {"color": QUIET})]
    lines += [(answer, {"color": INK, "linestyle": "--"}) for answer in others]
    for (modality, kind), ax in panels.items():
        if kind == "attention":
            _compare(ax, modality, [(answer, look) for answer, look in lines if modality in answer.vectors])
            ax.set_ylim(*attention_limits(*view.vectors(modality)))
        for start, end in view.masked.get(modality, ()):
            ax.axvspan(start, end, color=INK, alpha=0.45, hatch="//", linewidth=0)


def _compare(ax: Axes, modality: str, answers: list) -> None:
    """Draws the attention of other answers, each with its look, over that of the first network."""
    for answer, look in answers:
        vector = answer.vectors[modality]
        steps = "steps-mid" if len(vector) <= MOST_BARS else "default"
        ax.plot(answer.times[modality], vector, linewidth=1.2, drawstyle=steps, **look)


def _answers(figure: SubFigure, view: View) -> None:
    """The outputs of all networks, a panel for each condition; a mark stands at the truth."""
    axes = figure.subplots(1, len(view.conditions), sharey=True, squeeze=False)[0]
    for ax, condition in zip(axes, view.conditions, strict=True):
        values = [[answer.outputs.get(condition) for answer in side.values()] for side in (view.answers, view.before)]
        outputs(*values, condition, view.names, ax)
    names = [f"▸ {name}" if name == view.truth else name for name in view.names]
    axes[0].set_yticks(range(len(names)), map(in_figure, names if len(names) > 1 else [f"true: {view.truth}"]))
    if len(view.answers) > 1:
        keys = [Patch(**network_look(order, QUIET), label=in_figure(name)) for order, name in enumerate(view.answers)]
        figure.legend(handles=keys, loc="outside lower center", frameon=False, fontsize=9)


def _maps(figure: SubFigure, view: View) -> None:
    """The chosen attention map of each network, on one scale."""
    direction, head = view.map_choice
    for ax, (name, weights) in zip(
        figure.subplots(1, len(view.maps), squeeze=False)[0], view.maps.items(), strict=True
    ):
        attention_map(weights, view.answers[name].times, direction, ax, view.reach, view.clock)
        title = map_name(direction, head, len(view.answers[name].maps[direction]))
        ax.set_title(f"{in_figure(name)}\n{title}" if len(view.answers) > 1 else title, fontsize=9)
