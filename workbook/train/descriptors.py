"""Training with a frozen frame network: every frame is described once, and an epoch takes seconds.

Descriptors are those of the stored frames: there is no augmentation.
"""

import copy
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avlib.model import AudiovisualNet, precision
from workbook import InputError
from workbook.files import atomic_write
from workbook.train.batches import Clips, as_input, rows_of
from workbook.train.memory import channels_last

CHUNK = 8  # clips whose frames are described at a time


class FromBlack(nn.Module):
    """The frame network of a frozen net: adds a black frame's descriptor to stored differences (N, C)."""

    def __init__(self, black: torch.Tensor):
        super().__init__()
        self.register_buffer("black", black, persistent=False)

    def forward(self, differences: torch.Tensor) -> torch.Tensor:
        return differences + self.black


def freeze(net: AudiovisualNet, *splits: Clips) -> tuple[AudiovisualNet, list[Clips]]:
    """A net that shares all weights but the frame network's, and for each split its clips with descriptors as video.

    Descriptors (B, Tv, C) are stored as differences from a black frame's. Zeros therefore mean a missing picture, as
    they do in frames, and modality dropout works on both. Its weaker pictures and its noise are then weaker or noisy
    descriptors, not pixels.

    The descriptors of a store are cached beside it, in a file named after the store and the frame network's weights.
    Raises InputError where there is no frame network: for features, and for the audio branch alone.
    """
    if isinstance(net.frame_network, nn.Identity):
        raise InputError("train_vision is false, but this network has no frame network: leave it at true")
    net.eval()
    black = _black(net, splits[0])
    return with_frame_network(net, FromBlack(black)), [described(clips, net, black) for clips in splits]


def describe_once(net: AudiovisualNet, clips: Clips) -> tuple[AudiovisualNet, Clips]:
    """The same net and clips with descriptors as video, of these clips alone and in memory; see `freeze`."""
    net.eval()
    black, few = _black(net, clips), clips.chunks(CHUNK)
    found = torch.cat([_differences(net, clips.video_of(chosen), black) for chosen in few]).numpy()
    table, audio = clips.table, rows_of(clips.store.audio, clips.rows).numpy()
    store = replace(clips.store, clips=table, audio=audio, video=found)
    every = np.arange(len(clips)), clips.labels
    return with_frame_network(net, FromBlack(black)), Clips(
        store, *every, clips.task, clips.device, clips.modalities, clips.scales
    )


def _black(net: AudiovisualNet, clips: Clips) -> torch.Tensor:
    """The descriptor (C,) of a black frame in the size of these clips'."""
    return describe(net, torch.zeros_like(clips.video_of(torch.tensor([0]))[:, :1]))[0, 0]


def with_frame_network(net: AudiovisualNet, frame_network: nn.Module) -> AudiovisualNet:
    """A net with this frame network, which shares all other weights with the given one."""
    other = copy.copy(net)  # a module of its own, with the same submodules
    other._modules = dict(net._modules, frame_network=frame_network)
    return other


def described(clips: Clips, net: AudiovisualNet, black: torch.Tensor) -> Clips:
    """The same clips with descriptors as video, from the file beside the store; it is written where it is missing."""
    path = descriptor_file(clips, net)
    if not path.exists():
        with atomic_write(path) as temporary:
            np.save(temporary, _all_descriptors(clips, net, black))
    store = replace(clips.store, video=np.load(path, mmap_mode="r"))
    return Clips(store, clips.rows, clips.labels, clips.task, clips.device, clips.modalities, clips.scales)


def descriptor_file(clips: Clips, net: AudiovisualNet) -> Path:
    """The file of the descriptors of the clips' store, by this frame network and on this kind of device."""
    digest = hashlib.sha256(f"{clips.store.fingerprint} {clips.device.type}".encode())
    for name, value in net.frame_network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return clips.store.path.with_name(f"{clips.store.path.name}-descriptors-{digest.hexdigest()[:12]}.npy")


def _all_descriptors(clips: Clips, net: AudiovisualNet, black: torch.Tensor) -> np.ndarray:
    """Descriptors of all clips of the store (N, Tv, C) float32, minus the black frame's; exactly 0 for black frames."""
    found = []
    for start in range(0, len(clips.store), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(clips.store)))
        video = as_input(rows_of(clips.store.video, rows).to(clips.device))
        found.append(_differences(net, video, black))
    return torch.cat(found).numpy()


def _differences(net: AudiovisualNet, video: torch.Tensor, black: torch.Tensor) -> torch.Tensor:
    """Descriptors (B, Tv, C) of frames minus the black frame's, on the CPU; exactly 0 for black frames."""
    shown = video.flatten(2).any(dim=2, keepdim=True)  # (B, Tv, 1)   True = not black
    return ((describe(net, video) - black) * shown).cpu()


@torch.no_grad()
def describe(net: AudiovisualNet, video: torch.Tensor) -> torch.Tensor:
    """Descriptors (B, Tv, C) float32 of frames (B, Tv, 3, S, S), by a net in eval mode; features unchanged."""
    with precision(video.device):
        return net.describe(channels_last(video) if video.ndim == 5 else video).float()
