"""The processes that train together: who we are, sums over all, gathering with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmcore.train.local_messages import ROOM_BYTES, LocalMessages

_BUCKET_BYTES = 64 << 20  # of gradients in one message through a network


class _GatherRows(torch.autograd.Function):
    """Rows of all ranks; the backward pass sums every rank's gradient of our own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, sizes: list[int]) -> Tensor:
        ctx.ranks, ctx.first, ctx.count = ranks, sum(sizes[: ranks.rank]), len(rows)
        return ranks.gather_pieces(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.ranks.sum(grads[0].contiguous())
        return total[ctx.first : ctx.first + ctx.count], None, None


@dataclass(frozen=True)
class Ranks:
    """``Ranks()`` is a single process; otherwise torch.distributed must be initialised.

    even: all ranks hold equally many rows, as is so where the workers divide the batch. If not,
    the ranks tell one another how many they have, in one more message a call. local: a shorter way
    for what is in the host's memory, where all ranks are on one machine.
    """

    rank: int = 0
    world: int = 1
    even: bool = True
    local: LocalMessages | None = None

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
            return _GatherRows.apply(rows, self, sizes)
        return self.gather_pieces(rows, sizes)

    def gather_pieces(self, piece: Tensor, sizes: list[int]) -> Tensor:
        """Our piece and everyone else's in rank order, without gradients; all ranks know how many
        rows each of them has (``sizes``)."""
        if self.world == 1:
            return piece
        longest, padded = max(sizes), piece.contiguous()
        if len(piece) < longest:  # filled up for the journey
            padded = torch.cat([piece, piece.new_zeros(longest - len(piece), *piece.shape[1:])])
        near = self._near(piece)
        if near is not None:
            parts = near.gather(padded)
        else:
            parts = [torch.empty_like(padded) for _ in sizes]
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over the ranks, in place; returns its argument."""
        near = self._near(values)
        if near is not None:
            near.sum(values)
        elif self.world > 1:
            dist.all_reduce(values)
        return values

    def _near(self, values: Tensor) -> LocalMessages | None:
        return self.local if values.device.type == "cpu" else None

    def sum_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over the ranks; one that is missing on some ranks
        counts as zero there, and one that is missing on all stays missing, as on a single rank.

        One flat message per bucket: on gloo a message costs more than its bytes.
        """
        if self.world == 1 or not parameters:
            return
        most = _BUCKET_BYTES if self._near(parameters[0]) is None else ROOM_BYTES
        bucket: list[torch.nn.Parameter] = []
        size = 0
        for parameter in parameters:
            more = (parameter.numel() + 1) * parameter.element_size()
            other_kind = bool(bucket) and parameter.dtype != bucket[0].dtype
            if bucket and (other_kind or size + more > most):
                self._sum_bucket(bucket)
                bucket, size = [], 0
            bucket.append(parameter)
            size += more
        self._sum_bucket(bucket)

    def _sum_bucket(self, bucket: list[torch.nn.Parameter]) -> None:
        present = bucket[0].new_tensor([float(p.grad is not None) for p in bucket])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        summed = self._sum_of([present, *(g.flatten() for g in gradients)])
        ranks, *pieces = summed.split([len(bucket), *(g.numel() for g in gradients)])
        for parameter, gradient, piece, count in zip(
            bucket, gradients, pieces, ranks.tolist(), strict=True
        ):
            parameter.grad = gradient.copy_(piece.view_as(gradient)) if count else None

    def _sum_of(self, parts: list[Tensor]) -> Tensor:
        """The sum over the ranks of flat tensors behind one another; to be read at once."""
        near = self._near(parts[0])
        if near is not None and sum(part.nbytes for part in parts) <= ROOM_BYTES:
            return near.sum_of(parts)
        return self.sum(torch.cat(parts))

    def broadcast(self, tensors: list[Tensor], device: torch.device) -> None:
        """Give every rank the values of rank 0, in place, through ``device``."""
        if self.world > 1:
            with torch.no_grad():
                for tensor in tensors:
                    sent = tensor.detach().to(device)
                    dist.broadcast(sent, 0)
                    if sent.device != tensor.device:
                        tensor.copy_(sent)
