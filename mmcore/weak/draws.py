"""Random choices that depend on what is chosen for, not on when or where: hashes as dice."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def image_hashes(sha256: pa.Array, seed: int) -> NDArray[np.uint64]:
    """One well-mixed number per image, for string [n] of hex digests: uint64 [n]."""
    if len(sha256) == 0:
        return np.empty(0, np.uint64)
    # 60 bits are plenty to start from
    digits = np.array([int(key[:15], 16) for key in sha256.to_pylist()], np.uint64)
    return _mix(digits ^ _mix(np.array([seed % 2**64], np.uint64)))


def draw(hashes: NDArray[np.uint64], salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each hash, independent between salts: float64, shape kept."""
    salted = _mix(np.array([zlib.crc32(salt.encode())], np.uint64))
    return (_mix(hashes ^ salted) >> np.uint64(11)).astype(np.float64) / 2.0**53


def with_text(hashes: NDArray[np.uint64], texts: NDArray[np.object_]) -> NDArray[np.uint64]:
    """Hashes that also depend on a text each."""
    codes = np.array([zlib.crc32(text.encode()) for text in texts], np.uint64)
    return _mix(hashes ^ _mix(codes))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection on uint64."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
