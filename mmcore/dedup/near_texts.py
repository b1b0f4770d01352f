"""Texts that are nearly the same: candidates by MinHash, verified by Jaccard, in bounded memory.

Texts are numbered by position in one order of rank. Band keys (a few numbers a text) find the
candidates; a candidate's shingles are read, by whoever knows where they are, to be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.dedup import jaccard, minhash, shingles, texts
from mmcore.dedup.minhash import Pairs
from mmcore.dedup.shingles import Hashes, Indices, Shingles

_PAIRS_COLLECTED = 350_000
_PAIRS_AT_ONCE = 50_000
_TEXTS_AT_ONCE = 8_000  # whose sets are read at once: some 6 MB for documents


@dataclass(frozen=True)
class Likeness:
    """What makes two texts nearly the same: a Jaccard similarity of at least `least` between
    their sets of runs of `words` words."""

    words: int = 2
    least: float = 0.8

    @property
    def banding(self) -> minhash.TextBanding:
        """Bands that miss at most one in a thousand pairs at `least`, fewer above."""
        return minhash.TextBanding.for_similarity(self.least)


@dataclass(frozen=True)
class Signed:
    """N texts without their words: band keys uint64 [bands, N] to find candidates with, and shingle
    sets to verify them with."""

    keys: Hashes
    sets: Shingles


def sign(keys: pa.Array | pa.ChunkedArray, likeness: Likeness) -> Signed:
    """What is compared of normalised texts (`texts.text_key`).

    A text without any letter or digit has no shingles; no other text has its band keys.
    """
    banding = likeness.banding
    signed = [_signed(block, likeness.words, banding) for block in shingles.blocks(keys)]
    none = np.empty((banding.bands, 0), np.uint64)
    return Signed(
        np.concatenate([none, *(part.keys for part in signed)], axis=1),
        shingles.joined([part.sets for part in signed]),
    )


def _signed(block: pa.Array, words: int, banding: minhash.TextBanding) -> Signed:
    sets = shingles.shingle(block, words).sets()
    keys = minhash.band_keys(sets, banding)
    empty = np.flatnonzero(sets.sizes == 0)
    if len(empty):
        keys[:, empty] = texts.key_hashes(block.take(pa.array(empty)).fill_null(""))
    return Signed(keys, sets)


def candidates(keys: Hashes, sizes: Indices, likeness: Likeness, cap: int) -> Iterator[Pairs]:
    """Pairs that may be alike (see minhash.py), of texts with these keys of one band and sizes of
    shingle sets [N], in order of rank."""
    for pairs in minhash.candidates(keys, cap):
        later, earlier = sizes[pairs.later], sizes[pairs.earlier]
        good = np.minimum(later, earlier) >= likeness.least * np.maximum(later, earlier)
        yield Pairs(pairs.later[good], pairs.earlier[good])


@dataclass(frozen=True)
class Edges:
    """Verified pairs of positions, `later` > `earlier`, their Jaccard similarity, and of how many
    candidates they are what is left."""

    later: Indices
    earlier: Indices
    similarity: npt.NDArray[np.float64]
    candidates: int


def verified(pairs: Iterable[Pairs], read: Callable[[Indices], Shingles], least: float) -> Edges:
    """The pairs that are alike, each once. `read` gives the shingle sets at some positions
    (sorted, distinct); it is asked for a bounded number at once."""
    return edges_of([_verified(some, read, least) for some in _portions(pairs)])


def edges_of(parts: Sequence[Edges]) -> Edges:
    """Several lots of edges as one, each pair once."""
    later = np.concatenate([np.empty(0, np.int64), *(part.later for part in parts)])
    earlier = np.concatenate([np.empty(0, np.int64), *(part.earlier for part in parts)])
    similarity = np.concatenate([np.empty(0), *(part.similarity for part in parts)])
    once = np.unique(earlier << 32 | later, return_index=True)[1]
    looked_at = sum(part.candidates for part in parts)
    return Edges(later[once], earlier[once], similarity[once], looked_at)


def _portions(pairs: Iterable[Pairs]) -> Iterator[Pairs]:
    """The pairs, each once, in portions that name a bounded number of texts."""
    waiting = [np.empty(0, np.int64)]  # earlier << 32 | later: sorted, those of one text together
    for some in pairs:
        waiting.append(some.earlier << 32 | some.later)
        if sum(map(len, waiting)) >= _PAIRS_COLLECTED:
            # Most pairs come from several bands.
            waiting = [_distinct(np.concatenate(waiting))]
        if len(waiting[0]) > 0.8 * _PAIRS_COLLECTED:
            yield from _halved(waiting[0])
            waiting = [np.empty(0, np.int64)]
    yield from _halved(_distinct(np.concatenate(waiting)))


def _halved(codes: Indices) -> Iterator[Pairs]:
    """The pairs of some codes, halved until each part has and names few enough."""
    if len(codes) <= _PAIRS_AT_ONCE:
        pairs = Pairs(codes & 0xFFFFFFFF, codes >> 32)
        if 2 * len(codes) <= _TEXTS_AT_ONCE or len(_texts_of(pairs)) <= _TEXTS_AT_ONCE:
            if len(codes):
                yield pairs
            return
    for half in np.array_split(codes, 2):
        yield from _halved(half)


def _texts_of(pairs: Pairs) -> Indices:
    return _distinct(np.concatenate([pairs.later, pairs.earlier]))


def _distinct(numbers: Indices) -> Indices:
    """Sorted, each once; in place, where np.unique would fill a hash table of several times."""
    numbers.sort()
    return numbers[np.diff(numbers, prepend=~numbers[:1]) != 0]


def _verified(pairs: Pairs, read: Callable[[Indices], Shingles], least: float) -> Edges:
    positions = _texts_of(pairs)
    left, right = (np.searchsorted(positions, side) for side in (pairs.later, pairs.earlier))
    similarity = jaccard.jaccard(read(positions), left, right, least)
    alike = similarity >= least
    return Edges(pairs.later[alike], pairs.earlier[alike], similarity[alike], len(alike))
