"""Candidate pairs of near-equal hashes without comparing all with all.

A 64-bit hash is cut into bands; a query looks up every item that agrees with it on a band in all
but `radius` bits. Two hashes that differ in at most `bands * (radius + 1) - 1` bits must agree so
on some band (pigeonhole), so no pair within that distance is missed unless a bucket was capped.
After Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing" (2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mmcore.dedup.hashing import Hashes

Indices = npt.NDArray[np.int64]
_PAIRS_AT_ONCE = 2_000_000  # bounds memory: 16 bytes a pair and a few temporaries


@dataclass(frozen=True)
class Banding:
    """How hashes are cut: `bands` equal bands of 64/bands bits, probed within `radius` bits."""

    bands: int = 4
    radius: int = 1

    def __post_init__(self) -> None:
        if 64 % self.bands or self.radius not in (0, 1):
            raise ValueError("bands must divide 64 and radius be 0 or 1")

    @property
    def bits(self) -> int:
        return 64 // self.bands

    @property
    def guarantee(self) -> int:
        """Every pair within this Hamming distance is found."""
        return self.bands * (self.radius + 1) - 1


@dataclass(frozen=True)
class Candidates:
    """Pairs of positions (`later` > `earlier`) and how many probes met a bucket over the cap."""

    later: Indices
    earlier: Indices
    capped: int


def band_of(hashes: Hashes, band: int, banding: Banding) -> npt.NDArray[np.int64]:
    """The bits of one band as integers below 2**bits."""
    shift = np.uint64(band * banding.bits)
    return ((hashes >> shift) & np.uint64(2**banding.bits - 1)).astype(np.int64)


def candidates(
    hashes: Hashes,
    queries: Indices,
    band: int,
    banding: Banding,
    max_hamming: int,
    bucket_cap: int,
) -> Candidates:
    """Pairs within `max_hamming` of which this band is the first to know, one from `queries`, the
    other any earlier position.

    Positions are in order of rank: earlier items make better leaders, so a bucket over
    `bucket_cap` is searched up to its `bucket_cap` earliest. Equal hashes are looked up apart
    (with band 0), so that copies are found even where a bucket is capped.
    """
    keys = band_of(hashes, band, banding)
    buckets = _Buckets.of(keys)
    kept: list[tuple[Indices, Indices]] = []
    capped = 0
    for mask in _masks(banding):
        lookup = buckets.lookup(keys[queries] ^ mask, bucket_cap)
        capped += lookup.capped
        for later, earlier in lookup.pairs(queries):
            good = _first_known_here(hashes[later] ^ hashes[earlier], band, banding, max_hamming)
            kept.append((later[good], earlier[good]))
    if band == 0:
        same = _Buckets.of(hashes).lookup(hashes[queries], bucket_cap)
        capped += same.capped
        kept += same.pairs(queries)
    empty = (np.empty(0, np.int64),) * 2
    later, earlier = (np.concatenate(side) for side in zip(*(kept or [empty]), strict=True))
    return Candidates(later, earlier, capped)


def _masks(banding: Banding) -> list[int]:
    """Bit patterns that a probe flips: none, then each bit alone."""
    return [0] + ([1 << bit for bit in range(banding.bits)] if banding.radius else [])


def _first_known_here(
    difference: Hashes, band: int, banding: Banding, max_hamming: int
) -> npt.NDArray[np.bool_]:
    """Pairs that are near, not equal, and not found by an earlier band already."""
    distance = np.bitwise_count(difference)
    good = (distance <= max_hamming) & (distance > 0)
    for earlier_band in range(band):
        bits = band_of(difference, earlier_band, banding)
        good &= np.bitwise_count(bits) > banding.radius
    return good


@dataclass(frozen=True)
class _Buckets:
    """Positions grouped by key, in rank order within a key."""

    order: Indices
    keys: npt.NDArray[np.generic]

    @classmethod
    def of(cls, keys: npt.NDArray[np.generic]) -> _Buckets:
        order = np.argsort(keys, kind="stable")
        return cls(order, keys[order])

    def lookup(self, wanted: npt.NDArray[np.generic], cap: int) -> _Lookup:
        start = np.searchsorted(self.keys, wanted, "left")
        size = np.searchsorted(self.keys, wanted, "right") - start
        return _Lookup(self.order, start, np.minimum(size, cap), int((size > cap).sum()))


@dataclass(frozen=True)
class _Lookup:
    """Where each query's bucket starts in `order`, and how many of it are looked at."""

    order: Indices
    start: Indices
    size: Indices
    capped: int

    def pairs(self, queries: Indices) -> Iterator[tuple[Indices, Indices]]:
        """(later, earlier) positions in blocks of bounded size."""
        blocks = np.cumsum(self.size) // _PAIRS_AT_ONCE
        edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(queries)]
        for low, high in pairwise(edges):
            size = self.size[low:high]
            later = np.repeat(queries[low:high], size)
            within = np.arange(len(later)) - np.repeat(np.cumsum(size) - size, size)
            earlier = self.order[np.repeat(self.start[low:high], size) + within]
            good = earlier < later
            yield later[good], earlier[good]
