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
    def forward(ctx: Any, rows: Tensor, rank: int, sizes: list[int]) -> Tensor:
        ctx.first, ctx.count = sum(sizes[:rank]), len(rows)
        return _all_rows(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        total = grads[0].contiguous()
        dist.all_reduce(total)
        return total[ctx.first : ctx.first + ctx.count], None, None


@dataclass(frozen=True)
class Ranks:
    """``Ranks()`` is a single process; otherwise torch.distributed must be initialised.

    even: all ranks hold equally many rows, as is so where the workers divide the batch. If not,
    the ranks tell one another how many they have, in one more message a call.
    """

    rank: int = 0
    world: int = 1
    even: bool = True

    def sizes(self, count: int) -> list[int]:
        """How many rows each rank holds, where we hold ``count``."""
        if self.even or self.world == 1:
            return [count] * self.world
        counts = torch.zeros(self.world, dtype=torch.int64)
        counts[self.rank] = count
        return [int(n) for n in self.sum(counts)]

    def gather(self, rows: Tensor) -> Tensor:
        """[B, ...] -> [sum of all ranks' B, ...] in rank order, differentiable."""
        if self.world == 1:
            return rows
        sizes = self.sizes(len(rows))
        if rows.requires_grad:
            return _GatherRows.apply(rows, self.rank, sizes)
        return _all_rows(rows, sizes)

    def gather_pieces(self, piece: Tensor, sizes: list[int]) -> Tensor:
        """Our piece and everyone else's in rank order, without gradients; all ranks know how many
        rows each of them has (``sizes``)."""
        return piece if self.world == 1 else _all_rows(piece, sizes)

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


def _all_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    """Everyone's rows in rank order; shorter shares are filled up for the journey."""
    longest = max(sizes)
    padded = rows.contiguous()
    if len(rows) < longest:
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


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
