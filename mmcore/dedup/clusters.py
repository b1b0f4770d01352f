"""Clusters from verified edges: stars around a leader, never chains.

Everything is in positions of one order of rank, from best to worst. An item joins a leader it was
verified against, or leads a cluster of its own, so no two members are further apart than twice the
threshold, however many look-alikes stand in between.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmcore.dedup.runs import Indices

_UNDECIDED, _LEADS, _FOLLOWS = 0, 1, 2


def rank_order(pixels: Indices, keys: npt.NDArray[np.generic]) -> Indices:
    """Positions from the best image to the worst: most pixels first, then the smaller key."""
    return np.lexsort((keys, -pixels))


def lead(count: int, later: Indices, earlier: Indices, distance: Indices) -> Indices:
    """The leader of each of `count` positions [count]; leaders lead themselves.

    Edges go from a position to an earlier one; a negative one is a leader from outside, and stays
    one. Of several leaders the nearest is joined, then the best ranked. Only leaders are joined: an
    edge to a follower means nothing.

    An item leads if no better item that is near leads: the greedy maximal independent set by rank.
    It is found in rounds, each over the edges that are still open. Ranks of equal images are as
    good as random, so there are some log(count) rounds (Fischer and Noever, "Tight Analysis of
    Parallel Randomized Greedy MIS", 2018).
    """
    state = np.full(count, _UNDECIDED, np.int8)
    state[later[earlier < 0]] = _FOLLOWS
    open_later, open_earlier = later[earlier >= 0], earlier[earlier >= 0]
    while True:
        undecided = state[open_later] == _UNDECIDED
        useful = undecided & (state[open_earlier] != _FOLLOWS)
        open_later, open_earlier = open_later[useful], open_earlier[useful]
        waits = np.zeros(count, np.bool_)
        waits[open_later] = True
        state[(state == _UNDECIDED) & ~waits] = _LEADS
        if not len(open_later):
            break
        state[open_later[state[open_earlier] == _LEADS]] = _FOLLOWS
    return _nearest(count, later, earlier, distance, state)


def _nearest(
    count: int, later: Indices, earlier: Indices, distance: Indices, state: npt.NDArray[np.int8]
) -> Indices:
    leads = (earlier < 0) | (state[np.maximum(earlier, 0)] == _LEADS)
    joins = leads & (state[later] == _FOLLOWS)
    later, earlier, distance = later[joins], earlier[joins], distance[joins]
    order = np.lexsort((earlier, distance, later))
    first = order[np.flatnonzero(np.diff(later[order], prepend=-1))]
    leader = np.arange(count)
    leader[later[first]] = earlier[first]
    return leader


def first_of_each(values: npt.NDArray[np.generic]) -> Indices:
    """For every position, the first position that holds the same value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse]
