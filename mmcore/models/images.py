"""Encoded pictures to the fixed-size RGB arrays that models read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mmcore.errors import UserError

_DECODE_THREADS = 8
_HEADERS = 1 << 16  # Exif stands before the picture
_MAX_PIXELS = 1 << 26  # beyond it Pillow decides whether this is a decompression bomb


def decode_image(data: bytes, size: int) -> NDArray[np.uint8]:
    """One encoded picture -> uint8 RGB [size, size, 3].

    The aspect ratio is given up: cropping or padding would cost positions or pixels, and a
    squashed left stays left. Transparency is laid on white. UserError if it cannot be decoded.
    """
    pixels = _plain_jpeg(data, size)
    if pixels is not None:
        return pixels
    try:
        with Image.open(io.BytesIO(data)) as image:
            # the decoder shrinks by 1/2, 1/4, 1/8 while reading: several times faster
            image.draft("RGB", (size * 2, size * 2))
            upright = ImageOps.exif_transpose(image)
            small = _rgb(upright).resize((size, size), Image.Resampling.BOX, reducing_gap=None)
            return np.asarray(small)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"This is not a picture that can be decoded: {error}.") from None


def decode_images(images: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """Encoded pictures -> uint8 [N, size, size, 3]; UserError names the first that fails."""
    out = np.empty((len(images), size, size, 3), np.uint8)

    def one(number: int) -> None:
        try:
            out[number] = decode_image(images[number], size)
        except UserError as error:
            raise UserError(f"Image {number}: {error}") from None

    if len(images) <= 2:
        for number in range(len(images)):
            one(number)
        return out
    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        list(pool.map(one, range(len(images))))
    return out


def _plain_jpeg(data: bytes, size: int) -> NDArray[np.uint8] | None:
    """A JPEG without surprises, by libjpeg-turbo alone: the pixels that Pillow gives, in half the
    time. None where Pillow has to look: another format, another orientation, damage."""
    if data[:2] != b"\xff\xd8" or b"Exif\0" in data[:_HEADERS]:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "Gray") or height * width > _MAX_PIXELS:
            return None
        # what Image.draft does: the largest of 1/1 ... 1/8 that leaves twice the size
        room = min(height, width) // (2 * size)
        by = 8 if room >= 8 else 4 if room >= 4 else 2 if room >= 2 else 1
        shape = {"min_height": -(-height // by), "min_width": -(-width // by)}
        pixels = simplejpeg.decode_jpeg(data, "RGB", **shape)
    except ValueError:
        return None
    if pixels.shape[:2] == (size, size):
        return pixels
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(small)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
