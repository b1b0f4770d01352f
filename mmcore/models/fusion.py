"""Fusion: one vector per (text, context) pair, where the context is the other modality.

Of a text it gets the first token, which has read the others in the encoder (of a bag of words,
where none has, their mean), and the pooled vector.
Every kind takes ``index`` [Q]: the context row that each of the Q texts belongs to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcore.models.layers import Block, CrossAttention, Encoded, Mlp


class ConcatFusion(nn.Module):
    """An MLP over both pooled vectors and their product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.join = nn.Linear(3 * width, width)
        self.mlp = Mlp(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Encoded, context: Encoded, index: Tensor) -> Tensor:
        """-> [Q, D]."""
        other = context.pooled[index]
        x = self.join(torch.cat([text.pooled, other, text.pooled * other], dim=-1))
        return self.norm(x + self.mlp(x))


class GatedFusion(nn.Module):
    """A learned gate decides per channel how much each modality says (GMU, arXiv:1702.01992)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)
        self.text = nn.Linear(width, width)
        self.context = nn.Linear(width, width)
        self.mlp = Mlp(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Encoded, context: Encoded, index: Tensor) -> Tensor:
        """-> [Q, D]."""
        other = context.pooled[index]
        gate = torch.sigmoid(self.gate(torch.cat([text.pooled, other], dim=-1)))
        x = gate * torch.tanh(self.text(text.pooled)) + (1 - gate) * torch.tanh(self.context(other))
        return self.norm(x + self.mlp(x))


class _CrossLayer(Block):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.cross = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Encoded, index: Tensor) -> Tensor:
        x = x + self.dropout(self.cross(self.norm1(x), context.tokens, context.mask, index))
        return x + self.dropout(self.mlp(self.norm2(x)))


class CrossAttentionFusion(nn.Module):
    """The text's first token looks at the context's tokens, layer by layer.

    It has read the whole text in the encoder, so one query is enough and costs next to nothing.
    The pooled vectors and their product are added, so that a task without a text still sees the
    whole image and "do they match" need not be learned from attention alone.
    """

    def __init__(self, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_CrossLayer(width, heads, dropout) for _ in range(depth))
        self.join = nn.Linear(4 * width, width)
        self.norm_first = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Encoded, context: Encoded, index: Tensor) -> Tensor:
        """-> [Q, D]."""
        x = text.tokens  # [Q, 1, D]
        for layer in self.layers:
            x = layer(x, context, index)
        other = context.pooled[index]
        parts = [self.norm_first(x[:, 0]), text.pooled, other, text.pooled * other]
        x = self.join(torch.cat(parts, dim=-1))
        return self.norm(x + self.mlp(x))


def build_fusion(kind: str, width: int, heads: int, depth: int, dropout: float) -> nn.Module:
    """``concat``, ``gated`` or ``cross_attention``."""
    if kind == "concat":
        return ConcatFusion(width)
    if kind == "gated":
        return GatedFusion(width)
    return CrossAttentionFusion(width, heads, depth, dropout)
