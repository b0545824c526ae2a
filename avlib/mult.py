"""MULT without language: the multimodal transformer of reference 14 (Tsai et al., ACL 2019) on audio and video.

This is the "full MULT" of the paper's Table III. Source: yaohungt/Multimodal-Transformer, whose numbers this file
reproduces; sizes and dropouts are its defaults.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from avlib.attention import Output

WIDTH = 30  # channels inside
HEADS = 5  # of 6 channels each
LAYERS = 5
EMBEDDING_DROPOUT, RESIDUAL_DROPOUT, HIDDEN_DROPOUT = 0.25, 0.1, 0.1
MEMORY_DROPOUT = 0.1  # of attention weights within a modality; between modalities there is none


def positions(steps: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines, of each step's number, counted from 1: (B, T, C) to (T, C).

    The slowest wave is exactly 10000 times as long as the fastest, unlike in "Attention is all you need".
    """
    _, T, C = steps.shape
    waves = torch.exp(torch.arange(C // 2, device=steps.device) * (-math.log(10000) / (C // 2 - 1)))
    angles = torch.arange(1, T + 1, device=steps.device)[:, None] * waves  # (T, C / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def embed(steps: torch.Tensor) -> torch.Tensor:
    """The steps (B, T, C) times √C plus their positions.

    A step whose first channel is exactly 0 gets no position, since MULT takes it for padding. So the steps of a missing
    modality get none.
    """
    present = steps[..., :1] != 0  # (B, T, 1)   True = no padding
    return steps * math.sqrt(steps.shape[-1]) + positions(steps) * present


def future_mask(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """Which keys a query must not see (queries, keys): True = hidden.

    Query i sees the keys up to i + |queries - keys|. Where the modalities have different rates, equal indices are not
    equal times.
    """
    hidden = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return hidden.triu(1 + abs(keys - queries))


class Layer(nn.Module):
    """Attention to the key, then an MLP, each with a norm before it and a residual: (B, T, 30) to the same."""

    def __init__(self, attention_dropout: float):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, dropout=attention_dropout, batch_first=True)
        self.hidden, self.output = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout, self.hidden_dropout = nn.Dropout(RESIDUAL_DROPOUT), nn.Dropout(HIDDEN_DROPOUT)
        for linear in (self.hidden, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        queries, keys = self.norm_attention(query), self.norm_attention(key)
        mask = future_mask(query.shape[1], key.shape[1], query.device)
        mixed, weights = self.attention(queries, keys, keys, attn_mask=mask, average_attn_weights=False)
        steps = query + self.dropout(mixed)
        hidden = self.hidden_dropout(F.relu(self.hidden(self.norm_mlp(steps))))
        return steps + self.dropout(self.output(hidden)), weights


class Transformer(nn.Module):
    """Five layers that all attend to the same key, or to the query itself where there is no key.

    query : (B, Tq, 30)      key : (B, Tk, 30)      returns (B, Tq, 30), (B, 5, Tq, Tk)
    The attention weights are the mean over the layers, after dropout: rows sum to 1 only in eval mode.
    """

    def __init__(self, attention_dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(Layer(attention_dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(EMBEDDING_DROPOUT)

    def forward(self, query: torch.Tensor, key: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        steps, total = self.dropout(embed(query)), 0
        key = key if key is None else self.dropout(embed(key))
        for layer in self.layers:
            steps, weights = layer(steps, steps if key is None else key)
            total = total + weights
        return self.norm(steps), total / LAYERS


class Projection(nn.Module):
    """A branch of MULT: stage 1 projects (B, channels, T) to (B, 30, T); stage 2 does nothing.

    channels_last : True for features (B, T, channels), such as frame descriptors
    """

    def __init__(self, channels: int, channels_last: bool = False):
        super().__init__()
        self.channels_last = channels_last
        self.project = nn.Conv1d(channels, WIDTH, 1, bias=False)

    def stage1(self, features: torch.Tensor) -> torch.Tensor:
        return self.project(features.transpose(1, 2) if self.channels_last else features)

    def stage2(self, features: torch.Tensor) -> torch.Tensor:
        return features


class MultExchange(nn.Module):
    """Attention of each branch to the other, then to itself.

    audio : (B, 30, Ta)      video : (B, 30, Tv)      returns (B, 30, Ta), (B, 30, Tv), attention
    """

    def __init__(self):
        super().__init__()
        self.video_to_audio, self.audio_to_video = Transformer(), Transformer()
        self.audio_to_audio, self.video_to_video = Transformer(MEMORY_DROPOUT), Transformer(MEMORY_DROPOUT)

    def forward(self, audio: torch.Tensor, video: torch.Tensor):
        audio, video = audio.transpose(1, 2), video.transpose(1, 2)  # (B, T, 30)
        attention = {}
        into_audio, attention["video_to_audio"] = self.video_to_audio(audio, video)
        into_video, attention["audio_to_video"] = self.audio_to_video(video, audio)
        into_audio, attention["audio_to_audio"] = self.audio_to_audio(into_audio)
        into_video, attention["video_to_video"] = self.video_to_video(into_video)
        return into_audio.transpose(1, 2), into_video.transpose(1, 2), attention


def last_steps(audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
    """The last step of both modalities, which has seen all others: (B, 30, Ta), (B, 30, Tv) to (B, 60)."""
    return torch.cat([audio[..., -1], video[..., -1]], dim=-1)


class ResidualDense(nn.Module):
    """MULT's dense head: two dense layers with a residual around them, (B, width) to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return pooled + self.output(F.relu(self.hidden(pooled)))


class Mult(nn.Module):
    """The complete MULT on sequences of features.

    audio : (B, Ta, audio_width)      video : (B, Tv, video_width)      logits : (B, outputs)
    A missing modality is a tensor of zeros.
    """

    def __init__(self, audio_width: int = 74, video_width: int = 35, outputs: int = 1):
        super().__init__()
        self.audio, self.video = Projection(audio_width, True), Projection(video_width, True)
        self.exchange = MultExchange()
        self.dense = ResidualDense(2 * WIDTH)
        self.classifier = nn.Linear(2 * WIDTH, outputs)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        audio, video, attention = self.exchange(self.audio.stage1(audio), self.video.stage1(video))
        return Output(self.classifier(self.dense(last_steps(audio, video))), attention)
