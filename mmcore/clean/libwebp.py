"""WebP decoded to the size that is wanted: libwebp shrinks by area while it decodes, row by row.

No Python package offers that, so this calls the library that Pillow is linked with, through the
structures of its header `webp/decode.h`. The library checks that they are of its version.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np
from cv2.typing import MatLike
from PIL import features

_ABI = 0x0209  # only the first byte has to be the library's
_RGB, _RGBA_PREMULTIPLIED = 0, 7  # MODE_RGB, MODE_rgbA
_OK = 0


def _ints(*names: str) -> list[tuple[str, type[ctypes.c_int]]]:
    return [(name, ctypes.c_int) for name in names]


class _Features(ctypes.Structure):
    _fields_ = [
        *_ints("width", "height", "has_alpha", "has_animation", "format"),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Pixels(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("stride", ctypes.c_int), ("size", ctypes.c_size_t)]


class _Planes(ctypes.Structure):
    """WebPYUVABuffer: not used, but it gives the union its size."""

    _fields_ = [
        ("planes", ctypes.c_void_p * 4),
        ("strides", ctypes.c_int * 4),
        ("sizes", ctypes.c_size_t * 4),
    ]


class _PixelsOrPlanes(ctypes.Union):
    _fields_ = [("pixels", _Pixels), ("planes", _Planes)]


class _Buffer(ctypes.Structure):
    _fields_ = [
        *_ints("colorspace", "width", "height", "is_external_memory"),
        ("memory", _PixelsOrPlanes),
        ("pad", ctypes.c_uint32 * 4),
        ("private_memory", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        *_ints("bypass_filtering", "no_fancy_upsampling"),
        *_ints("use_cropping", "crop_left", "crop_top", "crop_width", "crop_height"),
        *_ints("use_scaling", "scaled_width", "scaled_height"),
        *_ints("use_threads", "dithering_strength", "flip", "alpha_dithering_strength"),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Config(ctypes.Structure):
    _fields_ = [("input", _Features), ("output", _Buffer), ("options", _Options)]


def available() -> bool:
    """Whether Pillow came with a libwebp that this file knows."""
    return _library() is not None


def decode_scaled(webp: bytes, size: tuple[int, int], alpha: bool) -> MatLike | None:
    """uint8 [H, W, 3] RGB, or [H, W, 4] RGBA multiplied by alpha, of a still WebP at `size`
    (width, height), which is not above its own. None where libwebp could not."""
    library = _library()
    config = _Config()
    if library is None or not library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI):
        return None
    pixels = np.empty((size[1], size[0], 4 if alpha else 3), np.uint8)
    options, output = config.options, config.output
    options.use_scaling, (options.scaled_width, options.scaled_height) = 1, size
    output.colorspace = _RGBA_PREMULTIPLIED if alpha else _RGB
    output.is_external_memory = 1
    output.memory.pixels = _Pixels(pixels.ctypes.data, pixels.strides[0], pixels.nbytes)
    status = library.WebPDecode(webp, len(webp), ctypes.byref(config))
    return pixels if status == _OK else None


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The functions that Pillow's own extension was linked with, or None where they are hidden."""
    if not features.check("webp"):
        return None
    from PIL import _webp

    try:
        library = ctypes.CDLL(_webp.__file__)
        init, decode = library.WebPInitDecoderConfigInternal, library.WebPDecode
    except (AttributeError, OSError):
        return None
    init.argtypes = [ctypes.c_void_p, ctypes.c_int]
    decode.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    return library if init(ctypes.byref(_Config()), _ABI) else None
