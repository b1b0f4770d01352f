"""Image bytes to an array, no larger than it has to be, by the fastest decoder that can.

Plain JPEG goes to libjpeg-turbo, which decodes straight to 1/2, 1/4 or 1/8 of the size, and still
WebP to libwebp; whatever they will not take, and every other format, goes to Pillow, whose word on
broken files is final.
"""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image

from mmcore.clean.colour import interpolable, on_background
from mmcore.clean.header import Header

# A resize needs some pixels to spare: where a fraction only just covers the target, the result is
# visibly softer than a resize of all pixels.
_SPARE = 1.1
_SCALES = (8, 4, 2)
_STRIP = 512


Rgb = tuple[int, int, int]


def decode(
    data: bytes,
    image: Image.Image,
    header: Header,
    size: tuple[int, int],
    background: Rgb = (255, 255, 255),
) -> tuple[MatLike, str]:
    """Decode an opened image at full size, or at a fraction that still has more than 1.1 times
    the `size` (width, height) wanted. Alpha is laid on `background`.

    Returns uint8 pixels and their mode: `L` [H, W], `CMYK` [H, W, 4], or `RGB`, `LAB` or `YCbCr`
    [H, W, 3]. Raises whatever the decoder does.
    """
    pixels = None
    if header.format == "JPEG" and image.mode in ("L", "RGB"):
        pixels = _jpeg(data, image.mode, header, size)
    elif header.format == "WEBP" and not header.animated:
        pixels = _webp(data, image.mode, background)
    if pixels is not None:
        return pixels, "L" if pixels.ndim == 2 else "RGB"
    image.draft(None, (int(size[0] * _SPARE), int(size[1] * _SPARE)))
    image.load()
    image = interpolable(image)
    if image.mode == "RGBA":
        return _flattened(image, background), "RGB"
    return np.asarray(image), image.mode


def _jpeg(data: bytes, mode: str, header: Header, size: tuple[int, int]) -> MatLike | None:
    """[H, W, 3], or [H, W] of a grey JPEG; None where libjpeg has as much as a warning."""
    width, height = header.width, header.height
    scale = next(
        (s for s in _SCALES if width > size[0] * _SPARE * s and height > size[1] * _SPARE * s), 1
    )
    try:
        pixels: MatLike = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB" if mode == "RGB" else "GRAY",
            min_height=height // scale,
            min_width=width // scale,
            min_factor=1,
            # Chroma is interpolated by the resize that follows; without one it has to be here.
            fastupsample=width > size[0] * _SPARE * scale,
            strict=True,
        )
    except ValueError:
        return None
    return pixels if mode == "RGB" else pixels[..., 0]


def _flattened(image: Image.Image, background: Rgb) -> MatLike:
    """RGBA on a background, a strip at a time: a large image is not held a third time."""
    flat = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        flat[top:bottom] = on_background(strip, background)
    return flat


def _webp(data: bytes, mode: str, background: Rgb) -> MatLike | None:
    """[H, W, 3], alpha on a background, or None where libwebp could not."""
    alpha = mode == "RGBA"
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if alpha else flags)
    if pixels is None or not alpha:
        return pixels
    return on_background(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA), background)
