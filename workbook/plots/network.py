"""A network as a diagram: its parts in order, and the shape of what each passes on."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avlib.fusion import Fusion
from avlib.model import AudiovisualNet
from workbook.attention.vectors import map_name
from workbook.plots.marks import box
from workbook.plots.style import BOTH, COLOUR, INK, WIDTH, new_figure

ROWS = {"audio": 1.0, "video": 0.0, "both": 0.5}  # heights
Parts = list[tuple[str, dict[str, str]]]  # name of a part, row (audio, video or both) -> the shape that it passes on


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
