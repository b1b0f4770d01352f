"""Any pixel mode to sRGB: palettes, grey, 16 bit, CMYK, alpha, ICC profiles."""

from __future__ import annotations

import io
from functools import lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import Image, ImageCms

_INTERPOLABLE = frozenset({"L", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"})


def interpolable(image: Image.Image) -> Image.Image:
    """The image in a mode that may be resized: palettes, bits and wide integers are expanded."""
    if image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in _INTERPOLABLE:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def on_background(premultiplied: MatLike, background: tuple[int, int, int]) -> MatLike:
    """RGBA [H, W, 4], its colours multiplied by alpha, laid on one colour: [H, W, 3]."""
    rest = cv2.bitwise_not(cv2.extractChannel(premultiplied, 3))
    shares = [rest if c == 255 else cv2.convertScaleAbs(rest, alpha=c / 255) for c in background]
    return cv2.add(cv2.cvtColor(premultiplied, cv2.COLOR_RGBA2RGB), cv2.merge(shares))


def srgb(pixels: MatLike, mode: str, profile: bytes | None) -> MatLike:
    """sRGB [H, W, 3] of pixels in one of Pillow's modes `L`, `RGB`, `CMYK`, `LAB`, `YCbCr`.

    A profile that does not fit or is broken is left out.
    """
    transform = _transform(profile, mode) if profile else None
    if transform is None and mode == "L":
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if transform is None and mode == "RGB":
        return pixels
    height, width = pixels.shape[:2]
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    elif mode == "LAB":
        image = _from_lab(image)
    return np.asarray(image.convert("RGB"))


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floats to 8 bits; 16-bit values keep their high byte."""
    values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (values.dtype.kind in "iu" and low >= 0 and high <= 65535):
        grey = values >> 8 if high > 255 or image.mode.startswith("I;16") else values
    else:  # no scale is known: stretch to what is there
        grey = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(grey.astype(np.uint8))


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """A transform to sRGB, or None where the profile is sRGB already or cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, _srgb_profile(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # odd profiles are common, and browsers ignore them as well


def _from_lab(image: Image.Image) -> Image.Image:
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(lab, _srgb_profile(), "LAB", "RGB")
    return ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=1)
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
