"""Decoded training pictures, or their features: all once in memory shared by a machine's ranks.

The memory is a file that every local rank maps and that has no name any more once all have opened
it: the system keeps one copy for all ranks, may write it out when memory is short, and frees it
when the last rank ends, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError
from mmcore.models.images import decode_image
from mmcore.shards.reader import ShardError
from mmcore.train.pictures import Pictures

_READERS = 4
_CHUNK = 64

OnUnreadable = Callable[[int, ShardError | UserError], None]
"""Number of the picture, and why it cannot be read or decoded."""


@dataclass(frozen=True)
class Neighbours:
    """The ranks on this machine. ``barrier`` returns once every rank of the run has called it;
    ``name`` is the same for the ranks of one machine and used by no other run."""

    name: str
    rank: int = 0
    count: int = 1
    barrier: Callable[[], None] = lambda: None


def cached_pixels(
    read: Callable[[int], bytes],
    count: int,
    pictures: Pictures,
    neighbours: Neighbours,
    on_unreadable: OnUnreadable,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Decode pictures 0..count-1, each rank its share, into memory that all of them read.

    Output: uint8 [count, S, S, 3] or a tower's features, float16 [count, G, G, W]; and bool
    [count], False (and all 0) where a picture cannot be read; the rank that met it has called
    ``on_unreadable``.
    """
    path = Path(tempfile.gettempdir()) / f"mmcore-pixels-{neighbours.name}"
    shape = (count, *pictures.shape)
    pixel_bytes = count * pictures.nbytes
    if neighbours.rank == 0:
        with open(path, "wb") as file:
            file.truncate(max(1, pixel_bytes + count))
    neighbours.barrier()
    memory = np.memmap(path, np.uint8, "r+")
    neighbours.barrier()
    if neighbours.rank == 0:
        os.unlink(path)
    cached = memory[:pixel_bytes].view(pictures.dtype).reshape(shape)
    valid = memory[pixel_bytes:][:count]

    def decode(numbers: range) -> None:
        for number in numbers:
            try:
                cached[number] = decode_image(read(number), pictures.config.size)
                valid[number] = 1
            except (ShardError, UserError) as error:
                on_unreadable(number, error)

    def decode_and_run(numbers: range) -> None:
        """A tower takes some pictures at a time."""
        size, found = pictures.config.size, list[int]()
        pixels = np.zeros((len(numbers), size, size, 3), np.uint8)
        for number in numbers:
            try:
                pixels[len(found)] = decode_image(read(number), size)
                found.append(number)
            except (ShardError, UserError) as error:
                on_unreadable(number, error)
        if found:
            cached[found] = pictures.given(pixels[: len(found)])
            valid[found] = 1

    work = decode if pictures.tower is None else decode_and_run
    mine = range(neighbours.rank, count, neighbours.count)
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(work, (mine[at : at + _CHUNK] for at in range(0, len(mine), _CHUNK))))
    neighbours.barrier()
    return cached, np.asarray(valid) > 0
