"""Diagrams: a network with the shapes that it passes on, attention by hand, and what crosses between the branches."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avlib.fusion import FUSIONS, Fusion
from avlib.model import AudiovisualNet
from workbook.attention.vectors import map_name
from workbook.plots.marks import bold_title, box, cells, grid, new_figure
from workbook.plots.style import AUDIO, BOTH, COLOUR, HALO, INK, QUIET, VIDEO, WIDTH

ROWS = {"audio": 1.0, "video": 0.0, "both": 0.5}  # heights
Parts = list[tuple[str, dict[str, str]]]  # name of a part, row (audio, video or both) -> the shape that it passes on
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


def network_diagram(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor) -> Figure:
    """The parts of a network from left to right, each with the shape of its output for one clip.

    audio, video : a batch of inputs, of which the first clip goes through the network
    """
    was_training, device = net.training, next(net.parameters()).device
    with torch.inference_mode():
        parts = _parts(net.eval(), audio[:1].to(device), video[:1].to(device))
    net.train(was_training)
    figure = new_figure(2.0, 1.25 * WIDTH)
    ax = figure.subplots()
    ax.set_axis_off()
    ends, x = {}, 0.0
    for name, shapes in parts:
        half = 0.85 if name.startswith("fusion") else 0.5
        x += half
        for row, shape in shapes.items():
            _arrows(ax, ends, row, x)
            box(ax, x, ROWS[row], f"{name}\n{shape}".strip(), COLOUR.get(row, BOTH), 8)
        x += half
    ax.set(xlim=(0, x), ylim=(-0.4, 1.4))
    words = "; ".join(f"{name}: {', '.join(shapes.values())}" for name, shapes in parts)
    figure.words = " ".join(f"The network: {words}".split())
    return figure


def _parts(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor) -> Parts:
    """The network's own steps, as its `fuse` takes them."""
    kind = type(net.fusion)

    def shapes(*steps: torch.Tensor) -> dict[str, str]:
        both = zip(("audio", "video"), steps, strict=True)
        return {name: _shape(values) for name, values in both if name in net.fusion.modalities}

    descriptors = net.describe(video)
    parts: Parts = [("input", shapes(audio, video))]
    if video.ndim == 5 and "video" in net.fusion.modalities:
        parts.append(("frame network", {"video": _shape(descriptors)}))
    steps = net.encode(audio, descriptors)
    for number in (1, 2):
        if number == 2:
            steps = net.audio.stage2(steps[0]), net.video.stage2(steps[1])
        parts.append((f"stage {number}", shapes(*steps)))
        fuse = f"after_stage{number}"
        *steps, attention = getattr(net.fusion, fuse)(*steps)
        if getattr(kind, fuse) is not getattr(Fusion, fuse):
            names = {name: map_name(name) if "_to_" in name else f"attention on {name}" for name in attention}
            texts = [f"{names[name]}: {_shape(weights)}" for name, weights in attention.items()]
            parts.append((f"fusion\n{kind.__name__}", {"both": "\n".join(texts)}))
    pooled = net.dense(net.fusion.pool(*steps))
    parts.append(("clip", {"both": _shape(pooled)}))
    parts.append(("classifier", {"both": _shape(net.classifier(pooled))}))
    return parts


def _shape(values: torch.Tensor) -> str:
    return " × ".join(map(str, values.shape[1:]))


def _arrows(ax: Axes, ends: dict[str, float], row: str, x: float) -> None:
    """Lines from the parts before to this one, behind the boxes; `ends` has the last place of each row."""
    branches = [name for name in ends if name != "both" and row in (name, "both")]
    for source in branches or ends.keys() & {"both"}:
        end, start = (x, ROWS[row]), (ends[source], ROWS[source])
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-", "color": INK}, zorder=1)
    if row == "both":
        ends.clear()
    ends[row] = x


def attention_by_hand(similarity: np.ndarray, weights: np.ndarray, vector: np.ndarray) -> Figure:
    """Similarity, softmax and the attention vector of a few steps, with their numbers; a row of panels for each head.

    similarity, weights : (H, Tq, Tk), audio steps are the queries, frames the keys      vector : (Tk,)
    """
    H, Tq, Tk = weights.shape
    audio, frames = ([f"{name} {n + 1}" for n in range(count)] for name, count in (("audio", Tq), ("frame", Tk)))
    height = 0.32 * Tq + 0.75
    heights = [*[height] * H, 1.5]
    figure, panels = grid(H + 1, 2, sum(heights), gridspec_kw={"height_ratios": heights})
    for head, (left, right) in enumerate(panels[:-1]):
        of_head, top = f", head {head + 1}" if H > 1 else "", max(1.0, similarity.max())
        cells(left, pd.DataFrame(similarity[head], audio, frames), VIDEO, 10, vmax=top, fmt=".2f")
        cells(right, pd.DataFrame(weights[head], audio, frames), VIDEO, 10, vmax=1, fmt=".2f")
        bold_title(left, f"similarity{of_head}", INK)
        bold_title(right, f"softmax: rows sum to 1{of_head}", INK)
    (empty, ax), even = panels[-1], Tq / Tk
    empty.set_axis_off()
    ax.bar_label(ax.bar(frames, vector, color=VIDEO, width=0.7), fmt="%.2f", fontsize=10, color=INK)
    ax.axhline(even, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.text(Tk - 0.55, even, "even", fontsize=9, color=INK, va="center", path_effects=HALO)
    ax.set(ylim=(0, 1.25 * max(vector.max(), even)), xlim=(-0.5, Tk - 0.1))
    bold_title(ax, "vector: the sum of each column", VIDEO)
    received = ", ".join(f"{name} {value:.2f}" for name, value in zip(frames, vector, strict=True))
    figure.words = f"Attention by hand, {H} heads. Attention vector: {received}; even is {even:.2f}."
    return figure


def exchange_sketches() -> Figure:
    """What crosses between the branches, and where: a sketch for each fusion of CROSSES."""
    rows = -(-len(CROSSES) // 2)
    figure = new_figure(1.25 * rows, WIDTH)
    for ax in figure.subplots(rows, 2).flat:
        ax.set_axis_off()
    for ax, name in zip(figure.axes, CROSSES, strict=False):
        _sketch(ax, name)
    places = "; ".join(f"{name}, {place_of(name).replace('_', ' ')}: {words}" for name, words in CROSSES.items())
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
