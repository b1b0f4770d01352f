"""Finding keys among keys: SHA-256 hex digests as numbers, sorted once, searched with NumPy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_DIGITS = 16


def prefixes(digests: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """The first 64 bits of hex digests: uint64 [n]. digests: string [n], 16 digits or more."""
    if len(digests) == 0:
        return np.empty(0, np.uint64)
    flat = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    head = pc.cast(pc.utf8_slice_codeunits(flat, 0, _DIGITS), pa.binary(_DIGITS))
    characters = np.frombuffer(head.buffers()[1], np.uint8, len(head) * _DIGITS)
    digits = characters.reshape(-1, _DIGITS).astype(np.uint64)
    nibbles = np.where(
        digits > ord("9"), (digits | np.uint64(32)) - np.uint64(87), digits - np.uint64(48)
    )
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    found: NDArray[np.uint64] = np.bitwise_or.reduce(nibbles << shifts, axis=1)
    return found


class KeyTable:
    """Distinct digests [n] that other digests are looked up in."""

    def __init__(self, keys: pa.Array) -> None:
        numbers = prefixes(keys)
        self._keys = keys
        self._order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def find(self, wanted: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Where each digest stands among the keys: int64 [m], -1 where it is none of them."""
        if len(self) == 0 or len(wanted) == 0:
            return np.full(len(wanted), -1, np.int64)
        numbers = prefixes(wanted)
        at = np.minimum(np.searchsorted(self._sorted, numbers), len(self) - 1)
        found = np.where(self._sorted[at] == numbers, self._order[at], -1)
        here = np.flatnonzero(found >= 0)
        same = pc.equal(self._keys.take(pa.array(found[here])), wanted.take(pa.array(here)))
        # Files whose first 64 bits agree can be made on purpose: those are looked up in full.
        other = here[~np.asarray(same).astype(np.bool_)]
        if len(other):
            exact = pc.fill_null(pc.index_in(wanted.take(pa.array(other)), self._keys), -1)
            found[other] = np.asarray(exact)
        return found.astype(np.int64)
