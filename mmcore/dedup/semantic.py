"""Pictures that mean the same to a model: k-means over embeddings, cosine within a cluster.

After Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic deduplication"
(2023). Comparing within clusters only misses pairs that a border separates; it makes the work grow
with the images times the size of a cluster.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmcore.dedup import clusters
from mmcore.dedup.runs import Indices

Floats = npt.NDArray[np.float32]
_ROUNDS = 10
_ROWS_AT_ONCE = 2048  # of a similarity matrix


def centres(vectors: Floats, count: int) -> Floats:
    """Spherical k-means: float32 [count, D] of unit vectors [n, D], in an order free of meaning.

    The first `count` vectors are where it starts, so the same vectors give the same centres. A
    centre that loses all its vectors stays where it is.
    """
    found = vectors[:count].copy()
    for _ in range(_ROUNDS):
        nearest = assign(vectors, found)
        sums = np.zeros_like(found)
        np.add.at(sums, nearest, vectors)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        found = np.where(length > 0, sums / np.maximum(length, 1e-12), found)
    return found


def assign(vectors: Floats, centre: Floats) -> Indices:
    """The nearest centre of each vector: int64 [n]."""
    parts = [
        (vectors[start : start + _ROWS_AT_ONCE] @ centre.T).argmax(axis=1)
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def repeats(vectors: Floats, cosine: float) -> npt.NDArray[np.bool_]:
    """Which of some unit vectors [n, D], best first, are as near as `cosine` to a better one that
    is kept: bool [n]."""
    later, earlier, distance = [], [], []
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(vectors))
        alike = vectors[start:stop] @ vectors[:stop].T
        row, column = np.nonzero(alike >= cosine)
        below = column < row + start
        row, column = row[below], column[below]
        later.append(row + start)
        earlier.append(column)
        # In millionths, so that rounding of floats decides nothing.
        distance.append(np.rint((1 - alike[row, column]) * 1e6).astype(np.int64))
    edges = [np.concatenate([np.empty(0, np.int64), *side]) for side in (later, earlier, distance)]
    leader = clusters.lead(len(vectors), *edges)
    return leader != np.arange(len(vectors))
