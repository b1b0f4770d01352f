"""Keep any two distinct scenes from looking like copies of each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmcore.samplesite.drawing import sketch
from mmcore.samplesite.scenes import Scene

_EDGE = 32
MIN_HAMMING = 9  # bits of a 64-bit DCT hash; detectors of copies act at 3 to 6
MIN_DIFFERENCE = 4.0  # mean absolute difference of 16x16 RGB thumbnails, 0 to 255


def _dct_rows(edge: int, rows: int) -> npt.NDArray[np.float32]:
    """The first DCT-II basis rows (unnormalised), float32 [rows, edge]."""
    k, n = np.arange(rows)[:, None], np.arange(edge)[None, :]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * edge)).astype(np.float32)


def hashes(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """64-bit DCT hashes of grey pictures [n, 32, 32]: low frequencies above their median."""
    basis = _dct_rows(_EDGE, 8)
    low = (basis @ grey @ basis.T).reshape(len(grey), 64)
    middle = np.partition(low, (31, 32), axis=1)[:, 31:33].mean(axis=1, keepdims=True)
    bits = low > middle
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _pool(picture: npt.NDArray[np.float32], edge: int) -> npt.NDArray[np.float32]:
    """Mean-pool a square picture [e, e, 3] to [edge, edge, 3]."""
    size = picture.shape[0] // edge
    return picture.reshape(edge, size, edge, size, 3).mean(axis=(1, 3))


class _Gallery:
    """Thumbnails and hashes of the scenes accepted so far."""

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self.thumbs = np.zeros((capacity, 16 * 16 * 3), np.float32)
        self.coarse = np.zeros((capacity, 4 * 4 * 3), np.float32)
        self.hashes = np.zeros(capacity, np.uint64)

    def accept(self, scene: Scene) -> bool:
        """Take a scene in, unless it looks like one that is already here."""
        n = self.count
        picture = np.asarray(sketch(scene, _EDGE * 2).reduce(2), np.float32)
        thumb = _pool(picture, 16)
        coarse = _pool(thumb, 4).ravel()
        code = hashes(picture.mean(axis=2)[None])[0]
        if (np.bitwise_count(self.hashes[:n] ^ code) < MIN_HAMMING).any():
            return False
        # pooling never raises the mean difference, so it rules most pairs out cheaply
        like = np.abs(self.coarse[:n] - coarse).sum(axis=1) < MIN_DIFFERENCE * coarse.size
        if like.any():
            close = np.abs(self.thumbs[:n][like] - thumb.ravel()).mean(axis=1)
            if (close < MIN_DIFFERENCE).any():
                return False
        self.thumbs[n], self.coarse[n], self.hashes[n] = thumb.ravel(), coarse, code
        self.count += 1
        return True


def keep_apart(scenes: tuple[Scene, ...]) -> tuple[Scene, ...]:
    """Re-draw every scene that looks like an earlier one until it does not.

    A scene's fate depends on earlier scenes only, so a larger site keeps them all.
    """
    gallery = _Gallery(len(scenes))
    apart = []
    for scene in scenes:
        for attempt in range(50):
            candidate = replace(scene, attempt=attempt)
            if gallery.accept(candidate):
                apart.append(candidate)
                break
        else:
            raise RuntimeError(f"scene {scene.id} still looks like another after 50 drawings")
    return tuple(apart)
