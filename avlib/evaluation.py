"""The paper's test under incomplete data: AV, A and V, and their mean M, from one table of predictions.

A table of predictions holds one probability per class (p0, p1, …), or, for sentiment, the score (value). Everything
here that reads such a table tells the two apart by that.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
import torch
from torch import nn

from avlib import InputError
from avlib.batches import Clips, colours_last
from avlib.dropout import drop_modality, noise_like
from avlib.fusion import FUSIONS
from avlib.model import precision
from avlib.speed.memory import memory_kept

MISSING = {"AV": None, "A": "video", "V": "audio"}  # the modality that each condition goes without
NEEDED = {"AV": [], "A": ["has_audio"], "V": ["has_video"]}  # what a clip must have to count in it (True = present)


def conditions(dropout: str) -> dict[str, tuple[str | None, str]]:
    """What is missing and what stands in for it, by condition.

    As in the paper, A and V put noise in the missing modality's place for a model trained with `noise`, else zeros.
    The other stand-in is asked for too, in conditions of its own such as "A noise"; M does not count them.
    """
    usual, other = ("noise", "zeros") if dropout == "noise" else ("zeros", "noise")
    named = {name: (missing, usual) for name, missing in MISSING.items()}
    return named | {f"{name} {other}": (missing, other) for name, missing in MISSING.items() if missing}


def replaced(
    net: nn.Module,
    audio: torch.Tensor,
    video: torch.Tensor,
    described: torch.Tensor,
    black: torch.Tensor,
    missing: str | None,
    fill: str,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio, and descriptors of video (B, Tv, C), with one modality replaced in all clips.

    video, described : the frames and what the net makes of them      black : what it makes of a black one (1, 1, C)
    """
    if missing == "audio":
        return drop_modality(audio, described, missing, fill, generator)
    if missing == "video" and fill == "zeros":
        return audio, black.expand_as(described)
    if missing == "video":
        return audio, net.describe(colours_last(noise_like(video, generator)))
    return audio, described


@memory_kept()
@torch.inference_mode()
def answers(
    net: nn.Module, clips: Clips, asked: dict[str, tuple[str | None, str]], seed: int, batch_size: int
) -> dict[str, dict[str, np.ndarray]]:
    """What the net says of all clips in each condition asked for: columns (N,) as the task names them.

    asked : as `conditions` returns them; noise is drawn from `seed`, in each of them anew
    Frames are described once for all conditions, and the black one that stands for a missing picture once in all.
    """
    net.eval()
    generators = {condition: torch.Generator(clips.device).manual_seed(seed) for condition in asked}
    rows, black = {condition: [] for condition in asked}, None
    for audio, video, _ in clips.batches(batch_size):
        with precision(clips.device):
            described = net.describe(colours_last(video))
            if black is None:
                black = net.describe(colours_last(torch.zeros_like(video[:1, :1])))
            for condition, (missing, fill) in asked.items():
                inputs = replaced(net, audio, video, described, black, missing, fill, generators[condition])
                rows[condition].append(net(*inputs).logits.float().cpu())
    columns = {condition: clips.task.columns(torch.cat(logits)) for condition, logits in rows.items()}
    return {condition: {name: column.numpy() for name, column in named.items()} for condition, named in columns.items()}


def predict(
    net: nn.Module,
    clips: Clips,
    *,
    dropout: str,
    fold: int,
    seed: int,
    batch_size: int = 32,
    asked: Collection[str] | None = None,
) -> pd.DataFrame:
    """One row per clip and condition: clip, actor, fold, condition, label, and what the net says of it.

    That is one probability per class (p0, p1, …), or the score of a sentiment (value).

    A clip that lacks a modality in the data counts where the one it has is asked for: A needs sound, V needs a picture.
    A condition that takes away all that the net reads, such as V for the audio branch alone, is left out.

    asked : the conditions to predict in, of those of `conditions`; None for all of them
    """
    known = {name: what for name, what in conditions(dropout).items() if net.fusion.modalities != what[:1]}
    wanted = {name: what for name, what in known.items() if asked is None or name in asked}
    tables = []
    for condition, columns in answers(net, clips, wanted, seed, batch_size).items():
        table = clips.table[["clip", "actor"]].assign(fold=fold, condition=condition, label=clips.labels.numpy())
        counts = clips.table[NEEDED[condition.split()[0]]].all(axis=1)  # True = the clip counts
        tables.append(table.assign(**columns)[counts])
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def attention(net: nn.Module, clips: Clips, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Every attention tensor of the net for all clips, by name: (N, …) as in fusion.py, clips as they are.

    Raises InputError where there is none to collect: no clips, or a fusion that exchanges nothing.
    """
    if not net.fusion.widths:
        having = ", ".join(name for name, fusion in FUSIONS.items() if fusion.widths)
        raise InputError(f"{type(net.fusion).__name__} has no attention to look at: choose fusion {having}")
    if not len(clips):
        raise InputError("no clip has both modalities: attention needs something to compare")
    net.eval()
    batches = []
    for audio, video, _ in clips.batches(batch_size):
        with precision(clips.device):
            batches.append(net(audio, colours_last(video)).attention)
    return {name: torch.cat([batch[name].float().cpu() for batch in batches]).numpy() for name in batches[0]}
