"""Grad-CAM: which places in each face speak for an answer."""

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import nn

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.train.memory import channels_last, memory_kept


@memory_kept()
def grad_cam(net: AudiovisualNet, audio: torch.Tensor, video: torch.Tensor, target: int | torch.Tensor) -> np.ndarray:
    """Where in each face the frame network's last maps speak for the target: (N, Tv, S, S) in [0, 1].

    Grad-CAM (Selvaraju et al., ICCV 2017), enlarged to the frames. 1 is the place that speaks most for it in the clip,
    so that its frames can be compared; a clip in which no place does is 0. Arguments as in `integrated_gradients`
    Raises InputError for features, and for a frame network without maps.
    """
    attribute = LayerGradCam(lambda video, audio: net(audio, channels_last(video)).logits, last_maps(net, video))
    targets, clips = torch.as_tensor(target).expand(len(audio)).tolist(), []
    for frames, sound, output in zip(video.split(1), audio.split(1), targets, strict=True):
        heat = attribute.attribute(frames, output, sound, relu_attributions=True).detach()  # (Tv, 1, s, s)
        heat = F.interpolate(heat, video.shape[-2:], mode="bilinear")[:, 0]
        clips.append((heat / heat.max().clamp(min=1e-12)).cpu())
    return torch.stack(clips).numpy()


def heat_sentence(heat: np.ndarray, times: np.ndarray) -> str:
    """Which frame of a clip speaks most for the answer, in Markdown.

    heat : (Tv, S, S) in [0, 1], as `grad_cam` returns      times : (Tv,) of the frames, seconds
    """
    if not heat.any():
        return "No place in the faces speaks for the answer."
    frame = int(heat.mean(axis=(1, 2)).argmax())
    share, place = 100 * heat[frame].sum() / heat.sum(), f"{times[frame]:.2f} s (even: {100 / len(heat):.0f} %)"
    return f"**{share:.0f} %** of all that speaks for the answer lies in the frame at {place}."


def last_maps(net: AudiovisualNet, video: torch.Tensor) -> nn.Module:
    """The part of the frame network that returns its last maps (frames, C, s, s), with s from 2 to S / 8.

    Raises InputError where there is none: features, sound alone, a network that keeps no places.
    """
    parts, largest = [], video.shape[-1] // 8  # wider squares are attention maps

    def note(module: nn.Module, inputs: tuple, maps: torch.Tensor) -> None:
        shape = getattr(maps, "shape", ())
        if len(shape) == 4 and shape[-2] == shape[-1] and 1 < shape[-1] <= largest:
            parts.append(module)

    hooks = [part.register_forward_hook(note) for part in net.eval().frame_network.modules()]
    try:
        if video.ndim == 5 and "video" in net.fusion.modalities:
            net.describe(channels_last(video[:1, :1]))
    finally:
        for hook in hooks:
            hook.remove()
    if not parts:
        raise InputError("Grad-CAM needs maps (C, s, s) of the frames: this network has none for these inputs")
    return parts[-1]
