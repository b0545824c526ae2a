"""Clips in which nothing is seen or heard: attribution compares a clip with them, and they fill what is gone."""

from typing import NamedTuple

import numpy as np
import torch

from workbook import InputError
from workbook.train.batches import Clips

TIME = {"audio": 2, "video": 1}  # the axis of time in the inputs of a network, and the order of the two
BASELINES = ("zeros", "silence", "mean")
CHUNK = 8  # clips read at a time


class Baselines(NamedTuple):
    """A clip in which nothing is seen or heard, as input of a network."""

    audio: torch.Tensor  # (1, C, Ta)
    video: torch.Tensor  # (1, Tv, 3, S, S) in [0, 1], or features (1, Tv, C)
    name: str


def baselines(clips: Clips, name: str) -> Baselines:
    """The baseline of this name in the sizes of these clips.

    zeros : black frames, and MFCCs of 0, which no sound has; what modality dropout puts in place of a modality
    silence : black frames, and the MFCCs of digital silence; for clips only
    mean : the mean face and the mean MFCCs, over all steps of all these clips; of features the mean of each
    Within a sound, one step of zeros or silence is a click or a gap, which can be heard: for single steps take mean.
    Raises InputError for another name, and for silence in a corpus of features.
    """
    if name not in BASELINES:
        raise InputError(f"there is no baseline '{name}': choose one of {', '.join(BASELINES)}")
    audio, video, _ = clips[torch.tensor([0])]
    if name == "mean":
        return Baselines(_mean(clips, "audio").expand_as(audio), _mean(clips, "video").expand_as(video), name)
    audio = _silence(clips).expand_as(audio) if name == "silence" else torch.zeros_like(audio)
    return Baselines(audio, torch.zeros_like(video), name)


def _silence(clips: Clips) -> torch.Tensor:
    """The audio features of digital silence, (1, C, 1): all steps are the same."""
    if "audio_path" not in clips.store.clips:
        raise InputError("features know no silence: choose baseline zeros or mean")
    from workbook.data.audio import features_of  # librosa takes a second
    from workbook.data.window import WINDOW_SAMPLES

    steps = features_of(clips.store, np.zeros(WINDOW_SAMPLES, np.float32))  # (C, Ta)
    return torch.from_numpy(steps[None, :, :1]).to(clips.device)


def _mean(clips: Clips, modality: str) -> torch.Tensor:
    """The mean over the steps of all clips that have the modality, (1, C, 1) or (1, 1, ...); zeros if none has."""
    read = {"audio": clips.audio_of, "video": clips.video_of}[modality]
    present = torch.from_numpy(np.flatnonzero(clips.table[f"has_{modality}"]))
    sums = [read(few).mean(dim=TIME[modality], keepdim=True).sum(dim=0, keepdim=True) for few in present.split(CHUNK)]
    return sum(sums) / max(1, len(present))
