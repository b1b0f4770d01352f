"""Text is told from photographs by its strokes on a flat ground."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mmcore.clean.textlike import text_likeness
from tests.clean.helpers import picture

WORDS = "the quick brown fox jumps over the lazy dog and some more words of a page of text " * 40


def _page(size: int, ink: int, ground: int) -> np.ndarray:
    """A page of text of a font size, shrunk to 256 as the stored image is."""
    page = Image.new("L", (600, 600), ground)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    per_line = int(560 / (size * 0.5))
    for row in range(int(560 / (size * 1.4))):
        line = WORDS[row * per_line : (row + 1) * per_line]
        draw.text((20, 20 + row * size * 1.4), line, font=font, fill=ink)
    return np.asarray(page.resize((256, 256), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", [16, 20, 28])
@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (40, 240), (220, 20)])
def test_a_page_of_text_is_text(size: int, ink: int, ground: int) -> None:
    assert text_likeness(_page(size, ink, ground)) > 0.35


def test_soft_pictures_noise_and_foliage_are_not() -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (256, 256), dtype=np.uint8))
    leaves = noise.filter(ImageFilter.GaussianBlur(1.5)).point(lambda v: (v - 128) * 3 + 128)
    for image in (picture(1, (256, 256)).convert("L"), noise, leaves):
        assert text_likeness(np.asarray(image)) < 0.1


def test_a_drawing_of_a_few_lines_has_a_little() -> None:
    drawing = Image.new("L", (256, 256), 255)
    draw = ImageDraw.Draw(drawing)
    draw.rectangle((40, 40, 200, 200), outline=0, width=3)
    draw.ellipse((80, 80, 160, 160), outline=0, width=3)
    assert text_likeness(np.asarray(drawing)) < 0.2


def test_tiny_and_flat_images_have_none() -> None:
    assert text_likeness(np.zeros((15, 400), np.uint8)) == 0
    assert text_likeness(np.full((64, 64), 9, np.uint8)) == 0
