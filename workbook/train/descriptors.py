"""Describing frames: a frame network sees each frame alone, so no frame has to be described twice.

describe : the descriptors of some frames
Describer : those of some clips and of what conditions make of them
freeze, describe_once : clips with descriptors as video
"""

import copy
import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avlib.model import AudiovisualNet, precision
from workbook.files import atomic_write
from workbook.progress import progress_bar
from workbook.train.batches import Clips, as_input, rows_of
from workbook.train.memory import channels_last

TILE = 16  # rows: a product of matrices rounds groups of this many alike, and a smaller rest differently
PIECE = TILE * 224 * 224  # pixels of the frames described at a time: the maps of more do not fit a processor's caches
ON_GPU = 16  # pieces that a GPU describes at a time: between smaller ones it would wait for the CPU


@torch.no_grad()
def describe(net: AudiovisualNet, video: torch.Tensor) -> torch.Tensor:
    """Descriptors (B, Tv, C) float32 of frames (B, Tv, 3, S, S), by a net in eval mode; features unchanged.

    On a CPU a frame's descriptor has the same bits whatever other frames are described with it.
    A net without a frame network, such as the audio branch alone, returns frames unchanged too.
    """
    if video.ndim != 5 or isinstance(net.frame_network, nn.Identity):
        return video.float()
    frames, net = video.flatten(0, 1), with_frame_network(net, folded(net.frame_network))
    pixels = PIECE if video.device.type == "cpu" else ON_GPU * PIECE
    size = TILE * max(1, pixels // (TILE * frames.shape[-2:].numel()))
    with precision(video.device):
        pieces = [net.describe(channels_last(tiled(piece)[:, None]))[:, 0] for piece in frames.split(size)]
    return torch.cat(pieces)[: len(frames)].float().unflatten(0, video.shape[:2])


_folded: WeakKeyDictionary[nn.Module, tuple[torch.Tensor, nn.Module]] = WeakKeyDictionary()  # with the weights


def folded(network: nn.Module) -> nn.Module:
    """A frame network in eval mode that computes the same with fewer layers; kept until the weights change.

    In each `nn.Sequential` a batch norm is folded into the convolution before it, which rounds differently.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    values = network.state_dict().values()
    weights = torch.cat([value.flatten() for value in values if value.is_floating_point()])
    known, result = _folded.get(network, (None, network))
    if known is None or known.type() != weights.type() or not torch.equal(known, weights):
        result = _fold(network)
        _folded[network] = weights, result
    return result


def _fold(module: nn.Module) -> nn.Module:
    parts = {name: _fold(part) for name, part in module.named_children()}
    if isinstance(module, nn.Sequential):
        for (name, convolution), (after, norm) in pairwise(parts.items()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parts[name], parts[after] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    other = copy.copy(module)
    other._modules = parts
    return other


def describe_black(net: AudiovisualNet, clips: Clips) -> torch.Tensor:
    """The descriptor (1, 1, C) of a black frame as large as the frames of these clips; of features, zeros."""
    return describe(net, torch.zeros_like(clips.video_of(torch.tensor([0]))[:, :1]))


class Describer:
    """Descriptors of some clips, and of what conditions make of them: each frame is described once.

    It keeps the descriptors of all unchanged frames, of a black one, and of the video that was changed last.
    """

    def __init__(self, net: AudiovisualNet, clips: Clips):
        self.net, self.clips = net, clips
        self.has_network = clips.has_frames and not isinstance(net.frame_network, nn.Identity)
        self.unchanged: dict[int, torch.Tensor] = {}  # position of a clip -> (Tv, C)
        self.black: torch.Tensor | None = None
        self.changed: tuple[torch.Tensor, torch.Tensor] | None = None  # a video and its descriptors

    def __call__(self, video: torch.Tensor | None, own: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The descriptors (B, Tv, C) of a video; None = black frames.

        own : the unchanged video of the same clips      chosen : (B,) their positions
        """
        if not self.has_network:
            return torch.zeros_like(own) if video is None else video
        if video is own:
            return self._unchanged(own, chosen)
        if self.black is None:
            self.black = describe_black(self.net, self.clips)
        if video is None:
            return self.black.expand(*own.shape[:2], -1)
        same = (video == own).flatten(2).all(dim=2)  # (B, Tv) True = the clip's own frame
        descriptors = torch.where(same[..., None], self._unchanged(own, chosen), self.black)
        new = ~same & video.flatten(2).any(dim=2)  # (B, Tv) True = another frame, and not black
        if self.changed and self.changed[0].shape == video.shape:
            known = new & (video == self.changed[0]).flatten(2).all(dim=2)
            descriptors, new = torch.where(known[..., None], self.changed[1], descriptors), new & ~known
        if new.any():
            descriptors[new] = describe(self.net, video[new][:, None])[:, 0]
        self.changed = video, descriptors
        return descriptors

    def _unchanged(self, own: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        places = chosen.tolist()
        new = [k for k, place in enumerate(places) if place not in self.unchanged]
        if new:
            self.unchanged |= zip((places[k] for k in new), describe(self.net, own[new]), strict=True)
        return torch.stack([self.unchanged[place] for place in places])


def tiled(values: torch.Tensor) -> torch.Tensor:
    """A batch (B, …) with its first row repeated at its end, so that TILE divides the number of its rows.

    On a CPU a row is then computed to the same bits whatever other rows are in its batch.
    """
    missing = -len(values) % TILE
    return torch.cat([values, values[:1].expand(missing, *values.shape[1:])]) if missing else values


class FromBlack(nn.Module):
    """The frame network of a frozen net: adds a black frame's descriptor to stored differences (N, C)."""

    def __init__(self, black: torch.Tensor):
        super().__init__()
        self.register_buffer("black", black, persistent=False)

    def forward(self, differences: torch.Tensor) -> torch.Tensor:
        return differences + self.black


def freeze(net: AudiovisualNet, *splits: Clips) -> tuple[AudiovisualNet, list[Clips]]:
    """A net that shares all weights but the frame network's, and for each split its clips with descriptors as video.

    Descriptors (B, Tv, C) are of stored frames, without augmentation, and differences from a black frame's. Zeros
    therefore mean a missing picture, as they do in frames, and modality dropout works on both. They are kept beside
    the store, in a file named after the store and the frame network's weights.
    """
    black = describe_black(net.eval(), splits[0])
    path = descriptor_file(splits[0], net)
    if not path.exists():
        with atomic_write(path) as temporary:
            np.save(temporary, _differences(net, splits[0], black, np.arange(len(splits[0].store))))
    store = replace(splits[0].store, video=np.load(path, mmap_mode="r"))
    return with_frame_network(net, FromBlack(black[0, 0])), [replace(clips, store=store) for clips in splits]


def describe_once(net: AudiovisualNet, clips: Clips) -> tuple[AudiovisualNet, Clips]:
    """The same as `freeze` for these clips alone, in memory."""
    black = describe_black(net.eval(), clips)
    store = replace(clips.store, video=_differences(net, clips, black, clips.rows))
    return with_frame_network(net, FromBlack(black[0, 0])), replace(clips, store=store)


def with_frame_network(net: AudiovisualNet, frame_network: nn.Module) -> AudiovisualNet:
    """A net with this frame network, which shares all other weights with the given one."""
    other = copy.copy(net)
    other._modules = dict(net._modules, frame_network=frame_network)
    return other


def behind_frames(net: AudiovisualNet) -> AudiovisualNet:
    """A net with the same weights that takes descriptors (B, Tv, C) in place of frames."""
    return with_frame_network(net, nn.Identity())


def descriptor_file(clips: Clips, net: AudiovisualNet) -> Path:
    """The file of the descriptors of the clips' store, by this frame network and on this kind of device."""
    black = " black is zero" if net.learned_stand_ins else ""  # what the stored descriptors differ from
    digits = digest(f"{clips.store.fingerprint} {clips.device.type}{black}", net.frame_network)
    return clips.store.path.with_name(f"{clips.store.path.name}-descriptors-{digits}.npy")


def digest(text: str, module: nn.Module) -> str:
    """Twelve hex digits that change with the text and with the module's weights."""
    result = hashlib.sha256(text.encode())
    for name, value in module.state_dict().items():
        result.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return result.hexdigest()[:12]


def _differences(net: AudiovisualNet, clips: Clips, black: torch.Tensor, rows: np.ndarray) -> np.ndarray:
    """Descriptors of some rows of the clips' store, minus the black frame's; exactly 0 for black frames.

    (N, Tv, C) float32 for all N clips of the store; other rows are 0. A frame like the one before is described with it.
    """
    N, Tv = clips.store.video.shape[:2]
    differences = np.zeros((N, Tv, black.shape[-1]), np.float32)
    with progress_bar(len(rows), "frames described", unit="clip", delay=2, leave=False) as bar:
        for few in np.split(rows, range(8, len(rows), 8)):
            video = as_input(rows_of(clips.store.video, few).to(clips.device))
            visible = video.flatten(2).any(dim=2, keepdim=True)  # (B, Tv, 1) True = not black
            is_new = torch.ones(video.shape[:2], dtype=torch.bool, device=video.device)  # (B, Tv)
            is_new[:, 1:] = (video[:, 1:] != video[:, :-1]).flatten(2).any(dim=2)
            descriptors = describe(net, video[is_new][:, None])[:, 0]
            descriptors = descriptors[is_new.flatten().cumsum(0) - 1].unflatten(0, video.shape[:2])
            differences[few] = ((descriptors - black) * visible).cpu()
            bar.update(len(few))
    return differences
