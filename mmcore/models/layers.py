"""Building blocks shared by the encoders, the fusion and the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmcore.models.attention import Packing, attend, packed, padded


class Encoded(NamedTuple):
    """One modality of a batch after encoding and alignment.

    tokens: float [B, N, D]; mask: bool [B, N], True where a token counts, or None for all;
    pooled: float [B, D], a summary of the whole input.
    """

    tokens: Tensor
    mask: Tensor | None
    pooled: Tensor


def masked_mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over N of tokens [B, N, D] where mask [B, N] is True -> [B, D]."""
    if mask is None:
        return tokens.mean(dim=1)
    weight = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)


def full_precision(x: Tensor) -> Tensor:
    """At least float32: what mixed precision may round before, but not after."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Block(nn.Module):
    """A layer that a model repeats: the unit that a training compiles, recomputes or shards.

    recompute: keep only the inputs in the forward pass and run it again in the backward pass, with
    the same random numbers (arXiv:1604.06174): less memory, the same gradients. varied: its inputs
    differ in length from batch to batch.
    """

    recompute = False
    varied = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(super().__call__, *args, use_reentrant=False, **kwargs)
        return super().__call__(*args, **kwargs)


class Mlp(nn.Module):
    """Two linear layers with GELU between; [..., D] -> [..., D].

    GELU itself, not its approximation with tanh, which takes up to four times as long on a CPU.
    """

    def __init__(self, width: int, ratio: int = 4, out: int | None = None) -> None:
        super().__init__()
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)  # [B, H, N, D/H]


class SelfAttention(nn.Module):
    """Multi-head self-attention, [B, N, D] -> [B, N, D]; with a packing [P, D] -> [P, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        packing: Packing | None = None,
    ) -> Tensor:
        qkv = padded(self.qkv(x), packing)
        q, k, v = (_heads(part, self.heads) for part in qkv.chunk(3, dim=-1))
        return self.out(packed(attend(q, k, v, mask, causal), packing))


class CrossAttention(nn.Module):
    """Queries of one sequence attend to another.

    ``index`` [Q] names the context row of each query row, so that the keys and values of an image
    that several questions are about are computed once.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        index: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """x [Q, T, D], context [B, N, D], mask [B, N] -> [Q, T, D]; without index Q == B.

        With a packing of the queries [P, D] -> [P, D].
        """
        key_value = self.key_value(context)
        if index is not None:
            key_value = key_value.index_select(0, index)  # [index] has a far slower derivative
            mask = None if mask is None else mask[index]
        k, v = (_heads(part, self.heads) for part in key_value.chunk(2, dim=-1))
        q = _heads(padded(self.query(x), packing), self.heads)
        return self.out(packed(attend(q, k, v, mask), packing))


@dataclass
class BlockCache:
    """Keys and values that one decoder block has computed already.

    keys, values: [R, H, T, d] of R rows' tokens, of which the first places are filled;
    context_keys, context_values: [B, H, N, d]; each context belongs to R / B neighbouring rows.
    """

    keys: Tensor
    values: Tensor
    context_keys: Tensor
    context_values: Tensor


class TransformerBlock(Block):
    """Pre-norm block: self-attention, optional cross-attention, MLP."""

    def __init__(
        self,
        width: int,
        heads: int,
        cross: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm_cross = nn.LayerNorm(width) if cross else None
        self.cross = CrossAttention(width, heads) if cross else None
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        index: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """x [B, N, D] with mask [B, N]; context [C, M, D] as in CrossAttention -> [B, N, D].

        With a packing x is [P, D], and so is what returns.
        """
        x = x + self.dropout(self.attention(self.norm1(x), mask, causal, packing))
        if self.cross is not None and self.norm_cross is not None and context is not None:
            crossed = self.cross(self.norm_cross(x), context, context_mask, index, packing)
            x = x + self.dropout(crossed)
        return x + self.dropout(self.mlp(self.norm2(x)))

    def cache(self, rows: int, places: int, context: Tensor) -> BlockCache:
        """An empty cache for ``rows`` texts of at most ``places`` tokens about context [B, N, D].

        Only for a block with cross-attention.
        """
        heads = self.attention.heads
        shape = (rows, heads, places, context.shape[-1] // heads)
        assert self.cross is not None
        k, v = (_heads(part, heads) for part in self.cross.key_value(context).chunk(2, dim=-1))
        return BlockCache(context.new_empty(shape), context.new_empty(shape), k, v)

    def step(
        self, x: Tensor, cache: BlockCache, first: int, visible: Tensor, context_mask: Tensor | None
    ) -> Tensor:
        """The block on the next T tokens only: x [R, T, D] at places first..first+T-1 -> same.

        visible: bool [R, first + T], which places hold tokens; T is 1, or ``first`` is 0.
        """
        attention, last = self.attention, first + x.shape[1]
        q, k, v = (
            _heads(part, attention.heads) for part in attention.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        cache.keys[:, :, first:last], cache.values[:, :, first:last] = k, v
        keys, values = cache.keys[:, :, :last], cache.values[:, :, :last]
        x = x + attention.out(attend(q, keys, values, visible, causal=first == 0))
        assert self.cross is not None and self.norm_cross is not None
        # the rows of one context are queries of one attention: its keys are never copied
        grouped = self.norm_cross(x).reshape(len(cache.context_keys), -1, x.shape[-1])
        q = _heads(self.cross.query(grouped), self.cross.heads)
        seen = attend(q, cache.context_keys, cache.context_values, context_mask)
        x = x + self.cross.out(seen).view_as(x)
        return x + self.mlp(self.norm2(x))


def init_weights(module: nn.Module) -> None:
    """Truncated normal (0.02) for embeddings, Xavier for linear and convolution layers."""
    if isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def learned(*shape: int) -> nn.Parameter:
    """A learned vector or table, truncated normal with deviation 0.02."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
