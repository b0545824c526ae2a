"""The time of a training step with each fusion, on features: what an exchange costs beside `concat`, without frames."""

import torch

from avlib import FUSIONS, build_model
from benchmarks.timing import in_turn
from workbook.task import Classification
from workbook.train.training import optimizer_and_schedule, train_step

CHANNELS, STEPS = 40, 24  # of sound and of picture, as in the toy speakers' features
PER_ROUND = 10  # steps


def measure(options) -> dict:
    """Steps of `batch` clips (24) by every fusion of both branches; `concat` first, so the ratios are to it."""
    torch.manual_seed(0)
    B = options.clips or 24
    audio, video = torch.randn(B, CHANNELS, STEPS), torch.randn(B, STEPS, CHANNELS)
    batch = tuple(tensor.to(options.device) for tensor in (audio, video, torch.arange(B) % 8))
    names = [name for name, fusion in FUSIONS.items() if len(fusion.modalities) == 2]
    names.sort(key=lambda name: name != "concat")

    def steps(fusion: str):
        net = build_model(fusion, audio_channels=CHANNELS, video_channels=CHANNELS).to(options.device).train()
        optimizer, _ = optimizer_and_schedule(net, 0.001, "mult")
        settings = {"task": Classification(tuple("abcdefgh")), "dropout": "none"}
        settings |= {"generator": torch.Generator(options.device), "shared": False}

        def some_steps() -> None:
            for _ in range(PER_ROUND):
                train_step(net, batch, optimizer, **settings)

        return some_steps

    result = in_turn({name: steps(name) for name in names}, options.rounds, PER_ROUND * B)
    return result | {"settings": {"clips": B, "channels": CHANNELS, "steps": STEPS}}
