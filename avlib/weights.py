"""Reads the checkpoints of others without executing their code, and writes our weights for the authors' code.

Three formats: the authors' own (katerynaCh/multimodal-emotion-recognition), EfficientFace's (zengqunzhao/EfficientFace)
and MULT's (yaohungt/Multimodal-Transformer).
"""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from avlib.efficientface import EfficientFace
from avlib.fusion import FUSIONS
from avlib.model import AudiovisualNet, build_model
from avlib.mult import Mult

Weights = dict[str, torch.Tensor]

# Objects in EfficientFace's checkpoints that are no weights: the meter of its training script, and numpy arrays.
IGNORED = (
    "__main__.RecorderMeter",
    "__main__.RecorderMeter1",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)

# By fusion: the entry that only the authors' checkpoint of this fusion has.
SIGNATURES = {"lt": "av.attn.q.weight", "it": "av1.attn.q.weight", "ia": "av1.q.weight"}
FRAMES = "frame_network."  # before the names of a frame network's weights in our own files
MULT_SIZES = ("proj_a.weight", "proj_v.weight", "out_layer.weight")  # in every checkpoint of MULT; they tell its sizes

_QUARTERS = [
    (f"local.quarters.{quarter}.{ours}.", f"local.{theirs[:-2]}{quarter + 1}{theirs[-2:]}.")
    for quarter in range(4)
    for ours, theirs in enumerate(("conv_1", "bn_1", "", "conv_2", "bn_2"))
    if theirs
]
_RENAMES = [
    ("audio.earlier.", "audio_model.conv1d_"),
    ("audio.later.0.", "audio_model.conv1d_2."),
    ("audio.later.1.", "audio_model.conv1d_3."),
    ("video.earlier.", "visual_model.conv1d_"),
    ("video.later.0.", "visual_model.conv1d_2."),
    ("video.later.1.", "visual_model.conv1d_3."),
    ("frame_network.", "visual_model."),
    (".stem.", ".conv1."),
    (".last.", ".conv5."),
    (".shortcut.", ".branch1."),
    (".filtered.", ".branch2."),
    (".channel_gate.0.", ".channel_att.gate_c.gate_c_fc_0."),
    (".channel_gate.1.", ".channel_att.gate_c.gate_c_bn_1."),
    (".channel_gate.3.", ".channel_att.gate_c.gate_c_fc_final."),
    (".place_gate.0.", ".spatial_att.gate_s.gate_s_conv_reduce0."),
    (".place_gate.1.", ".spatial_att.gate_s.gate_s_bn_reduce0."),
    (".place_gate.3.", ".spatial_att.gate_s.gate_s_conv_di_0."),
    (".place_gate.4.", ".spatial_att.gate_s.gate_s_bn_di_0."),
    (".place_gate.6.", ".spatial_att.gate_s.gate_s_conv_di_1."),
    (".place_gate.7.", ".spatial_att.gate_s.gate_s_bn_di_1."),
    (".place_gate.9.", ".spatial_att.gate_s.gate_s_conv_final."),
    ("classifier.", "classifier_1.0."),
    ("attention.similarity.", "attn."),
    ("attention.value.", "attn.value."),
    ("attention.project.", "attn.proj."),
    (".norm_query.", ".norm1_q."),
    (".norm_key.", ".norm1_k."),
    (".norm.", ".norm2."),
    (".query.", ".q."),
    *_QUARTERS,
]

_MULT_RENAMES = [
    ("dense.hidden.", "proj1."),
    ("dense.output.", "proj2."),
    ("classifier.", "out_layer."),
    ("audio.project.", "proj_a."),
    ("video.project.", "proj_v."),
    ("exchange.video_to_audio.", "trans_a_with_v."),
    ("exchange.audio_to_video.", "trans_v_with_a."),
    ("exchange.audio_to_audio.", "trans_a_mem."),
    ("exchange.video_to_video.", "trans_v_mem."),
    (".attention.", ".self_attn."),
    (".hidden.", ".fc1."),
    (".output.", ".fc2."),
    (".norm_attention.", ".layer_norms.0."),
    (".norm_mlp.", ".layer_norms.1."),
    (".norm.", ".layer_norm."),
]


class Ignored:
    """Stands for an object that is no weight: takes any arguments and any state, and keeps nothing."""

    def __new__(cls, *_):
        return super().__new__(cls)

    def __setstate__(self, _):
        pass


def read_weights(path: str | Path) -> tuple[Path, Weights]:
    """The path of a file of weights, and its weights by name, without `module.` before the names.

    The file is a .safetensors, or it is by torch.save and holds a state dict, or a dict with one under `state_dict`.
    Code in it is never executed.
    Raises ValueError where the file is missing, damaged, or holds anything else, such as numbers that are NaN.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with torch.serialization.safe_globals([(Ignored, name) for name in IGNORED]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds
        code = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"holds {code[1]}, which is no weight" if code else "is damaged or no checkpoint by torch.save"
        raise ValueError(f"{path} {problem}; nothing in it was executed") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path} holds no state dict, but a {type(weights).__name__} of another kind")
    for name, weight in weights.items():
        if not torch.is_tensor(weight):
            raise ValueError(f"{path} holds no state dict: its '{name}' is a {type(weight).__name__}, not a tensor")
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(f"{path} holds NaN or infinite numbers in '{name}': its training has diverged")
    return path, {str(name).removeprefix("module."): weight for name, weight in weights.items()}


def check_weights(path: Path, theirs: Weights, expected: Weights, network: str) -> None:
    """Raises ValueError with the first name or shape that differs from the expected one."""
    for name, weight in expected.items():
        if name not in theirs:
            raise ValueError(f"{path} is not of {network}: it lacks '{name}'")
        if theirs[name].shape != weight.shape:
            shapes = f"{tuple(theirs[name].shape)}, not {tuple(weight.shape)}"
            raise ValueError(f"{path} is not of {network}: its '{name}' is {shapes}")
    for name in theirs:
        if name not in expected:
            raise ValueError(f"{path} is not of {network}: it has '{name}'")


def _renamed(name: str, renames: list[tuple[str, str]]) -> str:
    for ours, theirs in renames:
        name = name.replace(ours, theirs)
    return name


def _fusion(net: nn.Module) -> str:
    """The name of the net's fusion; ValueError where the authors' code has no such system."""
    name = next((name for name, entry in FUSIONS.items() if type(getattr(net, "fusion", None)) is entry), "")
    if name not in SIGNATURES:
        other = name or type(net).__name__
        raise ValueError(f"the authors' code has fusion {', '.join(SIGNATURES)}, and no '{other}'")
    if net.learned_stand_ins:
        raise ValueError("the authors' code has no learned stand-ins: build the net without them")
    if not isinstance(net.dense, nn.Identity):
        raise ValueError("the authors' code has no dense head: build the net with dense_head=False")
    return name


def authors_name(net: nn.Module, name: str) -> str:
    """The authors' name for the entry `name` of `net`; their attention is av, va in lt and av1, va1 in it, ia.

    They stack keys and values in one matrix `kv`. Here the two keep their endings `key` and `value`.
    """
    suffix = SIGNATURES[_fusion(net)].split(".")[0].removeprefix("av") + "."
    for ours, theirs in (("video_to_audio.", "av" + suffix), ("audio_to_video.", "va" + suffix)):
        name = name.replace("fusion.exchange." + ours, theirs).replace("fusion." + ours, theirs)
    return _renamed(name, _RENAMES)


def to_authors(net: nn.Module, entries: Weights | None = None) -> Weights:
    """The weights of `net` (lt, it or ia) under the authors' names, without the weights that their code never uses.

    entries : other tensors by our names, such as gradients, in place of the weights
    """
    entries = net.state_dict() if entries is None else entries
    theirs = {authors_name(net, name): value for name, value in entries.items()}
    for name in [name for name in theirs if name.endswith(".key.weight")]:
        key = theirs.pop(name)
        value = theirs.pop(name.replace(".key.", ".value."), torch.zeros_like(key))
        theirs[name.replace(".key.", ".kv.")] = torch.cat([key, value])
    return theirs


def from_authors(net: nn.Module, theirs: Weights) -> Weights:
    """The state dict for `net` (lt, it or ia) from the authors' (names without `module.`)."""
    ours = {}
    for name in net.state_dict():
        other = authors_name(net, name)
        halves = [other.endswith(".key.weight"), other.endswith(".value.weight")]
        if any(halves):
            ours[name] = theirs[other.rsplit(".", 2)[0] + ".kv.weight"].chunk(2)[halves.index(True)]
        else:
            ours[name] = theirs[other]
    return ours


def authors_state_dict(net: AudiovisualNet) -> Weights:
    """The weights of `net` (lt, it or ia) under the authors' names, complete for their `load_state_dict`.

    Weights that their network never uses are zeros: a classifier on each branch and, in `ia`, values and their
    projection. Raises ValueError for a net that their code does not have.
    """
    theirs = to_authors(net)
    classes, pooled = net.classifier.weight.shape
    zeros = net.classifier.weight.new_zeros
    for branch in ("audio_model", "visual_model"):
        theirs[f"{branch}.classifier_1.0.weight"] = zeros(classes, pooled // 2)
        theirs[f"{branch}.classifier_1.0.bias"] = zeros(classes)
    for name in [name for name in theirs if name.endswith(".q.weight")]:
        width, projection = len(theirs[name]), name.replace(".q.weight", ".proj")
        theirs.setdefault(f"{projection}.weight", zeros(width, width))
        theirs.setdefault(f"{projection}.bias", zeros(width))
    return theirs


def authors_system(path: Path, theirs: Weights) -> tuple[str, int]:
    """Fusion and number of classes of one of the authors' checkpoints; ValueError where the file is none."""
    fusion = next((fusion for fusion, sign in SIGNATURES.items() if sign in theirs), None)
    if fusion is None:
        names = " or ".join(SIGNATURES.values())
        raise ValueError(f"{path} is no checkpoint of the authors' network: it lacks {names}")
    shape = theirs["classifier_1.0.weight"].shape if "classifier_1.0.weight" in theirs else ()
    if len(shape) != 2 or shape[0] < 2:
        raise ValueError(f"{path} is no checkpoint of the authors' network: it lacks a matrix classifier_1.0.weight")
    return fusion, shape[0]


def load_authors_checkpoint(path: str | Path, heads: int = 1) -> AudiovisualNet:
    """The network in one of the authors' checkpoints (`.pth`), in eval mode on the CPU.

    Fusion and classes are read from it.
    heads : in each attention; the weights do not tell their number
    Raises ValueError, with the first mismatch, for another file, and where `heads` does not fit.
    """
    path, theirs = read_weights(path)
    fusion, classes = authors_system(path, theirs)
    net = build_model(fusion, heads, classes)
    _take_authors(net, path, theirs)
    return net.eval()


def _take_authors(net: AudiovisualNet, path: Path, theirs: Weights) -> None:
    network = f"the authors' network with fusion {_fusion(net)} and {len(net.classifier.weight)} classes"
    check_weights(path, theirs, authors_state_dict(net), network)
    net.load_state_dict(from_authors(net, theirs))


def load_efficientface(net: AudiovisualNet, path: str | Path) -> None:
    """Loads one of EfficientFace's checkpoints (`.pth.tar`) into the net's frame network.

    Its last layer, of 7, 8 or 12,666 classes, is left out; the net uses the features before it.
    Raises ValueError, with the first mismatch, for another file, and for a net without EfficientFace.
    """
    _take_efficientface(net, *read_weights(path))


def _take_efficientface(net: AudiovisualNet, path: Path, theirs: Weights) -> None:
    faces = net.frame_network
    if not isinstance(faces, EfficientFace):
        raise ValueError(f"{path} has weights of EfficientFace, but this net has no EfficientFace")
    names = {name: _renamed(f"frame_network.{name}", _RENAMES).split(".", 1)[1] for name in faces.state_dict()}
    theirs = {name: weight for name, weight in theirs.items() if not name.startswith("fc.")}
    check_weights(path, theirs, {names[name]: weight for name, weight in faces.state_dict().items()}, "EfficientFace")
    faces.load_state_dict({name: theirs[names[name]] for name in names})


def _take_frame_network(net: nn.Module, path: Path, theirs: Weights) -> None:
    """Loads the frame network of one of our own files; all else in it is left out."""
    own = {name.removeprefix(FRAMES): weight for name, weight in theirs.items() if name.startswith(FRAMES)}
    check_weights(path, own, net.frame_network.state_dict(), "this frame network")
    net.frame_network.load_state_dict(own)


def load_mult(path: str | Path) -> Mult:
    """The audiovisual MULT from a state dict with MULT's names, in eval mode on the CPU; sizes are read from it.

    Raises ValueError, with the first mismatch, for another file.
    """
    path, theirs = read_weights(path)
    theirs = {name: weight for name, weight in theirs.items() if not name.endswith((".version", "._float_tensor"))}
    sizes = [theirs[name].shape if name in theirs else () for name in MULT_SIZES]
    if not all(len(shape) > 1 for shape in sizes):
        raise ValueError(f"{path} is no state dict of MULT: it lacks matrices called {', '.join(MULT_SIZES)}")
    audio, video, outputs = sizes
    net = Mult(audio[1], video[1], outputs[0])
    names = {name: _renamed(name, _MULT_RENAMES) for name in net.state_dict()}
    network = "MULT for audio and video alone, with its 5 layers"
    check_weights(path, theirs, {names[name]: weight for name, weight in net.state_dict().items()}, network)
    net.load_state_dict({name: theirs[names[name]] for name in names})
    return net.eval()


def load_weights(net: nn.Module, path: str | Path) -> str:
    """Loads a file of weights into `net`; returns what they are, such as "EfficientFace's weights".

    path : a checkpoint of EfficientFace, one of the authors' with the net's own fusion and classes, or a
           model.safetensors of this workbook, whose frame network is taken
    Raises ValueError, with the first mismatch, for another file.
    """
    path, theirs = read_weights(path)
    if any(sign in theirs for sign in SIGNATURES.values()):
        _take_authors(net, path, theirs)
        return "all weights"
    if any(name.startswith(FRAMES) for name in theirs):
        _take_frame_network(net, path, theirs)
        return "the frame network"
    _take_efficientface(net, path, theirs)
    return "EfficientFace's weights"
