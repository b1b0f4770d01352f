"""Clusters from verified edges: stars around a leader, never chains.

Everything is in positions of one order of rank: known clusters first, then new images from best to
worst. An item joins a leader it was verified against, or leads a cluster of its own, so no two
members are further apart than twice the threshold, however many look-alikes stand in between.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def rank_order(pixels: Indices, keys: npt.NDArray[np.str_]) -> Indices:
    """Positions from the best image to the worst: most pixels first, then the smaller key."""
    return np.lexsort((keys, -pixels))


def lead(count: int, later: Indices, earlier: Indices, distance: Indices) -> Indices:
    """The leader of each of `count` positions [count]; leaders lead themselves.

    Edges go from a position to an earlier one. Of several leaders the nearest is joined, then the
    best ranked. Only leaders are joined: an edge to a follower means nothing.
    """
    leader = np.arange(count)
    order = np.lexsort((earlier, distance, later))
    later, earlier = later[order], earlier[order]
    starts = np.flatnonzero(np.diff(later, prepend=-1))
    stops = np.flatnonzero(np.diff(later, append=-1)) + 1
    # A loop by nature: whether an item leads is known only after every better item is placed.
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        options = earlier[start:stop]
        leading = options[leader[options] == options]
        if len(leading):
            leader[later[start]] = leading[0]
    return leader


def first_of_each(values: npt.NDArray[np.generic]) -> Indices:
    """For every position, the first position that holds the same value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse]
