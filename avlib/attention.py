"""Dot-product attention between two modalities, with its weights as a result (paper, equations 1 to 3)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn


class Output(NamedTuple):
    """What a network returns: its logits and its attention weights."""

    logits: torch.Tensor  # (B, classes)
    attention: dict[str, torch.Tensor]  # by name, as in fusion.py; empty without attention


def attention_weights(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Attention weights softmax(query keyᵀ / √D) (equation 3); every row sums to 1.

    query : (B, H, Tq, D)      key : (B, H, Tk, D)      returns (B, H, Tq, Tk)
    """
    D, K = query.shape[-1], key.shape[-1]
    assert D == K, f"queries are {D} wide and keys {K}: they must agree"
    return (query @ key.transpose(-2, -1) * D**-0.5).softmax(dim=-1)


def attention_vector(weights: torch.Tensor) -> torch.Tensor:
    """The attention that each key receives, summed over queries: (B, Tk), totals Tq.

    weights : (B, H, Tq, Tk), averaged over the heads first
    Section III.B.3 prints Σ_i A[:, i], the sum over the keys of a query: always 1.
    The authors' code computes v[j] = Σ_i A[i, j], and so does this function.
    With even attention every v[j] is Tq / Tk.
    """
    return weights.mean(dim=1).sum(dim=1)


def split_heads(features: torch.Tensor, heads: int) -> torch.Tensor:
    """The same features per head: (B, T, H D) to (B, H, T, D)."""
    return features.unflatten(-1, (heads, -1)).transpose(1, 2)


class Similarity(nn.Module):
    """Attention weights (B, H, Tq, Tk) between learnt projections of two sequences.

    query : (B, Tq, query_width)      key : (B, Tk, key_width)
    There are no biases, as in the paper: keys or queries of zeros have even weights.
    Behind stage 1, with its biases, norms and padding, a zeroed modality is not zeros.
    """

    def __init__(self, query_width: int, key_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query_width, query_width, bias=False)
        self.key = nn.Linear(key_width, query_width, bias=False)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        query = split_heads(self.query(query), self.heads)  # (B, H, Tq, D)
        key = split_heads(self.key(key), self.heads)  # (B, H, Tk, D)
        return attention_weights(query, key)


class CrossAttention(nn.Module):
    """The attention of the query to the other modality (equation 2), and its weights.

    query : (B, Tq, query_width)      key : (B, Tk, key_width), also the values
    returns (B, Tq, query_width), (B, H, Tq, Tk)
    """

    def __init__(self, query_width: int, key_width: int, heads: int):
        super().__init__()
        self.similarity = Similarity(query_width, key_width, heads)
        self.value = nn.Linear(key_width, query_width, bias=False)
        self.project = nn.Linear(query_width, query_width)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = self.similarity(query, key)
        mixed = weights @ split_heads(self.value(key), self.similarity.heads)  # (B, H, Tq, D)
        return self.project(mixed.transpose(1, 2).flatten(2)), weights


@torch.no_grad()
def make_attention_even(net: nn.Module) -> None:
    """Sets all queries and keys of a network to zero, in place: scores are 0, weights even.

    Training keeps them: while both are 0, neither gets a gradient. So the network learns
    with even attention, the control of Wiegreffe and Pinter (EMNLP 2019).
    """
    for module in net.modules():
        if isinstance(module, Similarity):
            module.query.weight.zero_()
            module.key.weight.zero_()
        if isinstance(module, nn.MultiheadAttention):  # of MULT: rows of queries, keys, values
            module.in_proj_weight[: 2 * module.embed_dim].zero_()
            module.in_proj_bias[: 2 * module.embed_dim].zero_()


def plain_mlp(width: int, hidden_features: int) -> nn.Module:
    """timm's MLP, for each step alone: (B, T, width) to the same."""
    from timm.layers import Mlp  # importing timm takes seconds, and only some fusions need it

    return Mlp(width, hidden_features)


class ConvolutionalMlp(nn.Sequential):
    """An MLP that also sees the step before and the step after: (B, T, width) to the same."""

    def __init__(self, width: int, hidden_features: int):
        super().__init__(
            nn.Conv1d(width, hidden_features, 3, padding="same"),
            nn.GELU(),
            nn.Conv1d(hidden_features, width, 3, padding="same"),
        )

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return super().forward(steps.transpose(1, 2)).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Figure 2: cross-attention, then a residual MLP, with a layer norm before each.

    Shapes as in `CrossAttention`. If query and key are the same, it is self-attention.
    The paper calls the block standard. As in the authors' code, there is no residual
    around the attention.
    """

    def __init__(self, query_width: int, key_width: int, heads: int, mlp: Callable = plain_mlp):
        super().__init__()
        self.norm_query = nn.LayerNorm(query_width)
        self.norm_key = nn.LayerNorm(key_width)
        self.attention = CrossAttention(query_width, key_width, heads)
        self.norm = nn.LayerNorm(query_width)
        self.mlp = mlp(query_width, hidden_features=2 * query_width)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mixed, weights = self.attention(self.norm_query(query), self.norm_key(key))
        return mixed + self.mlp(self.norm(mixed)), weights
