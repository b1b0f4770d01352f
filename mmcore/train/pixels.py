"""Decoded training pictures: all of them once in memory shared by a machine's ranks.

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

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError
from mmcore.models.images import decode_image
from mmcore.shards.reader import ShardError

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
    size: int,
    neighbours: Neighbours,
    on_unreadable: OnUnreadable,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Decode pictures 0..count-1, each rank its share, into memory that all of them read.

    Output: uint8 [count, size, size, 3], and bool [count], False (and pixels 0) where a picture
    cannot be read; the rank that met it has called ``on_unreadable``.
    """
    path = Path(tempfile.gettempdir()) / f"mmcore-pixels-{neighbours.name}"
    shape = (count, size, size, 3)
    pixel_bytes = int(np.prod(shape))
    if neighbours.rank == 0:
        with open(path, "wb") as file:
            file.truncate(max(1, pixel_bytes + count))
    neighbours.barrier()
    memory = np.memmap(path, np.uint8, "r+")
    neighbours.barrier()
    if neighbours.rank == 0:
        os.unlink(path)
    pixels, valid = memory[:pixel_bytes].reshape(shape), memory[pixel_bytes:][:count]

    def decode(numbers: range) -> None:
        for number in numbers:
            try:
                pixels[number] = decode_image(read(number), size)
                valid[number] = 1
            except (ShardError, UserError) as error:
                on_unreadable(number, error)

    mine = range(neighbours.rank, count, neighbours.count)
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(decode, (mine[at : at + _CHUNK] for at in range(0, len(mine), _CHUNK))))
    neighbours.barrier()
    return pixels, np.asarray(valid) > 0
