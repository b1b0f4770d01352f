"""Faces made unrecognisable before an image is stored."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

_MARGIN = 0.25  # of the box on every side: hair and chin recognise a person, too
_CELLS = 6


def blur(pixels: MatLike, faces: npt.NDArray[np.float32]) -> MatLike:
    """sRGB [H, W, 3] with each of `faces` [N, 4] (left, top, width, height) reduced to 6x6 soft
    cells. What is averaged away cannot be sharpened back, as a Gaussian blur partly can."""
    if len(faces) == 0:
        return pixels
    changed = np.ascontiguousarray(pixels).copy()
    height, width = changed.shape[:2]
    for left, top, wide, high in faces:
        x0, y0 = max(0, int(left - _MARGIN * wide)), max(0, int(top - _MARGIN * high))
        x1 = min(width, int(np.ceil(left + wide * (1 + _MARGIN))))
        y1 = min(height, int(np.ceil(top + high * (1 + _MARGIN))))
        if x1 <= x0 or y1 <= y0:
            continue
        face = changed[y0:y1, x0:x1]
        cells = cv2.resize(face, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
        changed[y0:y1, x0:x1] = cv2.resize(
            cells, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR
        )
    return changed
