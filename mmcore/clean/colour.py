"""Any pixel mode to sRGB RGB: palettes, grey, 16 bit, CMYK, alpha, ICC profiles."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_INTERPOLABLE = frozenset({"L", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"})
_BACKGROUND = (255, 255, 255)


def interpolable(image: Image.Image) -> Image.Image:
    """The image in a mode that may be resized: palettes, bits and wide integers are expanded."""
    if image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in _INTERPOLABLE:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB, alpha laid on white. A profile that does not fit or is broken is left out."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    elif image.mode == "LAB":
        image = _from_lab(image)
    if image.mode == "RGBA":
        shown = Image.new("RGB", image.size, _BACKGROUND)
        shown.paste(image, mask=image.getchannel("A"))
        return shown
    return image if image.mode == "RGB" else image.convert("RGB")


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
        if mode in ("RGB", "RGBA") and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        out = "RGBA" if mode == "RGBA" else "RGB"
        return ImageCms.buildTransform(source, _srgb_profile(), mode, out)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # odd profiles are common, and browsers ignore them as well


def _from_lab(image: Image.Image) -> Image.Image:
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(lab, _srgb_profile(), "LAB", "RGB")
    return ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=1)
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
