"""Candidate pairs of near-equal hashes without comparing all with all.

A 64-bit hash is cut into three bands. Two hashes that differ in at most k bits differ in few of
some band: with k = 3s + a, at most s in one of the first a + 1 bands or at most s - 1 in one of
the others. So a query asks each band for everything within that radius, and no pair within k bits
is missed unless a bucket was capped. After Norouzi, Punjani and Fleet, "Fast Search in Hamming
Space with Multi-Index Hashing" (2012), section 3.3.

Bands of some 21 bits keep buckets small: of N random hashes a query meets N / 12,000 candidates, of
photographs N / 9,000; four bands of 16 bits meet N / 800.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from mmcore.dedup.hashing import Hashes, rotated
from mmcore.dedup.runs import Indices, Run, sorted_run

WIDTHS = (22, 21, 21)  # bits of each band, from the lowest
MAX_HAMMING = 8  # beyond, a radius of 3 would ask every band for 1,500 neighbours
_FEW = 32  # a run with so many times more buckets than hashes is searched, not tabled
_AT_ONCE = 2_000_000  # pairs or probes; bounds memory: 16 bytes each and a few temporaries


@dataclass(frozen=True)
class Band:
    """Bits [shift, shift + width) of a hash, asked within `radius` bits (-1: not asked)."""

    number: int
    shift: int
    width: int
    radius: int

    @property
    def rotation(self) -> int:
        """By how much to rotate a hash left so that the band stands on top."""
        return (64 - self.shift - self.width) % 64

    def keys(self, hashes: Hashes) -> Hashes:
        """Hashes with the band on top: sorted, they lie together by band."""
        return rotated(hashes, self.rotation)

    def masks(self) -> Hashes:
        """Bit patterns that a probe flips: all of at most `radius` bits."""
        sets = [s for size in range(self.radius + 1) for s in combinations(range(self.width), size)]
        return np.array([sum(1 << bit for bit in s) for s in sets], np.uint64)

    def near(self, difference: Hashes) -> npt.NDArray[np.bool_]:
        """Which differences (hash XOR hash) this band knows about."""
        bits = (difference >> np.uint64(self.shift)) & np.uint64(2**self.width - 1)
        return np.bitwise_count(bits) <= self.radius  # never for a radius of -1


def bands(max_hamming: int) -> list[Band]:
    """The bands and radii that find every pair within `max_hamming` bits (0 to MAX_HAMMING)."""
    if not 0 <= max_hamming <= MAX_HAMMING:
        raise ValueError(f"max_hamming must be from 0 to {MAX_HAMMING}")
    least, more = divmod(max_hamming, len(WIDTHS))
    shifts = np.cumsum((0, *WIDTHS)).tolist()
    return [
        Band(number, shifts[number], width, least if number <= more else least - 1)
        for number, width in enumerate(WIDTHS)
    ]


def band_run(hashes: Hashes, ids: npt.NDArray[np.integer], band: Band) -> Run:
    """What `candidates` looks things up in: hashes by one band."""
    return sorted_run(band.keys(hashes), ids)


@dataclass(frozen=True)
class Candidates:
    """Pairs (position of the query, id found) and how many probes met a bucket over the cap."""

    query: Indices
    found: Indices
    bits: Indices
    capped: int


def candidates(
    runs: Sequence[Run],
    hashes: Hashes,
    own: Indices,
    band: Band,
    max_hamming: int,
    bucket_cap: int,
) -> Candidates:
    """Pairs within `max_hamming` of which this band is the first to know.

    runs: made with `band_run`. hashes, own: of the queries [Q]; only ids below a query's own are
    its candidates, so a set that is compared with itself gives each pair once. Of a bucket over
    `bucket_cap` that many are looked at; equal hashes are looked up apart (with band 0), so that
    copies are found even where a bucket is capped.
    """
    order = np.argsort(band.keys(hashes), kind="stable")  # neighbours ask for neighbours
    wanted = band.keys(hashes)[order]
    earlier = [b for b in bands(max_hamming) if b.number < band.number]
    kept: list[tuple[Indices, Indices, Indices]] = []
    capped = 0
    for run in runs:
        for asked, low, high in _ranges(run, wanted, band):
            capped += int((high - low > bucket_cap).sum())
            for probe, at in _pairs(low, np.minimum(high, low + bucket_cap)):
                query = asked[probe]
                difference = rotated(wanted[query] ^ run.keys[at], (64 - band.rotation) % 64)
                bits = np.bitwise_count(difference)
                good = (bits <= max_hamming) & (bits > 0)
                for other in earlier:
                    good &= ~other.near(difference)
                kept.append(_below(own, order[query[good]], run.ids[at[good]], bits[good]))
        if band.number == 0:
            low = np.searchsorted(run.keys, wanted, "left")
            high = np.searchsorted(run.keys, wanted, "right")
            capped += int((high - low > bucket_cap).sum())
            for query, at in _pairs(low, np.minimum(high, low + bucket_cap)):
                kept.append(_below(own, order[query], run.ids[at], np.zeros(len(at))))
    empty = (np.empty(0, np.int64),) * 3
    query, found, bits = (np.concatenate(side) for side in zip(*(kept or [empty]), strict=True))
    return Candidates(query, found, bits, capped)


def near_pairs(hashes: Hashes, max_hamming: int, bucket_cap: int) -> tuple[Indices, Indices]:
    """All pairs (i, j), i after j, of hashes [N] within `max_hamming` bits, each once; of a bucket
    over `bucket_cap` that many are looked at."""
    own = np.arange(len(hashes))
    found = [
        candidates([band_run(hashes, own, band)], hashes, own, band, max_hamming, bucket_cap)
        for band in bands(max_hamming)
    ]
    return np.concatenate([f.query for f in found]), np.concatenate([f.found for f in found])


def _ranges(run: Run, wanted: Hashes, band: Band) -> Iterator[tuple[Indices, Indices, Indices]]:
    """(query, start, stop in the run) of every probe that meets a bucket, in bounded blocks."""
    buckets = _Buckets.of(run, band)
    prefix = wanted >> np.uint64(64 - band.width)
    masks = band.masks()
    # A mask at a time costs calls, all at once memory: as many as make a block.
    step = max(1, _AT_ONCE // max(1, len(wanted)))
    for start in range(0, len(masks), step):
        probes = prefix[None, :] ^ masks[start : start + step, None]
        _, query = hit = np.nonzero(buckets.occupied[probes])
        low, high = buckets.ranges(probes[hit])
        yield query, low, high


@dataclass(frozen=True)
class _Buckets:
    """Where the hashes with one prefix lie in a run: `starts` [2**width + 1] of a large one, in
    which a binary search would miss the cache at every step."""

    run: Run
    shift: np.uint64
    occupied: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int32] | None

    @classmethod
    def of(cls, run: Run, band: Band) -> _Buckets:
        shift, size = np.uint64(64 - band.width), 2**band.width
        if len(run.keys) * _FEW < size:
            occupied = np.zeros(size, np.bool_)
            occupied[run.keys >> shift] = True
            return cls(run, shift, occupied, None)
        counts = np.bincount((run.keys >> shift).astype(np.int64), minlength=size)
        starts = np.zeros(size + 1, np.int32)
        np.cumsum(counts, out=starts[1:])
        return cls(run, shift, counts > 0, starts)

    def ranges(self, prefixes: Hashes) -> tuple[Indices, Indices]:
        """Start and stop of the bucket of each prefix."""
        if self.starts is not None:
            return self.starts[prefixes].astype(int), self.starts[prefixes + np.uint64(1)].astype(
                int
            )
        keys = prefixes << self.shift
        rest = (np.uint64(1) << self.shift) - np.uint64(1)
        low = np.searchsorted(self.run.keys, keys, "left")
        return low, np.searchsorted(self.run.keys, keys | rest, "right")


def _below(
    own: Indices, query: Indices, found: npt.NDArray[np.uint32], bits: npt.NDArray[np.generic]
) -> tuple[Indices, Indices, Indices]:
    ids = found.astype(np.int64)
    good = ids < own[query]
    return query[good], ids[good], bits[good].astype(np.int64)


def _pairs(low: Indices, high: Indices) -> Iterator[tuple[Indices, Indices]]:
    """(row, place) for every place of the ranges [low, high), in blocks of bounded size."""
    size = high - low
    blocks = np.cumsum(size) // _AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(size)]
    for start, stop in pairwise(edges):
        part = size[start:stop]
        row = np.repeat(np.arange(start, stop), part)
        within = np.arange(len(row)) - np.repeat(np.cumsum(part) - part, part)
        yield row, np.repeat(low[start:stop], part) + within
