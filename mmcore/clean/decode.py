"""Image bytes to an array, no larger than it has to be, by the fastest decoder that can.

Plain JPEG goes to libjpeg-turbo, which decodes straight to 1/2, 1/4 or 1/8 of the size, still WebP
and plain PNG to OpenCV. Whatever they will not take, and every other format, goes to Pillow, whose
word on broken files is final.
"""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image

from mmcore.clean.colour import interpolable
from mmcore.clean.header import Header
from mmcore.clean.png import is_plain
from mmcore.clean.scans import without_last_bits

_SCALES = (8, 4, 2)
_STRIP = 64  # rows that stay in the processor's cache


def decode(
    data: bytes, image: Image.Image, header: Header, size: tuple[int, int]
) -> tuple[MatLike, str]:
    """Decode an opened image at full size, or at one that is smaller but not below the `size`
    (width, height) wanted.

    Returns uint8 pixels and their mode: `L` [H, W], `RGB`, `LAB` or `YCbCr` [H, W, 3], `CMYK`
    [H, W, 4], or `RGBa` [H, W, 4], whose colours are multiplied by alpha. Raises whatever the
    decoder does.
    """
    mode = image.mode
    pixels = None
    if header.format == "JPEG" and mode in ("L", "RGB"):
        pixels = _jpeg(data, mode, header, size)
    elif _suits_opencv(data, mode, header):
        pixels = _opencv(data, mode)
    if pixels is not None:
        return pixels, "RGBa" if mode == "RGBA" else mode
    image.draft(None, size)
    image.load()
    image = interpolable(image)
    if image.mode == "RGBA":
        return _premultiplied(image), "RGBa"
    return np.asarray(image), image.mode


def _suits_opencv(data: bytes, mode: str, header: Header) -> bool:
    if header.format == "WEBP":
        return not header.animated
    return header.format == "PNG" and is_plain(data, mode)


def _jpeg(data: bytes, mode: str, header: Header, size: tuple[int, int]) -> MatLike | None:
    """[H, W, 3], or [H, W] of a grey JPEG; None where libjpeg has as much as a warning."""
    width, height = header.width, header.height
    scale = next((s for s in _SCALES if width >= size[0] * s and height >= size[1] * s), 1)
    try:
        pixels: MatLike = simplejpeg.decode_jpeg(
            without_last_bits(data) if scale > 1 else data,
            colorspace="RGB" if mode == "RGB" else "GRAY",
            min_height=height // scale,
            min_width=width // scale,
            min_factor=1,
            # Chroma is interpolated by the resize that follows; without one it has to be here.
            fastupsample=width > size[0] * scale,
            strict=True,
        )
    except ValueError:
        return None
    return pixels if mode == "RGB" else pixels[..., 0]


def _opencv(data: bytes, mode: str) -> MatLike | None:
    """[H, W], [H, W, 3] or, multiplied by alpha, [H, W, 4] in `mode` L, RGB or RGBA; None where
    OpenCV, which is strict, could not."""
    flags = {"L": cv2.IMREAD_GRAYSCALE, "RGB": cv2.IMREAD_COLOR_RGB}.get(mode)
    flags = cv2.IMREAD_UNCHANGED if flags is None else flags | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or mode != "RGBA":
        return pixels
    for top in range(0, len(pixels), _STRIP):
        strip = pixels[top : top + _STRIP]
        strip[:] = cv2.cvtColor(cv2.cvtColor(strip, cv2.COLOR_BGRA2RGBA), cv2.COLOR_RGBA2mRGBA)
    return pixels


def _premultiplied(image: Image.Image) -> MatLike:
    """RGBA multiplied by alpha, a strip at a time: a large image is not held a third time."""
    made = np.empty((image.height, image.width, 4), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        made[top:bottom] = cv2.cvtColor(strip, cv2.COLOR_RGBA2mRGBA)
    return made
