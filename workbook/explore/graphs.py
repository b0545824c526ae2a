"""What a page computes, as ONNX graphs of fixed shapes: features of sound, descriptors, answers, gradients."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.data.window import HOP, N_MFCC, SAMPLE_RATE
from workbook.explore.probe import POINTS, Probe, answers
from workbook.files import atomic_write
from workbook.train.descriptors import behind_frames

Tensors = tuple[torch.Tensor, ...]


class Sound(nn.Module):
    """A window of samples (1, 79380) as `logmel` (1, 64, 156) and `mfcc` (1, 10, 156): `data.audio` without librosa."""

    SPECTRUM = 2048  # samples under one spectrum, librosa's default

    def __init__(self):
        from librosa.filters import mel
        from scipy.fft import dct

        super().__init__()
        banks = (mel(sr=SAMPLE_RATE, n_fft=self.SPECTRUM, n_mels=bands) for bands in (64, 128))
        self.mel64, self.mel128 = (nn.Buffer(torch.from_numpy(bank)) for bank in banks)
        self.hann = nn.Buffer(torch.hann_window(self.SPECTRUM))
        self.cosines = nn.Buffer(torch.from_numpy(dct(np.eye(128), norm="ortho", axis=0)[:N_MFCC]).float())

    def forward(self, samples: torch.Tensor) -> Tensors:
        settings = {"window": self.hann, "pad_mode": "constant", "return_complex": True}
        power = torch.stft(samples, self.SPECTRUM, HOP, **settings).abs() ** 2  # (1, 1025, 156)
        return self.decibels(self.mel64 @ power), self.cosines @ self.decibels(self.mel128 @ power)

    def decibels(self, power: torch.Tensor) -> torch.Tensor:
        """Power in decibels, cut 80 dB below its peak."""
        values = 10 * power.clamp(min=1e-10).log10()
        return values.clamp(min=values.max() - 80)


class Answers(nn.Module):
    """A network behind its frames: what `probe.answers` returns of audio (1, C, Ta) and descriptors (1, Tv, C)."""

    def __init__(self, probe: Probe):
        super().__init__()
        self.net, self.task = behind_frames(probe.net), probe.inputs.clips.task
        self.stand_ins = [probe.stand_ins(condition) for condition in probe.conditions]

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Tensors:
        return tuple(answers(self.net, self.task, self.stand_ins, audio, video).values())


class Descriptors(nn.Module):
    """The frame network of a net: frames (1, Tv, 3, S, S) in [0, 1] to (1, Tv, C)."""

    def __init__(self, net: AudiovisualNet):
        super().__init__()
        self.net = net

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.net.describe(frames)


def gradients_of(net: AudiovisualNet, black: torch.Tensor) -> Callable[..., Tensors]:
    """A function that returns the integrated gradients (Ta,) and (Tv,) of `Probe.attribution`, without captum.

    net : behind its frames      black : the descriptor (1, 1, C) of a black frame, the baseline of video
    It takes audio (1, C, Ta), video (1, Tv, C) and target (1, outputs): `Answer.sign` for the answer's output, else 0.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # on [-1, 1]
    shares, weights = (
        torch.tensor(half, dtype=torch.float32)[:, None, None] for half in ((1 + nodes) / 2, weights / 2)
    )

    def gradients(audio: torch.Tensor, video: torch.Tensor, target: torch.Tensor) -> Tensors:
        starts = torch.zeros_like(audio), black.expand_as(video)
        ways = audio, video - starts[1]
        points = [(start + shares * way).detach().requires_grad_() for start, way in zip(starts, ways, strict=True)]
        output = (net.fuse(*net.encode(*points)).logits * target).sum()
        slopes = torch.autograd.grad(output, points, allow_unused=True, materialize_grads=True)
        scores = [(weights * slope).sum(dim=0) * way[0] for slope, way in zip(slopes, ways, strict=True)]
        return scores[0].sum(dim=0), scores[1].sum(dim=1)

    return gradients


def backward_graph(function: Callable[..., Tensors], inputs: Tensors) -> nn.Module:
    """A module of a function that calls autograd, in operations that ONNX has."""
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    aten = torch.ops.aten

    def convolution_backward(slopes, values, weights, _, stride, padding, dilation, transposed, more, groups, mask):
        """The part of the values; a trained network's weights need none."""
        return aten.convolution(slopes, weights, None, stride, padding, dilation, True, more, groups), None, None

    table = core_aten_decompositions() | {aten.convolution_backward.default: convolution_backward}
    module = make_fx(function, decomposition_table=table)(*inputs)
    for node in module.graph.nodes:
        if node.target is aten.view.default:  # ONNX's exporter gives some tensors other strides
            node.target = aten.reshape.default
    module.recompile()
    return module


def write_graph(path: Path, module: nn.Module, inputs: dict[str, torch.Tensor], outputs: list[str]) -> None:
    """Writes a module as an ONNX file; inputs : by name, in the module's order      outputs : names."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"a page needs {error.name}: pip install 'avlib[page]'") from None
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it tells what it does not fold
    names = {"input_names": list(inputs), "output_names": outputs}
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        program = torch.onnx.export(module.eval(), tuple(inputs.values()), dynamo=True, verbose=False, **names)
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")  # paths of this machine
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
