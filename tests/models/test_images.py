"""Decoding: the quick path gives the very pixels of Pillow and leaves what is odd to it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmcore.errors import UserError
from mmcore.models.images import decode_image


def photograph(width: int, height: int, mode: str = "RGB", **save: Any) -> bytes:
    noise = np.random.default_rng(width).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    image = Image.fromarray(noise.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    out = io.BytesIO()
    image.convert(mode).save(out, "JPEG", **save)
    return out.getvalue()


def by_pillow(data: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (size * 2, size * 2))
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(upright.resize((size, size), Image.Resampling.BOX, reducing_gap=None))


ROTATED = Image.Exif()
ROTATED[0x0112] = 6


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((224, 224), {}),
        ((641, 479), {"progressive": True}),
        ((500, 333), {"mode": "L"}),
        ((257, 999), {"subsampling": 0}),
        ((130, 129), {"subsampling": 1}),
        ((20, 30), {}),
        ((1601, 1201), {}),
        ((300, 200), {"mode": "CMYK"}),
        ((300, 200), {"exif": ROTATED}),
    ],
)
def test_a_jpeg_decodes_to_the_pixels_of_pillow(
    shape: tuple[int, int], options: dict[str, Any], size: int
) -> None:
    data = photograph(*shape, **options)
    np.testing.assert_array_equal(decode_image(data, size), by_pillow(data, size))


def test_damaged_pictures_are_refused() -> None:
    data = photograph(300, 200)
    for bad in (b"", data[:50], data[: len(data) // 2], b"\xff\xd8" + bytes(100)):
        with pytest.raises(UserError, match="not a picture"):
            decode_image(bad, 64)
