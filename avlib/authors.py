"""The names that weights have in the authors' code, so that their checkpoints and ours can be compared and exchanged.

Source of the names: katerynaCh/multimodal-emotion-recognition, models/multimodalcnn.py and models/transformer_timm.py.
"""

import torch
from torch import nn

from avlib.fusion import LateTransformer

_QUARTERS = [
    (f"local.quarters.{quarter}.{ours}.", f"local.{theirs[:-2]}{quarter + 1}{theirs[-2:]}.")
    for quarter in range(4)
    for ours, theirs in enumerate(("conv_1", "bn_1", "", "conv_2", "bn_2"))
    if theirs
]
_RENAMES = [
    ("audio.stage1.", "audio_model.conv1d_"),
    ("audio.stage2.0.", "audio_model.conv1d_2."),
    ("audio.stage2.1.", "audio_model.conv1d_3."),
    ("video.temporal.", "visual_model.conv1d_"),
    ("video.stage2.0.", "visual_model.conv1d_2."),
    ("video.stage2.1.", "visual_model.conv1d_3."),
    ("video.efficientface.", "visual_model."),
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


def authors_name(net: nn.Module, name: str) -> str:
    """What the authors' code calls the entry `name` of `net`; their attention is av, va in lt and av1, va1 in it, ia.

    They stack keys over values in one matrix `kv`; what we hold apart keeps the ending `key` or `value` here.
    """
    suffix = "." if isinstance(net.fusion, LateTransformer) else "1."
    for ours, theirs in (("video_to_audio.", "av" + suffix), ("audio_to_video.", "va" + suffix)):
        name = name.replace("fusion.exchange." + ours, theirs).replace("fusion." + ours, theirs)
    for ours, theirs in _RENAMES:
        name = name.replace(ours, theirs)
    return name


def to_authors(net: nn.Module, entries: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The weights of `net` (lt, it or ia) under the authors' names; what they have and never use is left out.

    entries : other tensors by our names, such as gradients, in place of the weights
    """
    entries = net.state_dict() if entries is None else entries
    theirs = {authors_name(net, name): value for name, value in entries.items()}
    for name in [name for name in theirs if name.endswith(".key.weight")]:
        key = theirs.pop(name)
        value = theirs.pop(name.replace(".key.", ".value."), torch.zeros_like(key))
        theirs[name.replace(".key.", ".kv.")] = torch.cat([key, value])
    return theirs


def from_authors(net: nn.Module, theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict for `net` (lt, it or ia) from the authors' one `theirs` (names without `module.`)."""
    ours = {}
    for name in net.state_dict():
        other = authors_name(net, name)
        halves = [other.endswith(".key.weight"), other.endswith(".value.weight")]
        if any(halves):
            ours[name] = theirs[other.rsplit(".", 2)[0] + ".kv.weight"].chunk(2)[halves.index(True)]
        else:
            ours[name] = theirs[other]
    return ours
