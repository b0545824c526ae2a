"""One clip as the explorer shows it, without a browser: what is seen and heard, attention, and what is said."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from workbook.attention.truth import CUE
from workbook.explore.probe import Answer
from workbook.plots.attention import attention_map, draw_heard, draw_seen, mark_cue, received_over_time
from workbook.plots.attribution import scores as draw_scores
from workbook.plots.panels import COLOUR, CONDITION_STYLE, INK, QUIET, SECONDS, Clock, new_figure, tidy_axes

SIZE = 12.8, 7.2  # inches


def explored(
    answers: dict[str, Answer],
    before: dict[str, Answer],
    seen: np.ndarray,
    heard: np.ndarray,
    names: list[str],
    truth: str,
    title: str,
    clock: Clock = SECONDS,
    cues: dict[str, tuple[float, float]] | None = None,
    masked: dict[str, tuple[tuple[float, float], ...]] | None = None,
    scores: dict[str, np.ndarray] | None = None,
    which: tuple[str, int] | None = None,
) -> Figure:
    """A changed clip under one or two networks: over time on the left, what they say and an attention map on the right.

    answers, before : what each network says about the clip, and what it said before it was changed, by its name
    seen, heard, cues : as in `attention_over_clip`      masked : spans that were taken away, by modality
    names : of the classes; one name for a score      truth : the true one
    scores : integrated gradients of the first network, by modality      which : direction and head (from 0) of the map
    """
    figure = new_figure(SIZE[1], SIZE[0])
    figure.set_layout_engine("constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.65, 1])
    _over_time(left, answers, before, seen, heard, clock, cues or {}, masked or {}, scores or {})
    maps = {name: answer for name, answer in answers.items() if which and which[0] in answer.maps}
    above, below = right.subfigures(2, 1, height_ratios=[1.3, 1]) if maps else (right, None)
    _said(above, answers, before, names, truth)
    if maps:
        _maps(below, maps, *which, clock)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def _over_time(
    figure: SubFigure,
    answers: dict[str, Answer],
    before: dict[str, Answer],
    seen: np.ndarray,
    heard: np.ndarray,
    clock: Clock,
    cues: dict,
    masked: dict,
    scores: dict,
) -> None:
    first, *others = answers.values()
    kinds = [
        (modality, kind)
        for modality in COLOUR
        for kind, there in (("attention", first.vectors), ("scores", scores), ("input", COLOUR))
        if modality in there
    ]
    heights = [
        {"attention": 1.15, "scores": 0.8, "input": 0.62 if name == "video" else 1.1}[kind] for name, kind in kinds
    ]
    panels = dict(zip(kinds, figure.subplots(len(kinds), 1, sharex=True, height_ratios=heights), strict=True))
    for (modality, kind), ax in panels.items():
        if kind == "attention":
            times, frame = first.times[modality], "frame" if seen.ndim == 4 else "video step"
            received_over_time(ax, first.vectors[modality], times, modality, frame, clock)
            _compared(ax, [next(iter(before.values())), *others], modality)
        elif kind == "scores":
            draw_scores(scores[modality], modality, "integrated gradients", ax, clock)
        elif modality == "video":
            tall = (SIZE[1] - 0.9 - 0.25 * len(kinds)) * heights[kinds.index((modality, kind))] / sum(heights)
            draw_seen(ax, seen, clock, min(0.96, tall * len(seen) / (0.55 * SIZE[0])))
            ax.set(aspect="auto")
        else:
            draw_heard(ax, heard, clock)
        for start, end in masked.get(modality, ()):
            ax.axvspan(start, end, color=INK, alpha=0.45, hatch="//", linewidth=0)
        ax.set(xlim=(0, clock.length), xlabel=clock.label if ax is list(panels.values())[-1] else "")
    for modality in COLOUR:
        axes = [ax for (name, _), ax in panels.items() if name == modality]
        mark_cue(axes[0], axes[1:-1], cues.get(CUE[modality]))


def _compared(ax: Axes, answers: list[Answer], modality: str) -> None:
    """Lines over the first network's attention: grey before the change, dashed the network beside it."""
    for answer, style in zip(answers, ({"color": QUIET}, {"color": INK, "linestyle": "--"}), strict=False):
        if modality in answer.vectors:
            vector = answer.vectors[modality]
            where = {"drawstyle": "steps-mid"} if len(vector) <= 30 else {}
            ax.plot(answer.times[modality], vector, linewidth=1.2, **style, **where)
            low, high = ax.get_ylim()
            ax.set_ylim(low, max(high, 1.1 * vector.max()))


def _said(figure: SubFigure, answers: dict, before: dict, names: list[str], truth: str) -> None:
    """Bars of probability, or of a score, for each condition; the line in a bar is what it was before the change."""
    conditions = [name for name in ("AV", "A", "V") if any(name in answer.outputs for answer in answers.values())]
    axes = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
    tall = 0.8 / len(answers)
    for ax, condition in zip(axes, conditions, strict=True):
        colour, label = CONDITION_STYLE[condition]
        said = []
        for order, (network, answer) in enumerate(answers.items()):
            if condition not in answer.outputs:
                continue
            values, old = answer.outputs[condition], before[network].outputs[condition]
            places = np.arange(len(names)) - 0.4 + (order + 0.5) * tall
            second = {"facecolor": "white", "edgecolor": colour, "hatch": "////"} if order else {"color": colour}
            ax.barh(places, values, tall * 0.92, **second)
            ax.vlines(old, places - tall / 2, places + tall / 2, color=INK, linewidth=1.5)
            best = values.argmax()
            said.append(f"{values[0]:+.2f}" if len(names) == 1 else f"{names[best]} {values[best]:.0%}")
        tidy_axes(ax).set(xlim=(-3, 3) if len(names) == 1 else (0, 1), xticks=[-3, 0, 3] if len(names) == 1 else [0, 1])
        ax.set_title("\n".join([label, *said]), fontsize=9, color=colour, loc="left")
    marked = [f"▸ {name}" if name == truth else name for name in names]
    axes[0].set(yticks=range(len(names)), yticklabels=marked if len(names) > 1 else [f"true: {truth}"])
    axes[0].invert_yaxis()
    if len(answers) > 1:
        keys = [Patch(color=QUIET), Patch(facecolor="white", edgecolor=QUIET, hatch="////")]
        figure.legend(keys, list(answers), loc="outside lower center", frameon=False, fontsize=9)


def _maps(figure: SubFigure, answers: dict, direction: str, head: int, clock: Clock) -> None:
    """The same map of each network that has this head."""
    key, query = direction.split("_to_")
    for ax, (name, answer) in zip(figure.subplots(1, len(answers), squeeze=False)[0], answers.items(), strict=True):
        weights = answer.maps.get(direction, ())
        if head >= len(weights):
            ax.set_axis_off()
            continue
        times = answer.times[query], answer.times[key]
        attention_map(weights[head], *times, query, key, ax, clock=clock)
        named = f"{name}\n" if len(answers) > 1 else ""
        ax.set_title(f"{named}{query} looks at {key}, head {head + 1}", fontsize=9)
