"""Grad-CAM is bright where the network looks, and its sentence names the place."""

import numpy as np
import pytest
import torch
from torch import nn

from avlib import build_model
from workbook import InputError
from workbook.attention.grad_cam import grad_cam, heat_sentence, last_maps

N, CA, TA, CV, S = 2, 5, 31, 7, 64


def test_grad_cam_is_bright_where_the_network_looks():
    """A frame network that averages red in squares of 8 pixels; a network of pictures alone adds the squares up."""
    torch.manual_seed(0)
    net = build_model("video", classes=3, video_channels=CV)
    squares = nn.Conv2d(3, CV, 8, stride=8, bias=False)
    with torch.no_grad():
        squares.weight.zero_()[0, 0] = 1 / 64
        for module in net.video.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.zeros_(module.weight), nn.init.zeros_(module.bias)
                module.weight[0, 0, 1] = 1
        nn.init.zeros_(net.classifier.weight)
        net.classifier.weight[1, 0] = 1
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.frame_network = nn.Sequential(squares, nn.BatchNorm2d(CV), nn.ReLU(inplace=True), pool).eval()
    audio, video = torch.zeros(N, CA, TA), torch.zeros(N, 3, 3, S, S)
    video[0, 1, 0, 8:16, 40:48], video[0, 2, 0, 32:40, 16:24] = 1.0, 0.5
    video[1, 0, 2] = 1  # all blue: nothing
    heat = grad_cam(net, audio, video, 1)
    assert heat.shape == (N, 3, S, S) and heat.min() == 0 and heat.max() == pytest.approx(1)
    assert not heat[1].any() and not heat[0, 0].any()
    row, column = np.unravel_index(heat[0, 1].argmax(), (S, S))
    assert 8 <= row < 16 and 40 <= column < 48
    assert heat[0, 2].max() == pytest.approx(0.5, rel=0.01) and heat[0, 2, 36, 20] > 0.4
    assert not grad_cam(net, audio, -video, 0).any()
    times, share = np.array([0.6, 1.8, 3.0]), 100 * heat[0, 1].sum() / heat[0].sum()
    assert heat_sentence(heat[0], times).startswith(f"**{share:.0f} %**") and "1.80 s" in heat_sentence(heat[0], times)
    assert heat_sentence(heat[1], times) == "No place in the faces speaks for the answer."


def test_the_last_maps_are_found_in_any_frame_network():
    video = torch.rand(1, 2, 3, S, S)
    net = build_model(image_size=S)
    assert last_maps(net, video) is net.frame_network.last
    net = build_model(image_size=S, vision="timm:resnet18")
    assert last_maps(net, video) is net.frame_network.network.layer4
    assert not any(part._forward_hooks for part in net.modules())
    net.frame_network = nn.Sequential(nn.Flatten(), nn.Linear(3 * S * S, 3))
    with pytest.raises(InputError, match="maps"):
        last_maps(net, video)
