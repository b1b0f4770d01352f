"""Texts as sets of shingles: hashed runs of words, or of characters where words do not help.

A text of at least `WORDS` words is cut into runs of words (Broder, "On the resemblance and
containment of documents", 1997). A shorter one, and one in a script that is written without
spaces, is cut into runs of `CHARACTERS` characters, so that none is too short to be compared.
Punctuation does not count. All of it is arithmetic over the bytes of a whole block of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WORDS = 5  # fewer words than this: characters
CHARACTERS = 3
BITS = 48  # of a hash; the rest of 64 says whose it is while a block is sorted

_BLOCK_BYTES = 1 << 18  # with some fifty bytes of temporaries for each: what a cache holds
_BLOCK_TEXTS = 1 << (64 - BITS)
_MASK = np.uint64((1 << BITS) - 1)

# Written without spaces between words.
_UNSEGMENTED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
_LETTERS = r"\pL"
_NO_WORD = r"[\p{P}\p{Z}\p{C}]+"

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of N texts one after the other: uint64 [S] below 2**BITS, int64 [N + 1]."""

    hashes: Hashes
    offsets: Indices

    @property
    def sizes(self) -> Indices:
        """Shingles of each text [N]; 0 for a text without letters and digits."""
        return np.diff(self.offsets)

    def sets(self) -> Shingles:
        """The same with each text's hashes sorted and without repeats; N is at most 65,536."""
        owner = np.repeat(np.arange(len(self.offsets) - 1, dtype=np.uint64), self.sizes)
        owner <<= np.uint64(BITS)
        owned = np.sort(owner | self.hashes)
        owned = owned[np.diff(owned, prepend=~owned[:1]) != 0]
        sizes = np.bincount((owned >> np.uint64(BITS)).astype(np.int64), minlength=len(self.sizes))
        return Shingles(owned & _MASK, _offsets(sizes))

    def take(self, rows: Indices) -> Shingles:
        """The shingles of some texts, in the order of `rows`."""
        sizes = self.sizes[rows]
        offsets = _offsets(sizes)
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return Shingles(self.hashes[place], offsets)


def joined(parts: Sequence[Shingles]) -> Shingles:
    """The texts of several parts as one."""
    sizes = np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])
    hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
    return Shingles(hashes, _offsets(sizes))


def blocks(keys: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array]:
    """Cut normalised texts (`texts.text_key`) into blocks of bounded size, in order."""
    for chunk in keys.chunks if isinstance(keys, pa.ChunkedArray) else [keys]:
        start = 0
        _, offsets = _buffers(_filled(chunk).cast(pa.large_string()))
        ends = offsets[1:]
        while start < len(chunk):
            done = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, done + _BLOCK_BYTES, "right"))
            stop = min(max(stop, start + 1), start + _BLOCK_TEXTS)
            yield chunk.slice(start, stop - start)
            start = stop


def shingle(keys: pa.Array, words: int) -> Shingles:
    """The shingles of a block of normalised texts [N]: runs of `words` (1 to 5) words, or of
    CHARACTERS characters; a text shorter than one run is one shingle. Null counts as empty."""
    keys = _filled(keys).cast(pa.large_string())
    keys, unsegmented = _without_marks(keys)
    data, offsets = _buffers(keys)
    in_word = _IN_WORD[data]
    by_word = _words(data, offsets, in_word)
    characters = unsegmented | (by_word.sizes < WORDS)
    if not characters.any():
        return _runs(by_word, words)
    # The other way of cutting, for some texts only.
    few = _to_arrow(np.flatnonzero(characters))
    part_data, part_offsets = _buffers(keys.take(few))
    by_character = _characters(part_data, part_offsets, _IN_WORD[part_data])
    return _spliced(_runs(by_word, words), _runs(by_character, CHARACTERS), characters)


def _without_marks(keys: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Texts with spaces for punctuation beyond ASCII, and which are mostly in an unsegmented
    script. ASCII, which needs neither, is left alone."""
    foreign = pc.invert(pc.string_is_ascii(keys))
    unsegmented = np.zeros(len(keys), np.bool_)
    if not pc.any(foreign).as_py():
        return keys, unsegmented
    rows = pc.filter(keys, foreign)
    dense = _to_numpy(pc.count_substring_regex(rows, _UNSEGMENTED))
    letters = _to_numpy(pc.count_substring_regex(rows, _LETTERS))
    unsegmented[_to_numpy(foreign.cast(pa.int64())) > 0] = 2 * dense > letters
    plain = pc.replace_substring_regex(rows, _NO_WORD, " ")
    return pc.replace_with_mask(keys, foreign, plain), unsegmented


def _buffers(texts: pa.Array) -> tuple[Bytes, Indices]:
    """UTF-8 bytes of all texts, and where each starts, without a copy."""
    _, offsets, data = texts.buffers()
    first = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if data is None or not len(texts):
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    return np.frombuffer(data, np.uint8)[first[0] : first[-1]], first - first[0]


def _filled(texts: pa.Array) -> pa.Array:
    """The same with empty texts for null."""
    return pc.fill_null(texts, "") if texts.null_count else texts


# Arrow's own ways between it and NumPy import pandas, to see whether an array is one of its: 33 MB.


def _to_arrow(positions: Indices) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(positions), [None, pa.py_buffer(positions)])


def _to_numpy(counts: pa.Array) -> Indices:
    """Counts int64 [N] without nulls."""
    found = np.frombuffer(counts.buffers()[1], np.int64)
    return found[counts.offset : counts.offset + len(counts)]


# --- units: words or characters -------------------------------------------------------------------


def _words(data: Bytes, offsets: Indices, in_word: npt.NDArray[np.bool_]) -> Shingles:
    """A hash for every word."""
    edge = np.zeros(len(data) + 1, np.bool_)
    edge[1:] = True
    edge[1:-1] = in_word[1:] != in_word[:-1]
    edge[0] = True
    edge[offsets] = True  # a word ends with its text
    edges = np.flatnonzero(edge)
    starts, ends = edges[:-1], edges[1:]
    good = in_word[starts]
    starts, ends = starts[good], ends[good]
    return Shingles(_segments(data, starts, ends), np.searchsorted(starts, offsets))


def _characters(data: Bytes, offsets: Indices, in_word: npt.NDArray[np.bool_]) -> Shingles:
    """A hash for every character (code point) of a word."""
    lead = np.flatnonzero(in_word & ((data & 0xC0) != 0x80))
    ends = lead + _UTF8_LENGTH[data[lead]]
    return Shingles(_segments(data, lead, ends), np.searchsorted(lead, offsets))


def _segments(data: Bytes, starts: Indices, ends: Indices) -> Hashes:
    """Polynomial hashes of byte ranges (Karp and Rabin, 1987) modulo 2**64, then mixed.

    With prefix sums of byte * BASE**position, a range is a difference, moved to position 0."""
    powers = _powers(len(data))
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(_BYTES[data] * powers.up[: len(data)], out=sums[1:])
    return _mixed((sums[ends] - sums[starts]) * powers.down[starts])


def _runs(units: Shingles, length: int) -> Shingles:
    """Hashes of every run of `length` units of a text; of the whole text where it is shorter."""
    sizes = units.sizes
    padded = np.concatenate([units.hashes, np.zeros(length, np.uint64)])
    count = len(units.hashes)
    run = np.full(count, _SEEDS[length], np.uint64)
    for place in range(length):
        run *= _STEP
        run += padded[place : place + count]
    short = np.flatnonzero((sizes < length) & (sizes > 0))
    firsts = units.offsets[short]
    whole = np.full(len(short), _SEEDS[length], np.uint64)
    for place in range(length):
        whole *= _STEP
        whole += np.where(place < sizes[short], padded[firsts + place], np.uint64(0))
    run[firsts] = whole
    runs = np.where(sizes < length, np.minimum(sizes, 1), sizes - length + 1)
    # Left out are the runs that would reach into the next text: the last of each.
    stays = np.zeros(count + 1, np.int32)
    filled = np.flatnonzero(sizes)
    stays[units.offsets[filled]] += 1
    stays[units.offsets[filled] + runs[filled]] -= 1
    return Shingles(_mixed(run[np.cumsum(stays[:-1]) > 0]) & _MASK, _offsets(runs))


def _spliced(most: Shingles, some: Shingles, which: npt.NDArray[np.bool_]) -> Shingles:
    """`most` with the texts of `which` replaced by those of `some`, in order."""
    stays = np.repeat(~which, most.sizes)
    sizes = most.sizes
    sizes[which] = some.sizes
    hashes = np.empty(sizes.sum(), np.uint64)
    replaced = np.repeat(which, sizes)
    hashes[~replaced] = most.hashes[stays]
    hashes[replaced] = some.hashes
    return Shingles(hashes, _offsets(sizes))


def _offsets(sizes: Indices) -> Indices:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


# --- the arithmetic -------------------------------------------------------------------------------

_BASE = 0x9E3779B97F4A7C15
_STEP = np.uint64(0xD1342543DE82EF95)
_DRAWN = np.random.Generator(np.random.PCG64(1997)).integers(1, 2**63, 300, np.uint64)
_BYTES = _DRAWN[:256] | np.uint64(1)
_SEEDS = _DRAWN[256:]  # runs of another length are other shingles

_IN_WORD = np.array([byte >= 0x80 or chr(byte).isalnum() for byte in range(256)])
_UTF8_LENGTH = np.array(
    [1 if b < 0xC0 else 2 if b < 0xE0 else 3 if b < 0xF0 else 4 for b in range(256)]
)


@dataclass(frozen=True)
class _Powers:
    """BASE**position and its inverse, modulo 2**64."""

    up: Hashes
    down: Hashes

    @classmethod
    def of(cls, count: int) -> _Powers:
        up, down = (np.full(count, base, np.uint64) for base in (_BASE, pow(_BASE, -1, 1 << 64)))
        up[0] = down[0] = 1
        return cls(np.cumprod(up), np.cumprod(down))


_KEPT_POWERS = [_Powers.of(1)]


def _powers(count: int) -> _Powers:
    """At least `count` powers; made once for usual blocks, anew for a text that is larger."""
    if count > len(_KEPT_POWERS[0].up):
        made = _Powers.of(max(count, _BLOCK_BYTES))
        if count > _BLOCK_BYTES:
            return made
        _KEPT_POWERS[0] = made
    return _KEPT_POWERS[0]


def _mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value (MurmurHash3's finaliser)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
