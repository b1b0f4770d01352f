"""Attention of several heads, and token sequences without their padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """q [B or 1,H,T,d], k and v [B,H,N,d], mask [B,N] -> [B,T,H*d]."""
    hidden = None if mask is None else ~mask[:, None, None, :]
    if causal:
        later = _later(q.shape[-2], k.shape[-2], q.device)
        # the fused kernels take a mask or ``is_causal``, not both
        hidden = later if hidden is None else hidden | later
    if q.device.type == "cpu":
        out = _CpuAttention.apply(q.expand(len(k), -1, -1, -1), k, v, hidden)
    else:
        seen = None if mask is None or hidden is None else ~hidden
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=causal and seen is None
        )
    return out.transpose(1, 2).flatten(2)


class _CpuAttention(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v as five matrix products forward and backward.

    For short sequences on a CPU, where torch's fused kernel spends ten times its forward in the
    backward of bfloat16, and autograd on single operations copies and scales every factor.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None
    ) -> Tensor:  # [B,H,T,d], [B,H,N,d] twice, True where a key is not seen [B or 1,1,T or 1,N]
        batch, heads, queries, width = q.shape
        q, k, v = (x.reshape(batch * heads, -1, x.shape[-1]) for x in (q, k, v))
        scale = width**-0.5
        chances = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=scale)
        if hidden is not None:
            chances.view(batch, heads, queries, -1).masked_fill_(hidden, -torch.inf)
        chances = chances.softmax(dim=-1)
        ctx.save_for_backward(q, k, v, chances)
        return torch.bmm(chances, v).view(batch, heads, queries, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, chances = ctx.saved_tensors
        batch, heads = grad.shape[:2]
        grad = grad.reshape(batch * heads, *grad.shape[2:])
        to_v = torch.bmm(chances.transpose(1, 2), grad)
        to_chances = torch.bmm(grad, v.transpose(1, 2))
        scores = torch._softmax_backward_data(to_chances, chances, -1, chances.dtype)
        empty, scale = q.new_empty(1), q.shape[-1] ** -0.5
        to_q = torch.baddbmm(empty, scores, k, beta=0, alpha=scale)
        to_k = torch.baddbmm(empty, scores.transpose(1, 2), q, beta=0, alpha=scale)
        to_q, to_k, to_v = (x.view(batch, heads, *x.shape[1:]) for x in (to_q, to_k, to_v))
        return to_q, to_k, to_v, None


def _later(queries: int, keys: int, device: torch.device) -> Tensor:
    """Which keys come after their query, bool [queries, keys]."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1)


FEW_SHAPES = 64  # oneDNN compiles a kernel for each number of rows that it meets


@dataclass(frozen=True)
class Packing:
    """Which places of a padded batch [B, T] hold tokens, so that layers can skip the others.

    Linear layers, norms and the MLP see the P tokens one behind the other, [P, D]; attention alone
    needs them in their rows. places: int64 [P] of the B * T places; tokens ascending, and behind
    them some of padding.
    """

    places: Tensor
    rows: int
    length: int

    @classmethod
    def of(cls, mask: Tensor, multiple: int = 1) -> Packing:
        """mask: bool [B, T], True where there is a token. P is rounded up to a multiple, as far as
        there is padding to fill it with."""
        flat = mask.flatten()
        places = flat.nonzero()[:, 0]
        missing = -len(places) % multiple
        if missing:
            places = torch.cat([places, (~flat).nonzero()[:missing, 0]])
        return cls(places, *mask.shape)

    @classmethod
    def without_padding(cls, mask: Tensor) -> Packing | None:
        """For training batches; None where too little padding is there to skip."""
        packing = cls.of(mask, FEW_SHAPES)
        return packing if len(packing.places) < mask.numel() else None


def packed(x: Tensor, packing: Packing | None) -> Tensor:
    """[B, T, D] -> its tokens [P, D]; without a packing as it is."""
    return x if packing is None else _Pack.apply(x, packing)


def padded(x: Tensor, packing: Packing | None) -> Tensor:
    """[P, D] -> [B, T, D], 0 where there is no token; without a packing as it is."""
    return x if packing is None else _Pad.apply(x, packing)


def _take(x: Tensor, packing: Packing) -> Tensor:
    return x.reshape(packing.rows * packing.length, -1).index_select(0, packing.places)


def _spread(x: Tensor, packing: Packing) -> Tensor:
    out = x.new_zeros(packing.rows * packing.length, x.shape[-1])
    return out.index_copy_(0, packing.places, x).view(packing.rows, packing.length, -1)


class _Pack(torch.autograd.Function):
    """Each the other's derivative, in one pass (autograd's own is a slower scattered sum)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return _take(x, packing)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _spread(grad, ctx.packing), None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return _spread(x, packing)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _take(grad, ctx.packing), None
