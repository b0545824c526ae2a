"""The paper's test with incomplete data: one table with the predictions for every clip in every condition."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from avlib.fusion import FUSIONS
from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.evaluate.conditions import Condition, Context
from workbook.train.batches import Clips
from workbook.train.descriptors import Describer, describe, tiled
from workbook.train.memory import memory_kept


@memory_kept()
@torch.inference_mode()
def logits(
    net: AudiovisualNet,
    clips: Clips,
    conditions: Sequence[Condition],
    seed: int,
    batch_size: int = 32,
    describer: Describer | None = None,
) -> dict[str, torch.Tensor]:
    """The logits (N, outputs) of all clips, by the condition's name.

    seed : of each condition's random numbers      describer : of earlier calls; None = a new one
    On a CPU the logits of a clip have the same bits whatever other clips there are, except with noise.
    """
    net.eval()
    describer = describer or Describer(net, clips)
    generators = [torch.Generator(clips.device).manual_seed(seed) for _ in conditions]
    logits: dict[str, list[torch.Tensor]] = {condition.name: [] for condition in conditions}
    for chosen in clips.chunks(batch_size):
        audio, video, _ = clips[chosen]
        for condition, generator in zip(conditions, generators, strict=True):
            changed_audio, changed_video = condition(audio, video, Context(clips, chosen, generator))
            changed_audio = torch.zeros_like(audio) if changed_audio is None else changed_audio
            descriptors = describer(changed_video, video, chosen)
            with precision(clips.device):
                output = net.fuse(*net.encode(tiled(changed_audio), tiled(descriptors)))
            logits[condition.name].append(output.logits[: len(chosen)].float().cpu())
    return {name: torch.cat(batches) for name, batches in logits.items()}


def predict(
    net: AudiovisualNet, clips: Clips, conditions: Sequence[Condition], *, fold: int, seed: int, **options
) -> pd.DataFrame:
    """One row per clip and condition: clip, actor, fold, condition, label, and the prediction.

    The prediction is one probability per class (p0, p1, …), or a score of sentiment (value).

    A clip that lacks a modality has rows only in conditions that do not need it. A condition that removes all that the
    net reads, such as V for the audio branch alone, has none.

    seed, and options such as batch_size : as in `logits`
    """
    conditions = [condition for condition in conditions if not set(net.fusion.modalities) <= set(condition.removes)]
    outputs, tables = logits(net, clips, conditions, seed, **options), []
    for condition in conditions:
        table = as_predictions(clips, outputs[condition.name], fold=fold, condition=condition.name)
        tables.append(table[clips.table[[f"has_{name}" for name in condition.needs]].all(axis=1)])
    return pd.concat(tables, ignore_index=True)


def as_predictions(clips: Clips, outputs: torch.Tensor, **about) -> pd.DataFrame:
    """One row per clip: clip, actor, what the outputs (N, outputs) are about, label, and the prediction."""
    columns = {name: column.numpy() for name, column in clips.task.columns(outputs).items()}
    return clips.table[["clip", "actor"]].assign(**about, label=clips.labels.numpy(), **columns)


@torch.inference_mode()
def attention(net: AudiovisualNet, clips: Clips, batch_size: int = 32) -> dict[str, np.ndarray]:
    """The attention tensors (N, …) of the net for all clips, by their names in fusion.py.

    Raises InputError as `check_attention`.
    """
    check_attention(net, clips)
    net.eval()
    batches = []
    for audio, video, _ in clips.batches(batch_size):
        with precision(clips.device):
            batches.append(net.fuse(*net.encode(audio, describe(net, video))).attention)
    return {name: torch.cat([batch[name].float().cpu() for batch in batches]).numpy() for name in batches[0]}


def check_attention(net: AudiovisualNet, clips: Clips) -> None:
    """Raises InputError where there is no attention: no clips, or a fusion without it."""
    if not net.fusion.widths:
        names = ", ".join(name for name, fusion in FUSIONS.items() if fusion.widths)
        raise InputError(f"{type(net.fusion).__name__} has no attention: choose fusion {names}")
    if not len(clips):
        raise InputError("no clip has both modalities: attention compares the two")
