"""Resizing an array: shrunk by area, as sharp as Lanczos, by a few vectorised passes."""

from __future__ import annotations

import cv2
from cv2.typing import MatLike


def resize(pixels: MatLike, size: tuple[int, int]) -> MatLike:
    """Bring [H, W] or [H, W, C] to `size` (width, height): both sides shrunk or both enlarged.

    OpenCV's area filter takes 4 ns a pixel and channel for fractions, and a tenth of that for means
    of 2x2. So the image is halved while it can be, brought to exactly twice the size by a cubic
    filter, which enlarges by less than 2, and halved again.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if size[0] > width or size[1] > height:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    # What the halves stand for, in pixels: not whole numbers where a side was odd.
    shown = (float(width), float(height))
    while pixels.shape[1] >= 2 * size[0] and pixels.shape[0] >= 2 * size[1]:
        pixels = _halve(pixels)
        shown = (shown[0] / 2, shown[1] / 2)
    if pixels.shape[1::-1] == size and shown == size:
        return pixels
    wide, high = 2 * size[0], 2 * size[1]
    twice = cv2.resize(
        pixels, None, fx=wide / shown[0], fy=high / shown[1], interpolation=cv2.INTER_CUBIC
    )
    return cv2.resize(twice[:high, :wide], size, interpolation=cv2.INTER_AREA)


def _halve(pixels: MatLike) -> MatLike:
    """Means of 2x2; the last row or column of an odd side is repeated to fill its half pixel."""
    height, width = pixels.shape[:2]
    half = (width // 2, height // 2)
    means = cv2.resize(pixels[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    if height % 2 == 0 and width % 2 == 0:
        return means
    return cv2.copyMakeBorder(means, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
