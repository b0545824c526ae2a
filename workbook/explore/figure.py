"""The explorer's figure: its content, and its drawing without a browser, composed of the panels of `plots`.

In a browser, widget.js draws the same content.
"""

from dataclasses import dataclass
from html import unescape
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from workbook.attention.truth import Cues
from workbook.explore.probe import Answer, Span, in_words
from workbook.plots.attention import attention_limits, attention_map, attention_over_clip, map_reach, panel_heights
from workbook.plots.clock import Clock
from workbook.plots.marks import MOST_BARS
from workbook.plots.prediction import network_look, outputs
from workbook.plots.style import INK, QUIET, conditions_of, new_figure
from workbook.text import in_figure

FACE = 0.85  # inches of a face, at most


@dataclass(frozen=True)
class View:
    """One changed clip under one or two networks, without its pictures."""

    answers: dict[str, Answer]  # by the name of the network
    before: dict[str, Answer]  # the same, before the clip was changed
    names: list[str]  # of the outputs: the classes, or one name for a score
    truth: str  # one of the names, or the true score
    title: str  # the clip and its changes
    clock: Clock
    times: dict[str, np.ndarray]  # the centre of each input step on the clock, by modality
    cues: Cues  # true spans of face and voice, where they are known
    masked: dict[str, tuple[Span, ...]]  # spans of zeros, by modality
    scores: dict[str, np.ndarray]  # integrated gradients of the first network, by modality; {} = not computed
    head: tuple[str, int] | None  # direction and head (from 0) of the attention map

    @property
    def conditions(self) -> list[str]:
        """The conditions under which a network answers, in the order of the figure."""
        return conditions_of({name for answer in self.answers.values() for name in answer.outputs})

    @property
    def words(self) -> str:
        """The answers of the networks, for readers who do not see the figure."""
        sentences = [f"{name}: {in_words(answer, self.names)}" for name, answer in self.answers.items()]
        return unescape(" ".join(sentences).replace("**", ""))

    @property
    def maps(self) -> dict[str, tuple[str, np.ndarray]]:
        """The name and the weights (Tq, Tk) of the chosen map, of each network that has this head."""
        return {
            network: (name, answer.maps[direction][head])
            for network, answer in self.answers.items()
            for name, (direction, head) in answer.heads.items()
            if (direction, head) == self.head
        }

    @property
    def reach(self) -> float:
        """How far from 1 the colours of all maps go."""
        return max(map_reach(weights) for _, weights in self.maps.values())


def clip_figure(view: View, video: np.ndarray, audio: np.ndarray) -> Figure:
    """A changed clip over time on the left; on the right the answers of the networks and an attention map.

    video, audio : as in `plots.attention_over_clip`
    """
    first, attribution = next(iter(view.answers.values())), {"integrated gradients": view.scores}
    heights = panel_heights(first.vectors, video, attribution, FACE)
    figure = new_figure(max(7.2, sum(heights.values()) + 0.25 * len(heights) + 0.9), 12.8)
    figure.words = f"The explorer. {view.title}. {view.words}"
    left, right = figure.subfigures(1, 2, width_ratios=[1.65, 1])
    clip = first.vectors, first.times, video, audio, view.cues
    attention_over_clip(*clip, clock=view.clock, attribution=attribution, figure=left, face=FACE)
    _compare_attention(dict(zip(heights, left.axes, strict=True)), view)
    above, below = right.subfigures(2, 1, height_ratios=[1.3, 1]) if view.maps else (right, None)
    _answers(above, view)
    if view.maps:
        _maps(below, view)
    title = fill(view.title, 150, break_long_words=False, break_on_hyphens=False)
    figure.suptitle(in_figure(title), fontsize=11, x=0.01, ha="left")
    return figure


def _compare_attention(panels: dict[tuple[str, str], Axes], view: View) -> None:
    """Draws other attention over that of the first network: thin before the change, dashed of the second network.

    Masked spans are hatched. panels : as `panel_heights` names them
    """
    first, *others = view.answers.values()
    lines = [(next(iter(view.before.values())), {"color": QUIET})]
    lines += [(answer, {"color": INK, "linestyle": "--"}) for answer in others]
    for (modality, kind), ax in panels.items():
        for start, end in view.masked[modality]:
            ax.axvspan(start, end, color=INK, alpha=0.45, hatch="//", linewidth=0)
        if kind != "attention":
            continue
        vectors = [first.vectors[modality]]
        for answer, look in lines:
            if modality in answer.vectors:
                vector = answer.vectors[modality]
                steps = "steps-mid" if len(vector) <= MOST_BARS else "default"
                ax.plot(answer.times[modality], vector, linewidth=1.2, drawstyle=steps, **look)
                vectors.append(vector)
        ax.set_ylim(*attention_limits(*vectors))


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
    axes = figure.subplots(1, len(view.maps), squeeze=False)[0]
    for ax, (network, (name, weights)) in zip(axes, view.maps.items(), strict=True):
        attention_map(weights, view.answers[network].times, view.head[0], ax, view.reach, view.clock)
        ax.set_title(f"{in_figure(network)}\n{name}" if len(view.answers) > 1 else name, fontsize=9)
