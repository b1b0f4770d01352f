"""What is measured of an image. Numbers only: `rules.py` turns them into reasons.

A *miniature* is the stored image reduced to 32x32 RGB; the hash, the thumbnail and the saturation
of a whole batch come from them, so the full image is touched once for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

MINIATURE = 32
_REDUCED = 2 * MINIATURE
THUMB = 16
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

Floats = npt.NDArray[np.float32]


def reduced(pixels: MatLike) -> MatLike:
    """uint8 [64, 64, 3] of an RGB image [H, W, 3], by area.

    Fractional areas are slow: the image is first stretched to the next multiples of 64.
    """
    height, width = (-(-side // _REDUCED) * _REDUCED for side in pixels.shape[:2])
    even = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(even, (_REDUCED, _REDUCED), interpolation=cv2.INTER_AREA)


def miniatures(reduced: Sequence[MatLike]) -> MatLike:
    """uint8 [N, 32, 32, 3] from N reduced images [64, 64, 3].

    The filter is a triangle: whole-pixel boxes would shift edges by up to half a pixel, which on a
    small copy looks like a change of the picture.
    """
    images = np.array(reduced, dtype=np.float32).reshape(-1, _REDUCED, _REDUCED, 3)
    halve = _triangle()
    rows = np.tensordot(images, halve, axes=(1, 1))  # [N, 64, 3, 32]
    both = np.tensordot(rows, halve, axes=(1, 1))  # [N, 3, 32, 32], rows before columns
    return np.ascontiguousarray(np.rint(both.transpose(0, 2, 3, 1)).astype(np.uint8))


def sharpness(grey: MatLike) -> float:
    """Variance of the Laplacian of one grey image [H, W]; 0 where there is no interior."""
    if min(grey.shape) < 3:
        return 0.0
    edges = cv2.Laplacian(grey, cv2.CV_16S)[1:-1, 1:-1]
    return float(cv2.meanStdDev(edges)[1].item() ** 2)


def histogram(grey: MatLike) -> MatLike:
    """How many pixels of a grey image [H, W] have each level [256]."""
    return cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()


def deviation(pixels: MatLike) -> float:
    """Largest channel's standard deviation, 0 to 127.5, of an RGB image [H, W, 3]."""
    return float(cv2.meanStdDev(pixels)[1].max())


def entropy(histograms: MatLike) -> Floats:
    """Shannon entropy in bits of grey histograms [N, 256]."""
    share = histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1)
    bits = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return -(share * bits).sum(axis=1).astype(np.float32) + np.float32(0)


def saturation(miniatures: MatLike) -> Floats:
    """Mean distance of the strongest from the weakest channel, 0 to 1; [N, 32, 32, 3]."""
    spread = miniatures.max(axis=3) - miniatures.min(axis=3)
    return (spread.mean(axis=(1, 2)) / 255).astype(np.float32)


def thumbs(miniatures: MatLike) -> MatLike:
    """uint8 [N, 16, 16, 3] from miniatures [N, 32, 32, 3]."""
    n, step = len(miniatures), MINIATURE // THUMB
    blocks = miniatures.reshape(n, THUMB, step, THUMB, step, 3)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)


def phash(miniatures: MatLike) -> npt.NDArray[np.uint64]:
    """64-bit perceptual hash [N]: the 64 lowest DCT frequencies but the mean, above their median.

    After Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010); the
    mean, whose bit never changes, gives its place to the next frequency of the zigzag order.
    """
    if len(miniatures) == 0:
        return np.empty(0, dtype=np.uint64)
    grey = miniatures.astype(np.float32) @ _LUMA  # [N, 32, 32]
    basis = _dct_basis()
    spectrum = basis @ grey @ basis.T  # [N, K, K]
    rows, columns = _zigzag()
    low = spectrum[:, rows, columns]  # [N, 64]
    bits = low > np.median(low, axis=1, keepdims=True)
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))  # [N, 8]
    return packed.view(">u8").ravel().astype(np.uint64)


@lru_cache(maxsize=1)
def _triangle() -> Floats:
    """Weights [32, 64] that halve a side, 1 3 3 1 inside and the same renormalised at the ends."""
    weights = np.zeros((MINIATURE, _REDUCED), dtype=np.float32)
    for row in range(MINIATURE):
        for column, weight in enumerate((1, 3, 3, 1), start=2 * row - 1):
            if 0 <= column < _REDUCED:
                weights[row, column] = weight
    return weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=1)
def _zigzag() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and column of the first 64 AC coefficients, lowest frequencies first."""
    order = sorted(
        ((r, c) for r in range(MINIATURE) for c in range(MINIATURE) if r + c),
        key=lambda rc: (rc[0] + rc[1], rc),
    )[:64]
    return np.array([r for r, _ in order]), np.array([c for _, c in order])


@lru_cache(maxsize=1)
def _dct_basis() -> Floats:
    """The DCT-II rows that the hash needs [K, 32]."""
    rows, columns = _zigzag()
    k = np.arange(max(rows.max(), columns.max()) + 1)[:, None]
    n = np.arange(MINIATURE)[None, :]
    basis = np.cos(np.pi * k * (2 * n + 1) / (2 * MINIATURE)) * np.sqrt(2 / MINIATURE)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
