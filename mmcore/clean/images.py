"""Image bytes in, one plain sRGB JPEG out, or a reason why not.

The header is read first, so an image that declares too many pixels is refused before a single one
is decoded. Everything here works on one image and knows no threshold but the pixel budget.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmcore.clean.colour import srgb
from mmcore.clean.decode import decode
from mmcore.clean.header import Header, Refused, refusal
from mmcore.clean.resize import resize

_EXIF_ORIENTATION = 0x0112


cv2.setNumThreads(1)  # the tasks are the parallelism


class PixelPolicy(BaseModel):
    """How pixels are read and stored. A change here decodes every image again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shorter_side: int = Field(
        default=256,
        ge=16,
        le=4096,
        description="Stored images are shrunk to this shorter side in pixels.",
    )
    longer_side: int = Field(
        default=1024,
        ge=16,
        le=16384,
        description="Nor is a stored image longer than this, in pixels.",
    )
    quality: int = Field(
        default=90, ge=50, le=100, description="JPEG quality of the stored images."
    )
    max_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="An image whose header declares more pixels is refused without decoding it.",
    )

    @model_validator(mode="after")
    def _longer_is_longer(self) -> Self:
        if self.longer_side < self.shorter_side:
            raise ValueError("longer_side must not be smaller than shorter_side")
        return self


@dataclass(frozen=True)
class Normalized:
    """An image as it is stored: `width` and `height` are of the original after EXIF orientation."""

    width: int
    height: int
    pixels: MatLike
    """sRGB [H, W, 3], resized by policy."""
    jpeg: bytes


def normalize(data: bytes, image: Image.Image, header: Header, policy: PixelPolicy) -> Normalized:
    """Decode, resize, convert and encode an opened image. Raises Refused."""
    pixels = header.width * header.height
    if pixels > policy.max_pixels:
        raise Refused("too_many_pixels", f"{header.width}x{header.height} pixels")
    if pixels == 0:
        raise Refused("decode_error", "the image has no pixels")
    size = target_size(header.width, header.height, policy)
    try:
        decoded, mode = decode(data, image, header, size)
        small = srgb(resize(decoded, size), mode, image.info.get("icc_profile"))
        orientation = _orientation(image)
        shown = _turn(small, orientation)
        turned = orientation >= 5
        width, height = header.width, header.height
        return Normalized(
            height if turned else width,
            width if turned else height,
            shown,
            encode_jpeg(shown, policy.quality),
        )
    except Exception as error:
        raise refusal(None, header.format, error) from error


def target_size(width: int, height: int, policy: PixelPolicy) -> tuple[int, int]:
    """Stored size of an image: both sides within policy, aspect kept, never enlarged."""
    scale = min(
        1.0, policy.shorter_side / min(width, height), policy.longer_side / max(width, height)
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode_jpeg(pixels: MatLike, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, no metadata, of [H, W, 3]: the same pixels give the same bytes."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return encoded


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; broken EXIF counts as upright, as browsers treat it."""
    if "exif" not in image.info and "xmp" not in image.info and image.format != "TIFF":
        return 1
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(pixels: MatLike, orientation: int) -> MatLike:
    """Undo an EXIF orientation: 2 to 4 mirror or turn round, 5 to 8 also swap the sides."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]
