"""The global sample order: a pure function of (number of samples, seed, epoch).

Samples are numbered 0..n-1 in storage order. Epoch `e` visits them in the permutation
`sample_order(n, seed, e)`; training reads the endless concatenation of epochs 0, 1, 2, ... as one
stream. Position in that stream is the cursor: one integer, the same for every rank and every
world size. A global batch is a slice of the stream and rank r of w reads the r-th contiguous piece
of that slice, so a run that is killed at cursor c and resumed on another number of ranks goes on
with exactly the samples it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, a bijection on uint64 whose output bits look independent.

    Our own rather than `numpy.random`, whose permutations may change between NumPy versions.
    """
    z = values + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def sample_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits samples 0..n-1: int64 [n], a read-only permutation."""
    if n < 0 or epoch < 0:
        raise UserError(f"a sample order needs n >= 0 and epoch >= 0, not n={n}, epoch={epoch}")
    return _order(n, seed, epoch)


@lru_cache(maxsize=4)  # a batch may span two epochs, and training and validation alternate
def _order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    key = mix64(mix64(np.array([seed % 2**64], np.uint64)) ^ np.array([epoch], np.uint64))
    # a bijection of distinct numbers has no ties, so the argsort is one permutation on any machine
    order = np.argsort(mix64(np.arange(n, dtype=np.uint64) ^ key), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def stream(n: int, seed: int, start: int, stop: int) -> NDArray[np.int64]:
    """Samples at positions start..stop-1 of the endless stream of epochs: int64 [stop - start]."""
    if n <= 0:
        raise UserError("there are no samples to draw from; check that the split is not empty")
    if not 0 <= start <= stop:
        raise UserError(f"a stream needs 0 <= start <= stop, not start={start}, stop={stop}")
    pieces = [np.empty(0, np.int64)]
    for epoch in range(start // n, -(-stop // n)):
        order = sample_order(n, seed, epoch)
        pieces.append(order[max(start - epoch * n, 0) : min(stop - epoch * n, n)])
    return np.concatenate(pieces)


def batch_indices(
    n: int, seed: int, epoch: int, start: int, global_batch: int, rank: int, world: int
) -> NDArray[np.int64]:
    """What rank `rank` of `world` reads of the global batch at sample `start` of epoch `epoch`.

    Output: int64 [about global_batch / world], sample numbers; the pieces of ranks 0..world-1, one
    after the other, are the global batch. A batch that reaches the end of the epoch goes on in the
    next one, so every batch is full, no rank ever has a step more than another, and nothing is
    dropped. `start` may exceed n: `batch_indices(n, seed, 0, cursor, ...)` reads at a cursor.
    """
    if world < 1 or not 0 <= rank < world:
        raise UserError(f"rank must lie in 0..world-1, not rank={rank}, world={world}")
    if global_batch < world:
        raise UserError(
            f"a global batch of {global_batch} cannot feed {world} workers; "
            "raise the batch size or use fewer workers"
        )
    cursor = epoch * n + start
    first = cursor + global_batch * rank // world
    last = cursor + global_batch * (rank + 1) // world
    return stream(n, seed, first, last)


def locate_cursor(n: int, cursor: int) -> tuple[int, int]:
    """The (epoch, sample within the epoch) at which a cursor stands."""
    if n <= 0:
        raise UserError("there are no samples to draw from; check that the split is not empty")
    return divmod(cursor, n)
