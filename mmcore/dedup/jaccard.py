"""Is a candidate pair of texts one text? The exact Jaccard similarity of their shingle sets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmcore.dedup.shingles import BITS, Hashes, Indices, Shingles

_PAIRS_AT_ONCE = 1 << (64 - BITS)
_ELEMENTS_AT_ONCE = 250_000  # shingles of both sides; bounds memory


def jaccard(sets: Shingles, left: Indices, right: Indices, least: float) -> npt.NDArray[np.float64]:
    """|A and B| / |A or B| of pairs [P] of positions in `sets` (`Shingles.sets`); 0 without
    looking where the sizes alone rule out `least`."""
    sizes = sets.sizes
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    similarity = np.zeros(len(left))
    possible = np.flatnonzero((small > 0) & (small >= least * large))
    for some in _chunks(possible, sizes[left] + sizes[right]):
        both = _shared(sets, left[some], right[some])
        similarity[some] = both / (sizes[left[some]] + sizes[right[some]] - both)
    return similarity


def _chunks(pairs: Indices, work: Indices) -> list[Indices]:
    """Pairs in pieces that are sorted at once."""
    if not len(pairs):
        return []
    piece = np.cumsum(work[pairs]) // _ELEMENTS_AT_ONCE
    cuts = np.flatnonzero(np.diff(piece)) + 1
    return [
        block[low : low + _PAIRS_AT_ONCE]
        for block in np.split(pairs, cuts)
        for low in range(0, len(block), _PAIRS_AT_ONCE)
    ]


def _shared(sets: Shingles, left: Indices, right: Indices) -> Indices:
    """Size of the intersection of every pair: equal neighbours after one sort of all."""
    owned = np.concatenate([_gathered(sets, left), _gathered(sets, right)])
    owned.sort()
    twice = owned[1:][owned[1:] == owned[:-1]]
    return np.bincount((twice >> np.uint64(BITS)).astype(np.int64), minlength=len(left))


def _gathered(sets: Shingles, rows: Indices) -> Hashes:
    """The sets of some texts one after the other, each hash marked with its place in `rows`."""
    taken = sets.take(rows)
    owner = np.repeat(np.arange(len(rows), dtype=np.uint64) << np.uint64(BITS), taken.sizes)
    return taken.hashes | owner
