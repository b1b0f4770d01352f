"""Contrastive gradients of a batch that is too big for memory (GradCache, arXiv:2101.06983).

A contrastive loss compares every sample with every other, so it is not a sum over the parts of a
batch. Its gradients still are, in two passes: embed all parts without keeping activations, take
the loss and its gradient with respect to the embeddings once, then run each part again with that
gradient as a constant. The sum over the parts is the gradient of the one big batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class CachedGradients(NamedTuple):
    """For one part of a batch: what the whole batch's loss asks of it.

    value: this part's share of the loss, a scalar; embeddings: the gradient for each modality's
    embeddings [b, E]; head: the share of the gradient for each value that all samples have in
    common (the scale of the similarities).
    """

    value: Tensor
    embeddings: tuple[Tensor, ...]
    head: tuple[Tensor, ...]

    def loss(self, embeddings: Sequence[Tensor], head: Sequence[Tensor]) -> Tensor:
        """A scalar with the cached value and, in its backward pass, the cached gradients."""
        inputs = (*embeddings, *head)
        gradients = (*self.embeddings, *self.head)
        linear = sum(
            ((x * g).sum() for x, g in zip(inputs, gradients, strict=True)),
            start=self.value.new_zeros(()),
        )
        return self.value + linear - linear.detach()


def cache_gradients(
    parts: int,
    embed: Callable[[int], tuple[Tensor, ...]],
    loss: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor],
    head: Sequence[Tensor],
) -> list[CachedGradients]:
    """The first pass over ``parts`` parts of a batch.

    embed(k): the embeddings [b, E] of part k, one tensor per modality. It must draw the same
    random numbers here and in the second pass: seed inside it, or before both.
    loss(embeddings, head): the loss sum of all parts' embeddings, concatenated in order, and of
    ``head``; it may gather over ranks.
    """
    with torch.no_grad():
        embedded = [embed(part) for part in range(parts)]
    leaves = tuple(torch.cat(column).requires_grad_() for column in zip(*embedded, strict=True))
    shared = tuple(value.detach().requires_grad_() for value in head)
    with torch.enable_grad():
        total = loss(leaves, shared)
    gradients = torch.autograd.grad(total, (*leaves, *shared))
    sizes = [len(columns[0]) for columns in embedded]
    split = [gradient.split(sizes) for gradient in gradients[: len(leaves)]]
    common = tuple(gradient / parts for gradient in gradients[len(leaves) :])
    value = total.detach() / parts
    return [
        CachedGradients(value, tuple(column[part] for column in split), common)
        for part in range(parts)
    ]


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Undo what the block does to the model's buffers: batch norm must not count a pass twice."""
    buffers = list(model.buffers())
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, saved, strict=True):
                buffer.copy_(value)
