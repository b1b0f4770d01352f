"""What is measured of an image. Numbers only: `rules.py` turns them into reasons.

All functions take a batch. A *miniature* is the stored image reduced to 32x32 RGB; the hash, the
thumbnail and the saturation come from it, so the full image is touched once for all of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

MINIATURE = 32
THUMB = 16
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def miniature(image: Image.Image) -> Bytes:
    """uint8 [32, 32, 3] of an RGB image.

    The filter is a triangle: whole-pixel boxes would shift edges by up to half a pixel, which on a
    small copy looks like a change of the picture.
    """
    return np.asarray(image.resize((MINIATURE, MINIATURE), Image.Resampling.BILINEAR))


def sharpness(grey: Bytes) -> float:
    """Variance of the Laplacian of one grey image [H, W]; 0 where there is no interior."""
    if min(grey.shape) < 3:
        return 0.0
    g = grey.astype(np.int16)
    edges = g[:-2, 1:-1] + g[2:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:] - 4 * g[1:-1, 1:-1]
    return float(edges.var(dtype=np.float64))


def entropy(histograms: npt.NDArray[np.int64]) -> Floats:
    """Shannon entropy in bits of grey histograms [N, 256]."""
    share = histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1)
    bits = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return -(share * bits).sum(axis=1).astype(np.float32) + np.float32(0)


def deviation(histograms: npt.NDArray[np.int64]) -> Floats:
    """Largest channel's standard deviation, 0 to 127.5, from RGB histograms [N, 3, 256]."""
    levels = np.arange(256)
    share = histograms / np.maximum(histograms.sum(axis=2, keepdims=True), 1)
    mean = (share * levels).sum(axis=2)
    variance = (share * levels**2).sum(axis=2) - mean**2
    return np.sqrt(np.maximum(variance, 0)).max(axis=1).astype(np.float32)


def saturation(miniatures: Bytes) -> Floats:
    """Mean distance of the strongest from the weakest channel, 0 to 1; [N, 32, 32, 3]."""
    spread = miniatures.max(axis=3) - miniatures.min(axis=3)
    return (spread.mean(axis=(1, 2)) / 255).astype(np.float32)


def thumbs(miniatures: Bytes) -> Bytes:
    """uint8 [N, 16, 16, 3] from miniatures [N, 32, 32, 3]."""
    n, step = len(miniatures), MINIATURE // THUMB
    blocks = miniatures.reshape(n, THUMB, step, THUMB, step, 3)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)


def phash(miniatures: Bytes) -> npt.NDArray[np.uint64]:
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
