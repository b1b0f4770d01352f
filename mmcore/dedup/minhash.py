"""Which texts may be alike: MinHash signatures, cut into bands.

The smallest of a set's hashes under a random permutation is the same for two sets with
probability J, their Jaccard similarity (Broder 1997). A band is `rows` such minima as one key;
texts that share the key of any band are candidates: a share of 1 - (1 - J**rows)**bands of the
pairs at similarity J. Candidates are verified (jaccard.py), so a band too many costs time only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log

import numpy as np

from mmcore.dedup.shingles import Hashes, Indices, Shingles

_PAIRS_AT_ONCE = 50_000  # bounds memory: 16 bytes a pair and a few temporaries


@dataclass(frozen=True)
class TextBanding:
    """`bands` keys of `rows` minima each."""

    bands: int
    rows: int = 5

    @classmethod
    def for_similarity(cls, least: float, rows: int = 5, missed: float = 0.001) -> TextBanding:
        """As many bands as let at most a share `missed` of the pairs at similarity `least` slip
        through; of more similar pairs fewer do."""
        if least >= 1:
            return cls(1, rows)
        return cls(ceil(log(missed) / log(1 - least**rows)), rows)

    def chance(self, similarity: float) -> float:
        """Probability that a pair of this similarity becomes a candidate."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def band_keys(found: Shingles, banding: TextBanding) -> Hashes:
    """uint64 [bands, N]: a key per band and text. Texts without shingles get keys of no meaning:
    leave them out (`found.sizes > 0`)."""
    keys = np.zeros((banding.bands, len(found.sizes)), np.uint64)
    filled = np.flatnonzero(found.sizes)
    if not len(filled):
        return keys
    starts = found.offsets[filled]
    permuted = np.empty_like(found.hashes)
    factors = _factors(banding.bands * banding.rows).reshape(banding.bands, banding.rows)
    for band in range(banding.bands):
        key = np.zeros(len(filled), np.uint64)
        for factor in factors[band]:
            np.multiply(found.hashes, factor, out=permuted)
            key *= _STEP
            key += np.minimum.reduceat(permuted, starts)
        keys[band, filled] = key
    return keys


_STEP = np.uint64(0xD1342543DE82EF95)


def _factors(count: int) -> Hashes:
    """Odd factors: x -> factor * x permutes the 64-bit integers, and the largest bits, which
    decide what is smallest, depend on all bits of x."""
    drawn = np.random.Generator(np.random.PCG64(2017)).integers(0, 2**63, count, np.uint64)
    return (drawn << np.uint64(1)) | np.uint64(1)


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs of positions, `later` > `earlier`; a negative one is from outside."""

    later: Indices
    earlier: Indices


def candidates(keys: Hashes, cap: int) -> Iterator[Pairs]:
    """Pairs of texts that share the key of a band, in blocks of bounded size.

    `keys` are those of one band for texts in order of rank [N]. In a bucket of more than `cap`
    texts each is paired with the `cap` best ranked only.
    """
    buckets = _Buckets.of(keys)
    for item, place in places(np.minimum(buckets.place, cap)):
        yield Pairs(buckets.order[item], buckets.order[buckets.start[item] + place])


def places(sizes: Indices) -> Iterator[tuple[Indices, Indices]]:
    """(item, place) for each of the `sizes` [N] places of every item, in blocks of bounded size."""
    blocks = np.cumsum(sizes) // _PAIRS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(sizes)]
    for low, high in pairwise(edges):
        within = sizes[low:high]
        item = np.repeat(np.arange(low, high), within)
        yield item, np.arange(len(item)) - np.repeat(np.cumsum(within) - within, within)


def capped(keys: Hashes, cap: int) -> int:
    """How many texts of one band [N] are not compared with all of their bucket."""
    return int((_Buckets.of(keys).place > cap).sum())


@dataclass(frozen=True)
class _Buckets:
    """Texts by key, best ranked first: of each in `order`, where its bucket starts in `order`, and
    how many of the bucket come before it. Those that are alone are left out."""

    order: Indices
    start: Indices
    place: Indices

    @classmethod
    def of(cls, keys: Hashes) -> _Buckets:
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        same = keys[1:] == keys[:-1]
        several = np.zeros(len(keys), np.bool_)
        several[1:] = same
        several[:-1] |= same
        follows = np.concatenate([[False], same])[several]
        order = order[several]
        index = np.arange(len(order))
        start = np.maximum.accumulate(np.where(follows, 0, index))
        return cls(order, start, index - start)
