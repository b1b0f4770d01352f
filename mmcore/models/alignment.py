"""Alignment: an encoder's tokens -> tokens of the shared width and one pooled vector."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.layers import CrossAttention, Encoded, learned, masked_mean


class LinearAlignment(nn.Module):
    """Project every token; pool by the mean."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Encoded:
        """tokens [B, N, W], mask [B, N] -> Encoded of width D."""
        tokens = self.norm(self.project(tokens))
        return Encoded(tokens, mask, self.pool(masked_mean(tokens, mask)))


class ConvAlignment(nn.Module):
    """Mix each token with its two neighbours in the sequence, project; pool by the mean."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width_in, width_in, 3, padding=1, groups=width_in)
        self.linear = LinearAlignment(width_in, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Encoded:
        """tokens [B, N, W], mask [B, N] -> Encoded of width D."""
        clean = tokens if mask is None else tokens * mask.unsqueeze(-1).to(tokens.dtype)
        mixed = self.mix(clean.transpose(1, 2)).transpose(1, 2)
        return self.linear(tokens + F.gelu(mixed, approximate="tanh"), mask)


class AttentionAlignment(nn.Module):
    """Project every token; pool with several learned queries (after CoCa, arXiv:2205.01917)."""

    def __init__(self, width_in: int, width: int, heads: int, queries: int) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width)
        self.queries = learned(queries, width)
        self.attention = CrossAttention(width, heads)
        self.norm_pool = nn.LayerNorm(width)
        self.pool = nn.Linear(queries * width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Encoded:
        """tokens [B, N, W], mask [B, N] -> Encoded of width D."""
        tokens = self.norm(self.project(tokens))
        queries = self.queries.expand(len(tokens), -1, -1)
        answers = self.norm_pool(queries + self.attention(queries, tokens, mask))  # [B, Q, D]
        return Encoded(tokens, mask, self.pool(answers.flatten(1)))


def build_alignment(kind: str, width_in: int, width: int, heads: int, queries: int) -> nn.Module:
    """``linear``, ``conv`` or ``attention``."""
    if kind == "linear":
        return LinearAlignment(width_in, width)
    if kind == "conv":
        return ConvAlignment(width_in, width)
    return AttentionAlignment(width_in, width, heads, queries)
