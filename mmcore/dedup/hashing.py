"""Distances between 64-bit perceptual hashes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


def hamming(left: Hashes, right: Hashes) -> npt.NDArray[np.uint8]:
    """Number of differing bits; shapes broadcast."""
    return np.bitwise_count(left ^ right)
