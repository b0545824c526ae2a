"""The paper's test under incomplete data: AV, A and V, and their mean M, from one table of predictions."""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torch import nn

from avlib import InputError
from avlib.batches import Clips, colours_last
from avlib.dropout import drop_modality
from avlib.fusion import FUSIONS
from avlib.training import precision

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


@torch.inference_mode()
def probabilities(
    net: nn.Module, clips: Clips, missing: str | None, fill: str, seed: int, batch_size: int
) -> np.ndarray:
    """Class probabilities (N, classes) of all clips, with one modality replaced in all of them.

    missing : None | audio | video      fill : zeros | noise, drawn from `seed`
    """
    net.eval()
    generator = torch.Generator(clips.device).manual_seed(seed)
    rows = []
    for audio, video, _ in clips.batches(batch_size):
        if missing:
            audio, video = drop_modality(audio, video, missing, fill, generator)
        with precision(clips.device):
            logits = net(audio, colours_last(video)).logits
        rows.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(rows).numpy()


def predict(net: nn.Module, clips: Clips, *, dropout: str, fold: int, seed: int, batch_size: int = 32) -> pd.DataFrame:
    """One row per clip and condition: clip, actor, fold, condition, label, and one probability per class (p0, p1, …).

    A clip that lacks a modality in the data counts where the one it has is asked for: A needs sound, V needs a picture.
    A condition that takes away all that the net reads, such as V for the audio branch alone, is left out.
    """
    tables = []
    for condition, (missing, fill) in conditions(dropout).items():
        if net.fusion.modalities == (missing,):
            continue
        table = clips.table[["clip", "actor"]].assign(fold=fold, condition=condition, label=clips.labels.numpy())
        chances = probabilities(net, clips, missing, fill, seed, batch_size)
        table[[f"p{k}" for k in range(chances.shape[1])]] = chances
        counts = clips.table[NEEDED[condition.split()[0]]].all(axis=1)  # True = the clip counts
        tables.append(table[counts])
    return pd.concat(tables, ignore_index=True)


def decided(predictions: pd.DataFrame) -> np.ndarray:
    """The most probable class of each row (N,)."""
    return predictions.filter(regex=r"^p\d+$").to_numpy().argmax(axis=1)


def metrics(predictions: pd.DataFrame) -> dict:
    """Accuracy and unweighted average recall in percent by condition, and M, the mean over AV, A and V.

    UAR is the mean over the classes of the share that was recognised, so that it does not reward a frequent class.
    A condition in which no clip counts is left out, and M with it.
    """
    measured = {}
    for condition, rows in predictions.groupby("condition", sort=False):
        guess = decided(rows)
        measured[condition] = {
            "accuracy": 100 * accuracy_score(rows.label, guess),
            "uar": 100 * recall_score(rows.label, guess, labels=sorted(set(rows.label)), average="macro"),
            "clips": len(rows),
        }
    mean = {}
    if set(MISSING) <= set(measured):
        mean = {key: float(np.mean([measured[name][key] for name in MISSING])) for key in ("accuracy", "uar")}
    return {"conditions": measured, "M": mean}


def confusion(predictions: pd.DataFrame, condition: str, classes: int) -> np.ndarray:
    """How many clips of each emotion (rows) were taken for each (columns) in one condition: (classes, classes)."""
    rows = predictions[predictions.condition == condition]
    if rows.empty:  # a condition that no clip counts in
        return np.zeros((classes, classes), int)
    return confusion_matrix(rows.label, decided(rows), labels=range(classes))


def per_emotion(predictions: pd.DataFrame, emotions: list[str]) -> pd.DataFrame:
    """The share of each emotion's clips that was recognised: columns emotion, condition, accuracy in percent."""
    rows = predictions.assign(accuracy=100.0 * (decided(predictions) == predictions.label))
    rows["emotion"] = [emotions[label] for label in rows.label]
    means = rows.groupby(["emotion", "condition"], sort=False).accuracy.mean().reset_index()
    return means.sort_values("emotion", key=lambda names: names.map(emotions.index), kind="stable", ignore_index=True)


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
