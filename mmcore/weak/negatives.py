"""What is not in a picture: hard negatives that keep "yes" from being the answer to everything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.draws import draw
from mmcore.weak.lexicon import groups, implied

_TRIES = 12


def group_of(key: str) -> str:
    """Words that may name the same thing: an image of a "boy" may show a "person"."""
    last = key.rpartition(" ")[2]
    group = groups().get(last, last)
    return last if group == "shape" else group  # a circle is never a square


class Mentions:
    """Which groups (`group_of`) the texts of each image name."""

    def __init__(self, image: NDArray[np.int64], group: NDArray[np.object_], images: int) -> None:
        """image, group: one entry per mention, in any order, repeats allowed."""
        self._image, self._group, self._images = image, pa.array(group, pa.string()), images

    def matrix(self, groups: list[str]) -> NDArray[np.bool_]:
        """Whether each image names each group: bool [images, len(groups)]."""
        listed = list(dict.fromkeys([*groups, *implied()]))
        column = pc.index_in(self._group, pa.array(listed, pa.string()))
        known = column.is_valid().to_numpy(zero_copy_only=False)
        out = np.zeros((self._images, len(listed)), bool)
        out[self._image[known], column.drop_null().to_numpy()] = True
        for group, others in implied().items():
            for other in set(others).intersection(groups):
                out[:, listed.index(other)] |= out[:, listed.index(group)]
        return out[:, : len(groups)]


def draw_absent(
    image: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    pool: NDArray[np.object_],
    weight: NDArray[np.float64],
    mentions: Mentions,
    salt: str,
) -> NDArray[np.object_]:
    """One value of the pool for each row that its image's texts do not name, "" if none is found.

    image: int64 [n]; hashes: uint64 [n], the dice of each row; weight: float64 [len(pool)], how
    often each value is present elsewhere, so that present and absent are equally usual.
    """
    out = np.full(len(hashes), "", object)
    if not len(pool) or not len(hashes):
        return out
    names = [group_of(value) for value in pool]
    groups = list(dict.fromkeys(names))
    named = mentions.matrix(groups)
    group = np.array([groups.index(name) for name in names])
    edges = np.cumsum(weight / weight.sum())
    for attempt in range(_TRIES):
        at = np.searchsorted(edges, draw(hashes, f"{salt}{attempt}"), side="right")
        at = np.minimum(at, len(pool) - 1)
        free = ~named[image, group[at]] & (out == "")
        out[free] = pool[at[free]]
    return out
