"""Decoded training pictures: all of them once in memory shared by a machine's ranks, if they fit.

The memory is a file that every local rank maps and that has no name any more once all have opened
it: the system keeps one copy for all ranks, may write it out when memory is short, and frees it
when the last rank ends, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import MmcoreError, UserError
from mmcore.models.images import decode_image
from mmcore.train.batches import Pixels

_READERS = 4


@dataclass(frozen=True)
class Neighbours:
    """The ranks on this machine. ``barrier`` returns once every rank of the run has called it;
    ``name`` is the same for the ranks of one machine and used by no other run."""

    name: str
    rank: int = 0
    count: int = 1
    barrier: Callable[[], None] = lambda: None


def cached_pixels(
    read: Callable[[int], bytes], count: int, size: int, neighbours: Neighbours
) -> Pixels:
    """Decode pictures 0..count-1, each rank its share, into memory that all of them read."""
    path = Path(tempfile.gettempdir()) / f"mmcore-pixels-{neighbours.name}"
    shape = (count, size, size, 3)
    if neighbours.rank == 0:
        with open(path, "wb") as file:
            file.truncate(max(1, int(np.prod(shape))))
    neighbours.barrier()
    memory = np.memmap(path, np.uint8, "r+", shape=shape)
    neighbours.barrier()
    if neighbours.rank == 0:
        os.unlink(path)
    mine = range(neighbours.rank, count, neighbours.count)
    _decode_into(memory, read, mine, size)
    neighbours.barrier()
    return lambda numbers: np.asarray(memory[numbers])


def streamed_pixels(read: Callable[[int], bytes], size: int) -> Pixels:
    """Decode the pictures of every batch anew: slower, for training sets beyond memory."""

    def pixels(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(numbers), size, size, 3), np.uint8)
        asked = [int(number) for number in numbers]
        _decode_into(out, lambda place: read(asked[place]), range(len(asked)), size)
        return out

    return pixels


def _decode_into(
    out: NDArray[np.uint8], read: Callable[[int], bytes], numbers: Sequence[int], size: int
) -> None:
    def one(number: int) -> None:
        try:
            out[number] = decode_image(read(number), size)
        except UserError as error:
            raise MmcoreError(f"Training sample {number} cannot be used: {error}") from error

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(one, numbers))
