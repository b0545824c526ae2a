"""Dot-product attention between two modalities, with its weights as a result (paper, equations 1 to 3)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn


class Output(NamedTuple):
    """What a network says and what it looked at."""

    logits: torch.Tensor  # (B, classes)
    attention: dict[str, torch.Tensor]  # by name, as in fusion.py; empty where nothing is exchanged


def attention_weights(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """How much every query attends to every key: softmax(query keyᵀ / √D), rows that sum to 1 (equation 3).

    query : (B, H, Tq, D)      key : (B, H, Tk, D)      returns (B, H, Tq, Tk)
    """
    D = query.shape[-1]
    assert key.shape[-1] == D, f"queries are {D} wide and keys {key.shape[-1]}: they must agree"
    return (query @ key.transpose(-2, -1) * D**-0.5).softmax(dim=-1)


def attention_vector(weights: torch.Tensor) -> torch.Tensor:
    """What each key receives from all queries, heads averaged: (B, H, Tq, Tk) to (B, Tk), totalling Tq.

    Section III.B.3 prints Σ_i A[:, i], which sums over the keys of each query and is always 1. Meant, and computed here
    as in the authors' code: v[j] = Σ_i A[i, j]. Where attention is even, every v[j] is Tq / Tk.
    """
    return weights.mean(dim=1).sum(dim=1)


def split_heads(features: torch.Tensor, heads: int) -> torch.Tensor:
    """The same features per head: (B, T, H D) to (B, H, T, D)."""
    return features.unflatten(-1, (heads, -1)).transpose(1, 2)


class Similarity(nn.Module):
    """Attention weights (B, H, Tq, Tk) between learnt projections of two sequences; no values, no output.

    query : (B, Tq, query_width)      key : (B, Tk, key_width)
    Without biases, as the paper asks: a modality of zeros is then similar to nothing, and its weights are even.
    """

    def __init__(self, query_width: int, key_width: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query_width, width, bias=False)
        self.key = nn.Linear(key_width, width, bias=False)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return attention_weights(split_heads(self.query(query), self.heads), split_heads(self.key(key), self.heads))


class CrossAttention(nn.Module):
    """The other modality's values, mixed for each query (equation 2), and the weights that mixed them.

    query : (B, Tq, query_width)      key : (B, Tk, key_width)      returns (B, Tq, width), (B, H, Tq, Tk)
    """

    def __init__(self, query_width: int, key_width: int, width: int, heads: int):
        super().__init__()
        self.similarity = Similarity(query_width, key_width, width, heads)
        self.value = nn.Linear(key_width, width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = self.similarity(query, key)
        mixed = weights @ split_heads(self.value(key), self.similarity.heads)  # (B, H, Tq, D)
        return self.project(mixed.transpose(1, 2).flatten(2)), weights


def plain_mlp(width: int, hidden_features: int) -> nn.Module:
    """timm's MLP of each step by itself: (B, T, width) to the same."""
    from timm.layers import Mlp  # brings all of timm, which takes seconds, and only some systems have such a block

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
    """Figure 2: cross-attention, then a residual MLP, each behind a layer norm. Shapes as in `CrossAttention`.

    The paper calls the block standard; the authors' code, followed here, has no residual around the attention.
    With the same sequence as query and key it is a block of self-attention.
    """

    def __init__(self, query_width: int, key_width: int, width: int, heads: int, mlp: Callable = plain_mlp):
        super().__init__()
        self.norm_query, self.norm_key = nn.LayerNorm(query_width), nn.LayerNorm(key_width)
        self.attention = CrossAttention(query_width, key_width, width, heads)
        self.norm = nn.LayerNorm(width)
        self.mlp = mlp(width, hidden_features=2 * width)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mixed, weights = self.attention(self.norm_query(query), self.norm_key(key))
        return mixed + self.mlp(self.norm(mixed)), weights
