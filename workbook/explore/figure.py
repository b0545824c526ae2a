"""The explorer's figure without a browser, composed of the panels of `plots`."""

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from workbook.explore.view import View, map_name
from workbook.plots.attention import attention_map, draw_clip, panels_of
from workbook.plots.prediction import network_look, outputs
from workbook.plots.style import INK, QUIET, new_figure
from workbook.text import in_figure

WIDTH, HEIGHT = 12.8, 7.2  # inches
HEIGHTS = {"attention": 1.15, "integrated gradients": 0.8, "video": 0.62, "audio": 1.1}  # of the panels, relative


def clip_figure(view: View, video: np.ndarray, audio: np.ndarray) -> Figure:
    """A changed clip over time on the left; on the right the answers of the networks and an attention map.

    video, audio : as in `plots.attention_over_clip`
    """
    figure = new_figure(HEIGHT, WIDTH)
    left, right = figure.subfigures(1, 2, width_ratios=[1.65, 1])
    _over_time(left, view, video, audio)
    with_maps = [name for name in view.answers if view.map_choice and view.map_choice[0] in view.answers[name].maps]
    above, below = right.subfigures(2, 1, height_ratios=[1.3, 1]) if with_maps else (right, None)
    _answers(above, view)
    if with_maps:
        _maps(below, view, with_maps)
    title = fill(view.title, 150, break_long_words=False, break_on_hyphens=False)
    figure.suptitle(in_figure(title), fontsize=11, x=0.01, ha="left")
    return figure


def _over_time(figure: SubFigure, view: View, video: np.ndarray, audio: np.ndarray) -> None:
    """Attention and scores over the inputs; masked spans are hatched, thin lines are attention before the change."""
    first, *others = view.answers.values()
    attribution = {"integrated gradients": view.scores}
    names = panels_of(first.vectors, attribution)
    heights = [HEIGHTS[modality if kind == "input" else kind] for modality, kind in names]
    axes = figure.subplots(len(names), 1, sharex=True, height_ratios=heights)
    panels = dict(zip(names, axes, strict=True))
    inches = (HEIGHT - 0.9 - 0.25 * len(names)) * HEIGHTS["video"] / sum(heights)  # of a face
    filled = min(0.96, inches * len(video) / (0.55 * WIDTH))
    draw_clip(panels, first.vectors, first.times, video, audio, view.cues, view.clock, attribution, filled)
    for (modality, kind), ax in panels.items():
        if kind == "attention":
            before = next(iter(view.before.values()))
            _compare(
                ax, modality, [(before, {"color": QUIET}), *((answer, {"color": INK, "ls": "--"}) for answer in others)]
            )
        for start, end in view.masked.get(modality, ()):
            ax.axvspan(start, end, color=INK, alpha=0.45, hatch="//", linewidth=0)


def _compare(ax: Axes, modality: str, answers: list) -> None:
    """Draws the attention of other answers, each with its look, over that of the first network."""
    for answer, look in answers:
        if modality in answer.vectors:
            vector = answer.vectors[modality]
            steps = {"drawstyle": "steps-mid"} if len(vector) <= 30 else {}
            ax.plot(answer.times[modality], vector, linewidth=1.2, **look, **steps)
            low, high = ax.get_ylim()
            ax.set_ylim(low, max(high, 1.1 * vector.max()))


def _answers(figure: SubFigure, view: View) -> None:
    """The outputs of all networks, a panel for each condition; a mark stands at the truth."""
    axes = figure.subplots(1, len(view.conditions), sharey=True, squeeze=False)[0]
    marked = [in_figure(f"▸ {name}" if name == view.truth else name) for name in view.names]
    names = marked if len(marked) > 1 else [f"true: {view.truth}"]
    for ax, condition in zip(axes, view.conditions, strict=True):
        values = [[answer.outputs.get(condition) for answer in side.values()] for side in (view.answers, view.before)]
        outputs(*values, condition, view.names, ax)
    axes[0].set(yticks=range(len(names)), yticklabels=names)
    if len(view.answers) > 1:
        keys = [Patch(**network_look(order, QUIET)) for order in range(2)]
        figure.legend(
            keys, [in_figure(name) for name in view.answers], loc="outside lower center", frameon=False, fontsize=9
        )


def _maps(figure: SubFigure, view: View, networks: list[str]) -> None:
    """The chosen attention map of each network."""
    direction, head = view.map_choice
    key, query = direction.split("_to_")
    for ax, name in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
        weights, times = view.map_of(name), view.answers[name].times
        if weights is None:
            ax.set_axis_off()
            continue
        attention_map(weights, times[query], times[key], query, key, ax, clock=view.clock)
        title = map_name(direction, head, len(view.answers[name].maps[direction]))
        ax.set_title(f"{in_figure(name)}\n{title}" if len(view.answers) > 1 else title, fontsize=9)
