"""Image bytes in, one plain sRGB JPEG or WebP out, or a reason why not.

The header is read first, so an image that declares too many pixels is refused before a single one
is decoded. Everything here works on one image and knows no threshold but the pixel budget.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image

from mmcore.clean.colour import on_background, srgb
from mmcore.clean.decode import decode
from mmcore.clean.detect import Detector, Found
from mmcore.clean.faces import blur
from mmcore.clean.header import Header, Refused, refusal
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.resize import resize
from mmcore.clean.svg import Drawing

_EXIF_ORIENTATION = 0x0112


cv2.setNumThreads(1)  # the tasks are the parallelism


@dataclass(frozen=True)
class Normalized:
    """An image as it is stored: `width` and `height` are of the original after EXIF orientation."""

    width: int
    height: int
    pixels: MatLike
    """sRGB [H, W, 3], resized by policy, faces blurred where the policy asks for it."""
    encoded: bytes
    found: Found | None = None
    """What the detector saw, where one was given."""


def normalize(
    data: bytes,
    image: Image.Image | Drawing,
    header: Header,
    policy: PixelPolicy,
    detector: Detector | None = None,
) -> Normalized:
    """Decode, resize, convert and encode an opened image. Raises Refused."""
    pixels = header.width * header.height
    if pixels > policy.max_pixels:
        raise Refused("too_many_pixels", f"{header.width}x{header.height} pixels")
    if pixels == 0:
        raise Refused("decode_error", "the image has no pixels")
    size = target_size(header.width, header.height, policy)
    try:
        shown, turned = _shown(data, image, header, size, policy)
        found = detector.look(shown) if detector else None
        if found and policy.blur_faces:
            shown = blur(shown, found.faces)
        width, height = header.width, header.height
        return Normalized(
            height if turned else width,
            width if turned else height,
            shown,
            encode(shown, policy),
            found,
        )
    except Exception as error:
        raise refusal(None, header.format, error) from error


def _shown(
    data: bytes,
    image: Image.Image | Drawing,
    header: Header,
    size: tuple[int, int],
    policy: PixelPolicy,
) -> tuple[MatLike, bool]:
    """sRGB [H, W, 3] of `size` as a browser shows it, and whether its sides were swapped."""
    if isinstance(image, Drawing):
        return image.draw(size, policy.background), False
    decoded, mode = decode(data, image, header, size)
    small = resize(decoded, size)
    if mode == "RGBa":
        small, mode = on_background(small, policy.background_rgb), "RGB"
    small = srgb(small, mode, image.info.get("icc_profile"))
    orientation = _orientation(image)
    return _turn(small, orientation), orientation >= 5


def target_size(width: int, height: int, policy: PixelPolicy) -> tuple[int, int]:
    """Stored size of an image: both sides within policy, aspect kept; enlarged only if asked."""
    scale = min(policy.shorter_side / min(width, height), policy.longer_side / max(width, height))
    if not policy.enlarge:
        scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode(pixels: MatLike, policy: PixelPolicy) -> bytes:
    """Baseline 4:2:0 JPEG or lossy WebP without metadata of sRGB [H, W, 3]: the same pixels give
    the same bytes."""
    pixels = np.ascontiguousarray(pixels)
    if policy.store_as == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, policy.quality]
        done, webp = cv2.imencode(".webp", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
        if not done:
            raise ValueError("libwebp could not encode the image")
        return webp.tobytes()
    jpeg: bytes = simplejpeg.encode_jpeg(
        pixels, quality=policy.quality, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg


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
