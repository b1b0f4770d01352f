"""Numbers of known images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mmcore.clean import attributes
from tests.clean.helpers import picture


def _minis(*images: Image.Image) -> np.ndarray:
    return attributes.miniatures([attributes.reduced(np.asarray(image)) for image in images])


def test_entropy_of_flat_two_level_and_uniform_histograms() -> None:
    flat = np.eye(256, dtype=np.int64)[0] * 100
    two = np.zeros(256, np.int64)
    two[[3, 200]] = 50
    uniform = np.ones(256, np.int64)
    assert attributes.entropy(np.stack([flat, two, uniform])).tolist() == pytest.approx([0, 1, 8])


def test_deviation_is_that_of_the_liveliest_channel() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    pixels[..., 1] = 7
    expected = max(pixels[..., c].std() for c in range(3))
    assert attributes.deviation(pixels) == pytest.approx(expected, rel=1e-4)


def test_blur_lowers_sharpness() -> None:
    sharp = picture(2, (200, 200)).filter(ImageFilter.FIND_EDGES)
    soft = sharp.filter(ImageFilter.GaussianBlur(3))
    values = [attributes.sharpness(np.asarray(image.convert("L"))) for image in (sharp, soft)]
    assert values[0] > 4 * values[1] > 0
    assert attributes.sharpness(np.zeros((2, 9), np.uint8)) == 0


def test_a_histogram_counts_levels() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (31, 47), dtype=np.uint8)
    assert (attributes.histogram(pixels) == np.bincount(pixels.ravel(), minlength=256)).all()


@pytest.mark.parametrize("size", [(64, 64), (300, 256), (1, 5000), (17, 9)])
def test_a_miniature_is_what_a_triangle_filter_makes_of_any_shape(size: tuple[int, int]) -> None:
    image = picture(8, size)
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.int16)
    assert np.abs(_minis(image)[0].astype(np.int16) - expected).mean() < 3


def test_saturation_of_grey_and_red() -> None:
    minis = _minis(Image.new("RGB", (40, 40), "#777777"), Image.new("RGB", (40, 40), "red"))
    assert attributes.saturation(minis).tolist() == [0, 1]


def test_thumbs_are_means_of_the_picture() -> None:
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (32, 0, 64, 64))
    thumb = attributes.thumbs(_minis(image))[0]
    assert thumb.shape == (16, 16, 3)
    assert (thumb[:, :7] == 0).all() and (thumb[:, 9:] == 255).all()


def test_the_hash_is_the_sign_pattern_of_the_lowest_dct_frequencies() -> None:
    # Against a DCT written down plainly, one coefficient at a time.
    mini = _minis(picture(3))
    grey = mini[0].astype(float) @ [0.299, 0.587, 0.114]
    n = np.arange(32)

    def coefficient(row: int, column: int) -> float:
        rows = np.cos(np.pi * row * (2 * n + 1) / 64) * (0.5**0.5 if row == 0 else 1)
        columns = np.cos(np.pi * column * (2 * n + 1) / 64) * (0.5**0.5 if column == 0 else 1)
        return float(rows @ grey @ columns)

    order = sorted(
        ((r, c) for r in range(32) for c in range(32) if r + c), key=lambda p: (sum(p), p)
    )[:64]
    values = np.array([coefficient(*p) for p in order])
    expected = int("".join("1" if v > np.median(values) else "0" for v in values), 2)
    assert int(attributes.phash(mini)[0]) == expected


def test_half_the_bits_of_a_hash_are_set_and_a_batch_is_its_images() -> None:
    minis = _minis(*(picture(seed) for seed in range(5)))
    together = attributes.phash(minis)
    assert together.tolist() == [int(attributes.phash(m[None])[0]) for m in minis]
    assert np.bitwise_count(together).tolist() == [32] * 5
    assert len(attributes.phash(minis[:0])) == 0
