"""Alignment: an encoder's tokens -> tokens of the shared width and one pooled vector.

The pooled vector joins the mean and the maximum over the tokens. It does not see the tokens in
order: with a copy of the whole grid the model learns pictures by heart before it learns shapes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.layers import CrossAttention, Encoded, learned, masked_mean


def masked_max(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Maximum over N of tokens [B, N, D] where mask [B, N] is True -> [B, D]."""
    if mask is None:
        return tokens.amax(dim=1)
    lowest = torch.finfo(tokens.dtype).min
    return tokens.masked_fill(~mask.unsqueeze(-1), lowest).amax(dim=1)


class Standardise(nn.BatchNorm1d):
    """Batch norm (arXiv:1502.03167) of [B, D]; a batch of one, which has no deviation, is
    normalised as it will be after the training."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


class Alignment(nn.Module):
    """``linear``: project every token. ``conv``: mix each with its neighbours in the sequence
    first. ``attention``: project, and pool with several learned queries as well (after CoCa,
    arXiv:2205.01917). ``pooled``: project, but pool what the encoder gave, with dropout: the least
    that can learn by heart. ``standardise``: with it, each pooled channel by its mean and deviation
    over the training (batch norm), so that those which are large in every picture do not drown the
    rare ones, which tell most; else each pooled vector by its own (layer norm)."""

    def __init__(
        self,
        kind: str,
        width_in: int,
        width: int,
        heads: int,
        queries: int,
        dropout: float = 0.0,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.mix = (
            nn.Conv1d(width_in, width_in, 3, padding=1, groups=width_in) if kind == "conv" else None
        )
        self.project = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width)
        pooled = 2 * width
        if kind == "attention":
            self.queries = learned(queries, width)
            self.attention = CrossAttention(width, heads)
            pooled += queries * width
        if kind == "pooled":
            pooled = 2 * width_in
            norm = Standardise(pooled, affine=False) if standardise else nn.LayerNorm(pooled)
            self.prepare_pool = nn.Sequential(norm, nn.Dropout(dropout))
        self.kind = kind
        self.pool = nn.Linear(pooled, width)
        self.norm_pool = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Encoded:
        """tokens [B, N, W], mask [B, N] -> Encoded of width D."""
        if self.mix is not None:
            clean = tokens if mask is None else tokens * mask.unsqueeze(-1).to(tokens.dtype)
            mixed = self.mix(clean.transpose(1, 2)).transpose(1, 2)
            tokens = tokens + F.gelu(mixed)
        given, tokens = tokens, self.norm(self.project(tokens))
        if self.kind == "pooled":
            both = torch.cat([masked_mean(given, mask), masked_max(given, mask)], dim=-1)
            return Encoded(tokens, mask, self.norm_pool(self.pool(self.prepare_pool(both))))
        parts = [masked_mean(tokens, mask), masked_max(tokens, mask)]
        if self.kind == "attention":
            queries = self.queries.expand(len(tokens), -1, -1)
            parts.append(self.attention(queries, tokens, mask).flatten(1))
        return Encoded(tokens, mask, self.norm_pool(self.pool(torch.cat(parts, dim=-1))))
