"""The explorer's figure: its content, and its two drawings.

In a browser, Python sends numbers and small pictures, and widget.js draws them. So a step takes the time of the
network, and the cursor can follow the sound. Without a browser, the figure is composed of the panels of `plots`.
"""

from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from textwrap import fill
from typing import Any

import anywidget
import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from workbook.attention.truth import CUE, Cues
from workbook.explore.pictures import heat_png
from workbook.explore.probe import Answer, Span, in_words
from workbook.plots import style
from workbook.plots.attention import (
    attention_limits,
    attention_map,
    attention_over_clip,
    map_reach,
    multiples_of_even,
    panel_heights,
)
from workbook.plots.clock import SECONDS, Clock
from workbook.plots.marks import MOST_BARS, new_figure
from workbook.plots.prediction import network_look, outputs
from workbook.text import in_figure

FACE = 0.85  # inches of a face, at most
FOLDER = Path(__file__).parent
LOOK = {
    "colours": style.COLOUR | {"ink": style.INK, "quiet": style.QUIET, "shade": style.SHADE},
    "text": {colour: style.text_colour(colour) for colour in (style.AUDIO, style.VIDEO, style.BOTH)},
}


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
        return style.conditions_of({name for answer in self.answers.values() for name in answer.outputs})

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


class FigureWidget(anywidget.AnyWidget):
    """The figure of one changed clip. A step sets its traits in one `hold_sync`, so that they are drawn at once."""

    _esm, _css = FOLDER / "widget.js", FOLDER / "widget.css"
    view = traitlets.Dict().tag(sync=True)  # as `as_drawn`
    video = traitlets.Bytes().tag(sync=True)  # a row of faces as JPEG, or features as PNG
    audio = traitlets.Bytes().tag(sync=True)  # a spectrogram, or features, as PNG
    sound = traitlets.Bytes().tag(sync=True)  # wav; empty where there is none
    volume = traitlets.Float(1.0).tag(sync=True)
    masked = traitlets.Dict({"audio": [], "video": []}).tag(sync=True)  # spans, which the browser changes, too


def as_drawn(view: View) -> dict[str, Any]:
    """A view as widget.js draws it: numbers, the colours of all figures, and attention maps as PNG."""
    networks = [_network(view, name) for name in view.answers]
    if view.scores:
        networks[0]["scores"] = _lists(view.scores)
    return LOOK | {
        "title": view.title,
        "words": view.words,
        "clock": asdict(view.clock),
        "frames": len(view.times["video"]) if view.clock is SECONDS else 0,  # in the row of faces; 0 = features
        "times": _lists(view.times),
        "names": view.names,
        "truth": view.truth,
        "range": [0, 1] if len(view.names) > 1 else [-3, 3],
        "cues": {modality: view.cues[cue] for modality, cue in CUE.items() if cue in view.cues},
        "conditions": {name: style.CONDITION_STYLE[name] for name in view.conditions},
        "networks": networks,
    }


def _network(view: View, name: str) -> dict[str, Any]:
    network = {"label": name, **_numbers(view.answers[name]), "before": _numbers(view.before[name])}
    if name in view.maps:
        (words, weights), (key, query) = view.maps[name], view.head[0].split("_to_")
        values, colours = multiples_of_even(weights), style.AROUND[key].with_extremes(bad=style.SHADE)
        png = heat_png(values, colours, 1 - view.reach, 1 + view.reach)
        network["map"] = {"name": words, "key": key, "query": query, "png": png}
    return network


def _numbers(answer: Answer) -> dict[str, dict[str, list[float]]]:
    return {name: _lists(getattr(answer, name)) for name in ("outputs", "vectors", "times")}


def _lists(arrays: dict) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in arrays.items()}


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
    lines = [(next(iter(view.before.values())), {"color": style.QUIET})]
    lines += [(answer, {"color": style.INK, "linestyle": "--"}) for answer in others]
    for (modality, kind), ax in panels.items():
        for start, end in view.masked[modality]:
            ax.axvspan(start, end, color=style.INK, alpha=0.45, hatch="//", linewidth=0)
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
        keys = [
            Patch(**network_look(order, style.QUIET), label=in_figure(name)) for order, name in enumerate(view.answers)
        ]
        figure.legend(handles=keys, loc="outside lower center", frameon=False, fontsize=9)


def _maps(figure: SubFigure, view: View) -> None:
    """The chosen attention map of each network, on one scale."""
    axes = figure.subplots(1, len(view.maps), squeeze=False)[0]
    for ax, (network, (name, weights)) in zip(axes, view.maps.items(), strict=True):
        attention_map(weights, view.answers[network].times, view.head[0], ax, view.reach, view.clock)
        ax.set_title(f"{in_figure(network)}\n{name}" if len(view.answers) > 1 else name, fontsize=9)
