"""One clip attributed by each method, then a test fold whose frames are described once: seconds.

Random clips and fresh weights: what attribution costs depends on neither.
"""

import torch

from avlib import build_model
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn, once
from workbook.attention.attribution import branches, grad_cam, integrated_gradients
from workbook.evaluate.baselines import baselines
from workbook.train.descriptors import describe_once

FUSION, STEPS = "ia", 32
FOLD = 240  # test clips of RAVDESS's fold 0
OF_DESCRIPTORS = ("integrated gradients", "branches")  # methods that begin at descriptors


def measure(options) -> dict:
    """Seconds for one clip by each method, and for a fold: describing its frames, then each method."""
    torch.manual_seed(0)
    size, count = options.image_size or 224, options.clips or FOLD
    clips = all_clips(synthetic_store(count, options.frames, size), options.device)
    net = build_model(FUSION, 1, CLASSES, size).to(options.device, memory_format=torch.channels_last)
    result = in_turn(methods(net, clips, torch.tensor([0])), options.rounds, 1)
    del result["ratio"]  # nothing is compared
    kept, fold = [], {}
    fold["describing the frames"], _ = once(lambda: kept.extend(describe_once(net, clips)))
    behind, described = kept
    for name, run in methods(behind, described, torch.arange(count)).items():
        if name in OF_DESCRIPTORS:
            fold[name], _ = once(run)
    settings = {"fusion": FUSION, "frames": options.frames, "image_size": size, "steps": STEPS, "fold": count}
    return result | {
        "settings": settings,
        "seconds for the fold": {name: round(took, 2) for name, took in fold.items()},
    }


def methods(net, clips, chosen: torch.Tensor) -> dict:
    """A function for each method, on these clips."""
    audio, video, labels = clips[chosen]
    arguments = (net, audio, video, labels)
    base = baselines(clips, "zeros")
    return {
        "integrated gradients": lambda: integrated_gradients(*arguments, base, STEPS),
        "branches": lambda: branches(*arguments, base, STEPS),
        "Grad-CAM": lambda: grad_cam(*arguments),
    }
