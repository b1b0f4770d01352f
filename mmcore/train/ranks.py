"""The processes that train together: who we are, sums over all, gathering with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _GatherRows(torch.autograd.Function):
    """Rows of all ranks; the backward pass sums every rank's gradient of our own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, world: int) -> Tensor:
        ctx.rank, ctx.count = rank, len(rows)
        parts = [torch.empty_like(rows) for _ in range(world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        total = grads[0].contiguous()
        dist.all_reduce(total)
        return total[ctx.rank * ctx.count : (ctx.rank + 1) * ctx.count], None, None


@dataclass(frozen=True)
class Ranks:
    """``Ranks()`` is a single process; otherwise torch.distributed must be initialised."""

    rank: int = 0
    world: int = 1

    def gather(self, rows: Tensor) -> Tensor:
        """[B, ...] -> [world * B, ...] in rank order, differentiable; B must be equal on all."""
        if self.world == 1:
            return rows
        if rows.requires_grad:
            return _GatherRows.apply(rows, self.rank, self.world)
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over the ranks, in place; returns its argument."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: list[torch.nn.Parameter], bucket_mb: int = 64) -> None:
        """Replace every gradient by its sum over the ranks; a missing gradient counts as zero.

        One flat message per bucket: on gloo a message costs more than its bytes.
        """
        if self.world == 1:
            return
        bucket: list[torch.nn.Parameter] = []
        size = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter)
            size += parameter.numel() * parameter.element_size()
            if size >= bucket_mb << 20:
                _sum_bucket(bucket)
                bucket, size = [], 0
        if bucket:
            _sum_bucket(bucket)

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Give every rank the values of rank 0, in place."""
        if self.world > 1:
            with torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor.detach(), 0)


def _sum_bucket(bucket: list[torch.nn.Parameter]) -> None:
    gradients = [p.grad for p in bucket if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    pieces = flat.split([g.numel() for g in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
