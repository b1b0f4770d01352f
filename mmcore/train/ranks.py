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
        """Replace every gradient by its sum over the ranks; one that is missing on some ranks
        counts as zero there, and one that is missing on all stays missing, as on a single rank.

        One flat message per bucket: on gloo a message costs more than its bytes.
        """
        if self.world == 1:
            return
        bucket: list[torch.nn.Parameter] = []
        size = 0
        for parameter in parameters:
            bucket.append(parameter)
            size += parameter.numel() * parameter.element_size()
            if size >= bucket_mb << 20:
                _sum_bucket(bucket)
                bucket, size = [], 0
        if bucket:
            _sum_bucket(bucket)

    def broadcast(self, tensors: list[Tensor], device: torch.device) -> None:
        """Give every rank the values of rank 0, in place, through ``device``."""
        if self.world > 1:
            with torch.no_grad():
                for tensor in tensors:
                    sent = tensor.detach().to(device)
                    dist.broadcast(sent, 0)
                    if sent.device != tensor.device:
                        tensor.copy_(sent)


def _sum_bucket(bucket: list[torch.nn.Parameter]) -> None:
    present = bucket[0].new_tensor([float(p.grad is not None) for p in bucket])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
    flat = torch.cat([present, *(g.flatten() for g in gradients)])
    dist.all_reduce(flat)
    ranks, *pieces = flat.split([len(bucket), *(g.numel() for g in gradients)])
    for parameter, gradient, piece, count in zip(
        bucket, gradients, pieces, ranks.tolist(), strict=True
    ):
        parameter.grad = gradient.copy_(piece.view_as(gradient)) if count else None
