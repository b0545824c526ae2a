"""Training behind a front that stays as it is: every frame is described once, and an epoch takes seconds.

The paper keeps what looks at single frames apart from what follows them in time, and this is what it can be used for.
Descriptors are of the frames as they are stored: no clip is flipped or turned.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avlib import InputError
from avlib.attention import Output
from avlib.batches import Clips, as_seen, colours_last, rows_of
from avlib.files import atomic_write
from avlib.model import AudiovisualNet, precision
from avlib.speed.sharing import Distinct

CHUNK = 8  # clips whose frames are described at a time


class Frozen(nn.Module):
    """A net whose front is left alone: takes descriptors (B, Tv, C), less that of a black frame, in place of frames.

    Zeros then stand for a missing picture, as among frames, and modality dropout works on both alike. A picture that is
    softened by it comes near to black in its descriptor, in a straight line, rather than in its pixels; noise in its
    place is noise in the descriptor, too.
    """

    def __init__(self, net: AudiovisualNet, black: torch.Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("black", black, persistent=False)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.net.video.front.eval()
        return self

    def forward(self, audio: torch.Tensor, video: torch.Tensor | Distinct) -> Output:
        video = video.spread() if isinstance(video, Distinct) else video
        return self.net(audio, video + self.black)


def freeze(net: AudiovisualNet, *parts: Clips) -> tuple[Frozen, list[Clips]]:
    """The net without its front, which shares all other weights with it, and clips as it takes them.

    Descriptors of all clips of a store are kept beside it, in a file named after the store and the front's weights.
    Raises InputError where no frames are looked at: in a corpus of features, and by the audio branch alone.
    """
    if "video" not in net.fusion.modalities or isinstance(net.video.front, nn.Identity):
        raise InputError("train_vision is false, but this network looks at no frames: leave it at true")
    net.eval()
    black = describe(net, torch.zeros_like(parts[0][torch.tensor([0])][1][:, :1]))[0, 0]
    return Frozen(net, black), [described(clips, net, black) for clips in parts]


def described(clips: Clips, net: AudiovisualNet, black: torch.Tensor) -> Clips:
    """The same clips with descriptors for video, from the file beside the store, which is made where there is none."""
    path = descriptor_file(clips, net)
    if not path.exists():
        with atomic_write(path) as temporary:
            np.save(temporary, _all_descriptors(clips, net, black))
    store = replace(clips.store, video=np.load(path, mmap_mode="r"))
    return Clips(store, clips.rows, clips.labels, clips.task, clips.device, clips.modalities, clips.scales)


def descriptor_file(clips: Clips, net: AudiovisualNet) -> Path:
    """Where the descriptors are kept that this net's front makes of the clips' store on this kind of device."""
    digest = hashlib.sha256(f"{clips.store.fingerprint} {clips.device.type}".encode())
    for name, value in net.video.front.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return clips.store.path.with_name(f"{clips.store.path.name}-descriptors-{digest.hexdigest()[:12]}.npy")


def _all_descriptors(clips: Clips, net: AudiovisualNet, black: torch.Tensor) -> np.ndarray:
    """Of every clip of the store (N, Tv, C) float32, less that of a black frame; 0 where a frame is black."""
    found = []
    for start in range(0, len(clips.store), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(clips.store)))
        video = as_seen(rows_of(clips.store.video, rows).to(clips.device))
        there = video.flatten(2).any(dim=2, keepdim=True)  # (B, Tv, 1)   True = not black
        found.append(((describe(net, video) - black) * there).cpu())
    return torch.cat(found).numpy()


@torch.no_grad()
def describe(net: AudiovisualNet, video: torch.Tensor) -> torch.Tensor:
    """Descriptors (B, Tv, C) float32 of frames (B, Tv, 3, S, S), by a net in eval mode."""
    with precision(video.device):
        return net.describe(colours_last(video)).float()
