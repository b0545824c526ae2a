"""Figures of the lessons: attention small enough to compute by hand, and what crosses between the branches."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avlib.fusion import FUSIONS, Fusion
from workbook.plots.marks import bold_title, box, cells
from workbook.plots.style import AUDIO, BOTH, COLOUR, HALO, INK, QUIET, VIDEO, WIDTH, grid, new_figure

CROSSES = {  # what each fusion hands over, in words
    "concat": "nothing crosses",
    "lt": "features replace each branch",
    "it": "features are added",
    "ia": "weights alone, a number for each step",
    "film": "the mean scales and shifts channels",
    "early": "the mean joins each step",
    "bilinear": "two means are multiplied",
}
PLACES = {"after_stage1": 1.7, "after_stage2": 3.1, "pool": 4.05}  # of the exchange, by the method that makes it
BOXES = {"stage 1": 1.0, "stage 2": 2.4, "mean": 3.6}


def attention_by_hand(similarity: np.ndarray, weights: np.ndarray, vector: np.ndarray) -> Figure:
    """Similarity, softmax and the attention vector of a few steps, with their numbers; a row of panels for each head.

    similarity, weights : (H, Tq, Tk), audio steps are the queries, frames the keys      vector : (Tk,)
    """
    H, Tq, Tk = weights.shape
    audio, frames = ([f"{name} {n + 1}" for n in range(count)] for name, count in (("audio", Tq), ("frame", Tk)))
    height = 0.32 * Tq + 0.75
    heights = [*[height] * H, 1.5]
    figure, panels = grid(H + 1, 2, sum(heights), gridspec_kw={"height_ratios": heights})
    colours, top = sns.light_palette(VIDEO, as_cmap=True), max(1.0, similarity.max())
    for head, row in enumerate(panels[:-1]):
        of_head = f", head {head + 1}" if H > 1 else ""
        for ax, values, title, highest in zip(
            row, (similarity[head], weights[head]), ("similarity", "softmax: rows sum to 1"), (top, 1), strict=True
        ):
            cells(ax, pd.DataFrame(values, audio, frames), colours, fontsize=10, vmax=highest, fmt=".2f")
            bold_title(ax, f"{title}{of_head}", INK)
    panels[-1, 0].set_axis_off()
    _vector(panels[-1, 1], vector, frames, even=Tq / Tk)
    received = ", ".join(f"{name} {value:.2f}" for name, value in zip(frames, vector, strict=True))
    figure.words = f"Attention by hand, {H} heads. Attention vector: {received}; even is {Tq / Tk:.2f}."
    return figure


def _vector(ax: Axes, vector: np.ndarray, frames: list[str], even: float) -> None:
    ax.bar(frames, vector, color=VIDEO, width=0.7)
    for place, value in enumerate(vector):
        ax.text(place, value, f"{value:.2f}", ha="center", va="bottom", fontsize=10, color=INK)
    ax.axhline(even, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.text(len(vector) - 0.55, even, "even", fontsize=9, color=INK, va="center", path_effects=HALO)
    ax.set(ylim=(0, 1.25 * max(vector.max(), even)), xlim=(-0.5, len(vector) - 0.1))
    bold_title(ax, "vector: the sum of each column", VIDEO)


def exchange_sketches(names: list[str] | None = None) -> Figure:
    """What crosses between the branches, and where: a sketch for each fusion, those of CROSSES by default."""
    names = names or list(CROSSES)
    figure = new_figure(1.25 * -(-len(names) // 2), WIDTH)
    panels = figure.subplots(-(-len(names) // 2), 2, squeeze=False).flat
    for ax, name in zip(panels, [*names, *[None] * (len(names) % 2)], strict=True):
        ax.set_axis_off()
        if name:
            _sketch(ax, name)
    places = "; ".join(f"{name}, {place_of(name).replace('_', ' ')}: {CROSSES[name]}" for name in names)
    figure.words = f"What crosses between the branches. {places}."
    return figure


def place_of(name: str) -> str:
    """The method with which a fusion makes its exchange: after_stage1 | after_stage2 | pool | nowhere."""
    kind = FUSIONS[name]
    return next((method for method in PLACES if getattr(kind, method) is not getattr(Fusion, method)), "nowhere")


def _sketch(ax: Axes, name: str) -> None:
    rows = {"audio": 1.0, "video": 0.0}
    for modality, y in rows.items():
        ax.plot([0.2, 3.9], [y, y], color=COLOUR[modality], linewidth=1.4, zorder=1)
        ax.plot([3.9, 4.7], [y, 0.5], color=COLOUR[modality], linewidth=1.4, zorder=1)
        for text, x in {modality: 0.1, **BOXES}.items():
            box(ax, x, y, text, COLOUR[modality], 7.5)
    box(ax, 4.85, 0.5, "answer", BOTH, 7.5)
    place = place_of(name)
    if place == "pool":
        ax.text(4.3, 0.5, "×", fontsize=15, color=INK, ha="center", va="center")
    elif place in PLACES:
        look = {"arrowstyle": "-|>", "mutation_scale": 12}
        look |= {"linewidth": 1, "linestyle": "--"} if name == "ia" else {"linewidth": 2.5}
        for x, start, end, colour in ((-0.09, 1.0, 0.0, AUDIO), (0.09, 0.0, 1.0, VIDEO)):
            x += PLACES[place]
            ax.annotate("", (x, end), (x, start), arrowprops=look | {"color": colour}, zorder=3)
    ax.set(xlim=(-0.3, 5.3), ylim=(-0.35, 1.35))
    bold_title(ax, f"{name}: {CROSSES[name]}", QUIET if place == "nowhere" else INK, fontsize=9.5)
