"""64-bit hashes: distances between perceptual ones, and short forms of digests to look up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_DIGITS = 16  # of a hex digest make 64 bits


def hamming(left: Hashes, right: Hashes) -> npt.NDArray[np.uint8]:
    """Number of differing bits; shapes broadcast."""
    return np.bitwise_count(left ^ right)


def rotated(hashes: Hashes, bits: int) -> Hashes:
    """Rotated left by 0 to 63 bits."""
    if bits == 0:
        return hashes
    return (hashes << np.uint64(bits)) | (hashes >> np.uint64(64 - bits))


def short_digests(digests: pa.Array | pa.ChunkedArray) -> Hashes:
    """The first 64 bits of hex digests of 64 digits each: uint64 [n], in the order of the digests.

    Two of a billion different digests share them with a chance of 3 %, a given one meets a billion
    others with a chance of 5e-11: enough to look up, where 32 bytes each would be four times more.
    """
    if isinstance(digests, pa.ChunkedArray):
        digests = digests.combine_chunks()
    fixed = digests.cast(pa.binary()).cast(pa.binary(64))
    start = fixed.offset * 64
    digits = np.frombuffer(fixed.buffers()[1] or b"", np.uint8)[start : start + len(fixed) * 64]
    digits = digits.reshape(-1, 64)[:, :_DIGITS].astype(np.uint64)
    letters = digits > ord("9")
    nibbles = np.where(
        letters, (digits | np.uint64(32)) - np.uint64(87), digits - np.uint64(ord("0"))
    )
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    return np.bitwise_or.reduce(nibbles << shifts, axis=1)


def positions(ascending: Hashes, wanted: Hashes) -> npt.NDArray[np.int64]:
    """Where each wanted value first stands among sorted ones: int64 [n], -1 for none."""
    if not len(ascending):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[at] == wanted, at, -1)
