"""WebP is shrunk while it is decoded, and looks like a careful resize of all its pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmcore.clean.libwebp import available, decode_scaled
from tests.clean.helpers import encode, picture

SIZE = (341, 256)


def test_the_libwebp_of_the_pinned_pillow_is_one_that_we_know() -> None:
    assert available()


@pytest.mark.parametrize("lossless", [False, True])
def test_a_shrunk_webp_looks_like_a_careful_resize(lossless: bool) -> None:
    data = encode(picture(2, (800, 600)), "WEBP", quality=95, lossless=lossless)
    found = decode_scaled(data, SIZE, alpha=False)
    careful = Image.open(io.BytesIO(data)).resize(SIZE, Image.Resampling.BOX)
    assert found is not None and found.shape == (256, 341, 3)
    assert np.abs(found.astype(np.int16) - np.asarray(careful, np.int16)).mean() < 2


def test_alpha_comes_multiplied() -> None:
    image = picture(3, (800, 600), "RGBA")
    image.putalpha(Image.linear_gradient("L").resize((800, 600)))
    data = encode(image, "WEBP", quality=95)
    found = decode_scaled(data, SIZE, alpha=True)
    assert found is not None and found.shape == (256, 341, 4)
    careful = Image.open(io.BytesIO(data)).convert("RGBa").resize(SIZE, Image.Resampling.BOX)
    assert np.abs(found.astype(np.int16) - np.asarray(careful, np.int16)).mean() < 2
    assert (found[..., :3] <= found[..., 3:].astype(np.int16) + 1).all()


def test_broken_bytes_give_nothing_instead_of_a_grey_picture() -> None:
    data = encode(picture(4, (400, 300)), "WEBP")
    assert decode_scaled(data, (100, 75), alpha=False) is not None
    for broken in (b"", b"RIFF", data[:20], data[: len(data) // 2], data[:-40]):
        assert decode_scaled(broken, (100, 75), alpha=False) is None
