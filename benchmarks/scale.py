"""The cost of training by the number of clips, of frames, and of clips in a batch, with a figure."""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

from avlib import build_model
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import memory, once
from workbook import OUTPUTS
from workbook.files import atomic_write
from workbook.train.training import optimizer_and_schedule, train_epoch

SIZE = 64  # pixels, unless --image-size says otherwise
SERIES = {"clips": (100, 300, 1000, 3000, 10_000), "frames": (5, 15, 30, 60), "batch": (1, 4, 16, 64, 256)}
START = {"frames": 5, "batch": 32}  # in the series of other quantities
PASSES = 256  # clips in the series of other quantities


def measure(options) -> dict:
    """Milliseconds and memory per clip of one training epoch along each series, and where the figure is.

    --clips N leaves out stores of more than N clips, and batches with them.
    """
    most = options.clips or SERIES["clips"][-1]
    rows = []
    for name, values in SERIES.items():
        for value in (value for value in values if name == "frames" or value <= most):
            settings = START | {"clips": min(PASSES, most)} | {name: value}
            rows.append({"series": name, "value": value} | alone(**settings, size=options.image_size or SIZE))
    figure = OUTPUTS / "benchmarks" / "scale.png"
    with atomic_write(figure) as path:
        draw(pd.DataFrame(rows)).savefig(path, dpi=150, bbox_inches="tight")
    return {"rows": rows, "figure": str(figure)}


def alone(**settings: int) -> dict[str, float]:
    """The results of `epoch` in a new process: free memory of an old one would hide what is needed."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(epoch, **settings).result()


def epoch(clips: int, frames: int, batch: int, size: int) -> dict[str, float]:
    """Milliseconds per clip and memory, in MB above what there was before, of one epoch on a store on the disk."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = all_clips(synthetic_store(clips, frames, size, Path(folder)))
        net = build_model("ia", 1, CLASSES, size).to(memory_format=torch.channels_last)
        sgd, _ = optimizer_and_schedule(net, 0.04, "paper")
        generators = {"order": torch.Generator(), "device": torch.Generator()}
        before = memory("VmRSS")
        how = {"dropout": "none", "batch_size": batch, "generators": generators}
        seconds, peak = once(lambda: train_epoch(net, store, sgd, **how))
    return {"milliseconds per clip": 1000 * seconds / clips, "peak MB": peak - before}


def draw(rows: pd.DataFrame) -> plt.Figure:
    """A column of panels for each series: time per clip above, memory of the epoch below, both from zero."""
    measures = ("milliseconds per clip", "peak MB")
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex="col", layout="constrained")
    labels = {"clips": "clips in the store", "frames": "frames of a clip", "batch": "clips in a batch"}
    for column, (name, label) in enumerate(labels.items()):
        for row, quantity in enumerate(measures):
            ax = axes[row, column]
            sns.lineplot(rows[rows.series == name], x="value", y=quantity, marker="o", ax=ax)
            ax.set(xscale="log", xlabel=label, ylim=(0, None))
            ax.set_xticks(SERIES[name], map(str, SERIES[name]), minor=False)
            ax.minorticks_off()
    return figure
