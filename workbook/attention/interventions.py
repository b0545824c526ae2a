"""Interventions: attention replaced by another, and weights shuffled. Does the answer change, does the explanation?

The core knows nothing of this: attention is replaced where PyTorch computes a softmax.
"""

import copy
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from avlib.fusion import Fusion
from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.attention.faithfulness import correlations, interval
from workbook.attention.importance import (
    Material,
    answers,
    behind_frames,
    by_attention,
    by_gradients,
    forward,
    with_net,
)

SOFTMAX = (torch.ops.aten._softmax, torch.ops.aten.softmax)  # the mode of autograd decides which is called


class replaced_attention(TorchDispatchMode):
    """A block in which every softmax returns other weights; each row still sums to 1. `count` says how many did.

    It is not a TorchFunctionMode, as `workbook.train.sharing.counted` is, because MULT's attention computes its softmax
    inside a function of PyTorch, which such a mode does not see.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket not in SOFTMAX:
            return function(*args, **(kwargs or {}))
        self.count += 1
        scores, *rest = args
        return self.weights(scores, lambda scores: function(scores, *rest, **(kwargs or {})))

    @abstractmethod
    def weights(self, scores: torch.Tensor, softmax: Callable) -> torch.Tensor:
        """The weights for these scores, whose first axis is the batch, or batch times heads."""


class even_attention(replaced_attention):
    """A block in which attention is even; keys that are hidden (scores of minus infinity) stay hidden."""

    def weights(self, scores: torch.Tensor, softmax: Callable) -> torch.Tensor:
        return softmax(torch.where(scores.isneginf(), scores, 0))


class swapped_attention(replaced_attention):
    """A block in which each clip of a batch gets the attention of another one.

    partner : (B,) for each clip the place of the other in the batch
    """

    def __init__(self, partner: torch.Tensor):
        super().__init__()
        self.partner = partner

    def weights(self, scores: torch.Tensor, softmax: Callable) -> torch.Tensor:
        own = softmax(scores)  # (B, …), or (B H, …) in nn.MultiheadAttention
        return own.unflatten(0, (len(self.partner), -1))[self.partner].flatten(0, 1)


def attention_changed(material: Material, draws: int = 3, seed: int = 0) -> pd.DataFrame:
    """What becomes of each clip's answer if all attention of the network is replaced: a row per clip and change.

    Changes: "attention even"; "attention of another clip", drawn `draws` times; and, to compare with, "audio deleted"
    and "video deleted", which put the baseline in place of a whole modality.
    Columns: clip, actor, change, changed (the share of draws with another answer), right_before and right (whether the
    answer is the label, NaN for a sentiment of 0).
    Raises InputError where the fusion computes no softmax, or there is one clip alone.
    """
    if len(material.answers) < 2:
        raise InputError("there is one clip alone: another clip's attention needs a second one")
    generator = torch.Generator().manual_seed(seed)
    whole = [material.inputs] * draws
    others = [swapped_attention(_partners(len(material.answers), generator)) for _ in range(draws)]
    tries = {"attention even": [(even_attention(), material.inputs)]}
    tries["attention of another clip"] = list(zip(others, whole, strict=True))
    for name, segments in material.segments.items():
        nothing = np.zeros((len(material.answers), segments.max() + 1), bool)
        tries[f"{name} deleted"] = [(nullcontext(), material.without(name, nothing))]
    about = material.clips.table[["clip", "actor"]]
    about = about.assign(right_before=_right(forward(material.net, material.inputs)[0], material))
    tables = []
    for change, several in tries.items():
        found = [_answers(material, *each) for each in several]
        changed, right = (np.mean(values, axis=0) for values in zip(*found, strict=True))
        tables.append(about.assign(change=change, changed=changed, right=right))
    return pd.concat(tables, ignore_index=True)


def _partners(clips: int, generator: torch.Generator) -> torch.Tensor:
    """For each clip another one, drawn at random; each is drawn once."""
    order = torch.randperm(clips, generator=generator)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _answers(material: Material, block: AbstractContextManager, inputs: dict) -> tuple[np.ndarray, np.ndarray]:
    """Whether each answer (N,) changes within the block, and whether it is right there."""
    with block:
        logits = forward(material.net, inputs, size=len(material.answers))[0]
    if isinstance(block, replaced_attention) and not block.count:
        name = type(material.net.fusion).__name__
        raise InputError(f"{name} computes no softmax: its attention cannot be replaced")
    return (answers(logits) != material.answers).numpy(), _right(logits, material)


def _right(logits: torch.Tensor, material: Material) -> np.ndarray:
    """Whether each answer (N,) is the label, of sentiment its sign; NaN for a sentiment of 0."""
    labels = material.clips.labels
    if logits.shape[1] > 1:
        return (logits.argmax(dim=1) == labels).numpy().astype(float)
    return torch.where(labels == 0, torch.nan, ((logits[:, 0] > 0) == (labels > 0)).float()).numpy()


def change_summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per change: changed, the share of other answers, with low and high; right_before and right, shares."""
    rows = []
    for change, every in table.groupby("change", sort=False):
        changed = interval(every["changed"], every["actor"])
        means = {name: interval(every[name], every["actor"])["mean"] for name in ("right_before", "right")}
        rows.append({"change": change, "changed": changed.pop("mean"), **changed, **means})
    return pd.DataFrame(rows)


def layers(net: AudiovisualNet) -> dict[str, list[nn.Parameter]]:
    """The weights of each layer, from the classifier back to the inputs."""
    later = [branch.later for branch in (net.audio, net.video) if hasattr(branch, "later")]
    early = type(net.fusion).after_stage1 is not Fusion.after_stage1  # True = the fusion lies before stage 2
    middle = [("fusion", [net.fusion]), ("stage 2", later)]
    groups = [("classifier", [net.classifier]), ("dense head", [net.dense]), *(middle[::-1] if early else middle)]
    groups += [("stage 1", [net.audio, net.video]), ("frame network", [net.frame_network])]
    found, known = {}, set()
    for name, modules in groups:
        weights = [weight for module in modules for weight in module.parameters() if id(weight) not in known]
        known |= {id(weight) for weight in weights}
        found |= {name: weights} if weights else {}
    return found


@torch.no_grad()
def shuffle(weights: list[nn.Parameter], generator: torch.Generator) -> None:
    """Shuffles the values within each tensor of weights: their distribution stays, what was learnt goes."""
    for weight in weights:
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.copy_(weight.flatten()[order].view_as(weight))


def cascade(material: Material, net: AudiovisualNet, draws: int = 2, seed: int = 0, steps: int = 8) -> pd.DataFrame:
    """Attention and integrated gradients of ever more shuffled networks against those of the trained one.

    The layers are shuffled one after the other, from the classifier down, and stay so: the cascading randomisation of
    Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018).

    net : the network that the material was prepared with        draws : how often all layers are shuffled anew
    steps : of integrated gradients
    Columns: layer (the last one shuffled; "none" first), method (attention | integrated gradients), modality; mean, low
    and high of Spearman's rank correlation with the trained network's scores, as in `interval`. An explanation that
    shows what was learnt falls to 0.
    """
    trained = {"attention": by_attention(material), "integrated gradients": by_gradients(material, steps=steps)}
    found, generator = defaultdict(list), torch.Generator().manual_seed(seed)
    for _ in range(draws):
        shuffled = copy.deepcopy(net)
        for layer, weights in {"none": [], **layers(shuffled)}.items():
            shuffle(weights, generator)
            now = with_net(material, shuffled) if layer == "frame network" else material
            behind = behind_frames(shuffled)
            scores = {"attention": by_attention(now, behind), "integrated gradients": by_gradients(now, behind, steps)}
            for method, importance in scores.items():
                for name in (name for name in material.ordered if name in importance):
                    found[layer, method, name].append(correlations(trained[method][name], importance[name]))
    actors, names, rows = material.clips.table["actor"], ("layer", "method", "modality"), []
    for key, alike in found.items():
        of_clips = pd.DataFrame(alike).mean()  # over the draws that are not NaN
        rows.append(dict(zip(names, key, strict=True)) | interval(of_clips, actors))
    return pd.DataFrame(rows)
