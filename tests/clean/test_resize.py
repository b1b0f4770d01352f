"""Shrinking keeps the geometry of any shape and looks like a careful resize."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcore.clean.images import target_size
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.resize import resize
from tests.clean.helpers import picture

SHAPES = [(640, 480), (511, 383), (513, 777), (1027, 1029), (300, 257), (2049, 1537), (4001, 300)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ramp_stays_where_it_is(shape: tuple[int, int]) -> None:
    width, height = shape
    size = target_size(width, height, PixelPolicy())
    across = (np.arange(width) + 0.5) / width * 255
    down = (np.arange(height) + 0.5) / height * 255
    ramp = np.stack(np.broadcast_arrays(across[None], down[:, None], 128.0), -1)
    small = resize(np.rint(ramp).astype(np.uint8), size)
    assert small.shape == (size[1], size[0], 3)
    inside = small[2:-2, 2:-2].astype(float)
    wide = (np.arange(size[0]) + 0.5) / size[0] * 255
    high = (np.arange(size[1]) + 0.5) / size[1] * 255
    # A level is a 256th of the side: roundings cost two at most, a drift would add up.
    for error in (inside[..., 0] - wide[None, 2:-2], inside[..., 1] - high[2:-2, None]):
        assert np.abs(error).max() <= 2
        assert abs(error[:, -20:].mean()) < 1 and abs(error[-20:].mean()) < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_it_looks_like_the_slow_area_filter(shape: tuple[int, int]) -> None:
    large = np.asarray(picture(3, shape))
    size = target_size(*shape, PixelPolicy())
    slow = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    assert np.abs(resize(large, size).astype(np.int16) - slow.astype(np.int16)).mean() < 1.5


def test_grey_and_four_channels_and_single_pixels() -> None:
    grey = np.asarray(picture(1, (700, 500)).convert("L"))
    assert resize(grey, (358, 256)).shape == (256, 358)
    ink = np.asarray(picture(1, (700, 500)).convert("CMYK"))
    assert resize(ink, (358, 256)).shape == (256, 358, 4)
    assert resize(np.zeros((10, 20_000, 3), np.uint8), (1024, 1)).shape == (1, 1024, 3)
    assert resize(grey, (700, 500)) is grey


def test_flat_colour_stays_exact() -> None:
    flat = np.asarray(Image.new("RGB", (999, 601), (10, 200, 77)))
    assert (resize(flat, (425, 256)) == (10, 200, 77)).all()
