"""Counts over the characters and words of a whole column, without a call or a regex per text.

A column becomes one array of code points; Unicode's classes are looked up in a table, words are
runs of letters, marks and digits, and a word is its hash.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Classes of characters, by Unicode category: Z and blanks of ASCII; all that is not named here;
# L but Lu; Lu; M; Nd; N but Nd. Those from SMALL on make up words.
BLANK, OTHER, SMALL, CAPITAL, MARK, DIGIT, NUMBER = range(7)
_CLASSES = 8
_ASSIGNED = 0x33480  # no letter, digit or blank has a higher code point (Unicode 16)
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, and far from a power of two

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Words:
    """The words of n texts, in order, in small letters; arrays [W]."""

    text: Ints  # which text a word is of
    hash: Hashes
    length: Ints  # in characters
    parted: npt.NDArray[np.bool_]  # whether a blank stands between it and the word before


class Characters:
    """The characters of n texts: `codes` (uint32) and `classes` (uint8), arrays [C]; text i has
    those from `bounds[i]` to `bounds[i + 1]`."""

    def __init__(self, texts: pa.Array) -> None:
        """From texts without nulls."""
        self.n = len(texts)
        self.codes = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), np.uint32)
        self.classes = _looked_up(_classes(), self.codes)
        length = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        self.bounds = np.concatenate([[0], np.cumsum(length, dtype=np.int64)])
        self.starts = self.bounds[:-1][length > 0]
        # How many characters of each class a text has [n, 8].
        key = np.repeat(np.arange(0, self.n * _CLASSES, _CLASSES), length) + self.classes
        self.histogram = np.bincount(key, minlength=self.n * _CLASSES).reshape(self.n, _CLASSES)

    def count(self, *classes: int) -> Ints:
        """How many characters of any of these classes each text has [n]."""
        return self.histogram[:, classes].sum(axis=1)

    def longest_run(self) -> Ints:
        """The length of the longest run of one character in each text; 0 of an empty one."""
        longest = (np.diff(self.bounds) > 0).astype(np.int64)
        same = np.zeros(len(self.codes), bool)
        same[1:] = self.codes[1:] == self.codes[:-1]
        same[self.starts] = False
        place = np.flatnonzero(same)
        if len(place) == 0:
            return longest
        first = np.flatnonzero(np.diff(place, prepend=-2) != 1)
        run = np.diff(np.append(first, len(place))) + 1
        np.maximum.at(longest, self._text_of(place[first]), run)
        return longest

    def words(self) -> Words:
        """The runs of letters, marks and numbers."""
        inside = self.classes >= SMALL
        opens, closes = inside.copy(), inside.copy()
        opens[1:] &= ~inside[:-1]
        closes[:-1] &= ~inside[1:]
        opens[self.starts] = inside[self.starts]
        closes[self.starts[1:] - 1] = inside[self.starts[1:] - 1]
        start, end = np.flatnonzero(opens), np.flatnonzero(closes) + 1
        text = self._text_of(start)
        blanks = np.cumsum(self.classes == BLANK, dtype=np.int32)[start]
        parted = np.ones(len(start), bool)
        parted[1:] = (blanks[1:] != blanks[:-1]) | (text[1:] != text[:-1])
        return Words(text, self._hash(start, end), end - start, parted)

    def _hash(self, start: Ints, end: Ints) -> Hashes:
        """A polynomial hash modulo 2^64 of the small letters from start to end, wherever they are:
        differences of a running sum, whose powers are taken back by their inverses."""
        powers, inverses = _powers(1 << max(len(self.codes) - 1, 0).bit_length())
        total = np.zeros(len(self.codes) + 1, np.uint64)
        small = _looked_up(_small(), self.codes)
        np.cumsum((small + np.uint64(1)) * powers[: len(small)], out=total[1:])
        hashes = (total[end] - total[start]) * inverses[start]
        return (hashes ^ (hashes >> np.uint64(32))) * _BASE

    def _text_of(self, place: Ints) -> Ints:
        return np.searchsorted(self.bounds, place, side="right") - 1


def _looked_up(table: npt.NDArray[Any], codes: npt.NDArray[np.uint32]) -> npt.NDArray[Any]:
    """Of each code point the entry of a table whose last entry is for all that are beyond it."""
    beyond = len(codes) > 0 and codes.max() >= len(table)
    return table[np.minimum(codes, len(table) - 1) if beyond else codes]


@lru_cache(maxsize=2)
def _powers(number: int) -> tuple[Hashes, Hashes]:
    """Powers of the base from 0 on, and their inverses modulo 2^64."""
    inverse = np.uint64(pow(int(_BASE), -1, 1 << 64))
    powers = []
    for factor in (_BASE, inverse):
        some = np.full(max(number, 1), factor)
        some[0] = 1
        powers.append(np.multiply.accumulate(some))
    return powers[0], powers[1]


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """The class of each code point [`_ASSIGNED` + 1]."""
    of = {"L": SMALL, "Lu": CAPITAL, "M": MARK, "Nd": DIGIT, "N": NUMBER, "Z": BLANK}
    categories = (unicodedata.category(chr(code)) for code in range(_ASSIGNED))
    table = np.array([of.get(c, of.get(c[0], OTHER)) for c in categories] + [OTHER], np.uint8)
    table[[9, 10, 11, 12, 13]] = BLANK
    return table


@cache
def _small() -> npt.NDArray[np.uint64]:
    """The small letter of each code point, itself where there is none or more than one."""
    small = (chr(code).lower() for code in range(_ASSIGNED))
    codes = [ord(c) if len(c) == 1 else code for code, c in enumerate(small)]
    return np.array([*codes, _ASSIGNED], np.uint64)
