"""The cost of a study: graded loss on random clips in the sizes of a toy test fold, and how it grows.

A condition that leaves the picture alone costs the rest of the network; the frames are described once for all of these.
"""

import torch

from avlib import build_model
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn
from workbook.evaluate.conditions import PLACES, Gone
from workbook.studies import predictions

COUNTS = (25, 50, 100, 200)  # conditions


def measure(options) -> dict:
    """Seconds for so many conditions on `clips` clips (64), half of them on sound and half on picture."""
    torch.manual_seed(0)
    size, frames = options.image_size or 64, 6
    clips = all_clips(synthetic_store(options.clips or 64, frames, size), options.device)
    net = build_model("ia", 1, CLASSES, size).to(options.device).eval()
    shares = [place / 25 for place in range(1, 26)]
    every = [Gone(name, share, where) for share in shares for where in PLACES for name in ("audio", "video")]
    counts = [count for count in COUNTS if count <= (options.runs or len(every))]
    unlike = {count: list({one.name: one for one in every}.values())[:count] for count in counts}

    def tries(count: int):
        return lambda: predictions(net, clips, unlike[count], fold=0, seed=0)

    result = in_turn({f"{count} conditions": tries(count) for count in counts}, options.rounds, len(clips))
    return result | {"settings": {"fusion": "ia", "clips": len(clips), "frames": frames, "image_size": size}}
