"""How much of a picture is rendered text: screenshots, scanned pages, tables, dense diagrams."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike

_BLOCK = 16
_STEP = 24  # between neighbouring pixels: an edge of a stroke
_EDGES = 0.25  # share of a block's pixels on edges: one straight edge through it has half of that
_GROUND = 0.45  # share of its pixels that are ground
_CONTRAST = 6  # sixteenths of the grey scale between the darkest and the brightest pixels
_BEYOND = 0.02  # share of pixels on the other side of the ground than the ink


def text_likeness(grey: MatLike) -> float:
    """Share, 0 to 1, of 16x16 blocks of a grey image [H, W] that look like text; 0 without a block.

    Such a block has many strong edges, most of its pixels in one narrow range of levels (the
    ground), and the rest on one side of it only (the ink). Foliage and gravel have the edges, but
    their commonest level lies between darker and brighter ones.
    """
    rows, columns = grey.shape[0] // _BLOCK, grey.shape[1] // _BLOCK
    if rows == 0 or columns == 0:
        return 0.0
    grey = grey[: rows * _BLOCK, : columns * _BLOCK]
    # Few blocks of a photograph have so many edges: only those are looked at closely.
    edged = _edges(grey, rows, columns) > _EDGES
    blocks = grey.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)[edged]
    return float(np.count_nonzero(_ink_on_ground(_levels(blocks))) / edged.size)


def _ink_on_ground(counts: MatLike) -> MatLike:
    """Of level counts [N, 16], which have one common level with ink on one side of it only [N]."""
    below = np.concatenate([np.zeros((len(counts), 1), counts.dtype), counts.cumsum(1)], axis=1)
    pairs = below[:, 2:] - below[:, :-2]  # of two neighbouring levels, which ringing fills both
    ground, every = pairs.argmax(axis=1), np.arange(len(counts))
    beyond = np.minimum(below[every, ground], _BLOCK**2 - below[every, ground + 2])
    present = counts >= 3
    brightest = 15 - np.argmax(present[:, ::-1], axis=1)
    contrast = brightest - np.argmax(present, axis=1)
    return np.asarray(
        (pairs[every, ground] > _GROUND * _BLOCK**2)
        & (contrast >= _CONTRAST)
        & (beyond <= _BEYOND * _BLOCK**2)
    )


def _edges(grey: MatLike, rows: int, columns: int) -> MatLike:
    """Share of pixels on an edge, a value a block [rows, columns]."""
    across = cv2.absdiff(grey[:, 1:], grey[:, :-1])
    down = cv2.absdiff(grey[1:], grey[:-1])
    across = cv2.copyMakeBorder(across, 0, 0, 0, 1, cv2.BORDER_CONSTANT)
    down = cv2.copyMakeBorder(down, 0, 1, 0, 0, cv2.BORDER_CONSTANT)
    _, strong = cv2.threshold(cv2.max(across, down), _STEP, 255, cv2.THRESH_BINARY)
    return cv2.resize(strong, (columns, rows), interpolation=cv2.INTER_AREA) / 255


def _levels(blocks: MatLike) -> MatLike:
    """How many pixels of each grey block [N, 16, 16] have each sixteenth of the scale [N, 16]."""
    first = np.arange(0, len(blocks) * 16, 16)[:, None, None]
    level = np.right_shift(blocks, 4) + first
    return np.bincount(level.ravel(), minlength=len(blocks) * 16).reshape(-1, 16)
