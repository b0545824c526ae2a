"""Frames described a second: by `workbook.train.descriptors.describe`, beside the plain network on all at once."""

import torch

from avlib import build_model
from benchmarks.synthetic import CLASSES, all_clips, synthetic_store
from benchmarks.timing import in_turn, ratio_aims
from workbook.train.descriptors import describe
from workbook.train.memory import channels_last

AIM = 2.2  # times the plain network with all frames at once


@torch.no_grad()
def measure(options) -> dict:
    """Seconds for the frames of 8 clips on both sides, and how far apart their descriptors are."""
    torch.manual_seed(0)
    size, count = options.image_size or 224, options.clips or 8
    clips = all_clips(synthetic_store(count, options.frames, size), options.device)
    net = build_model("ia", 1, CLASSES, size).eval().to(options.device, memory_format=torch.channels_last)
    video = channels_last(clips.video_of(torch.arange(count)))
    runs = {"avlib": lambda: describe(net, video), "plain": lambda: net.describe(video)}
    result = in_turn(runs, options.rounds, count * options.frames)
    ours, plain = (run() for run in runs.values())
    apart = float((ours - plain).abs().max() / plain.abs().max())
    settings = {"clips": count, "frames": options.frames, "image_size": size}
    return result | ratio_aims(result, AIM) | {"largest relative difference": apart, "settings": settings}
