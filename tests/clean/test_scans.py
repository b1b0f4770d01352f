"""A small copy of a progressive JPEG needs no last bits, and nothing but those is left out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mmcore.clean.header import Refused, open_image
from mmcore.clean.images import normalize
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.scans import without_last_bits
from tests.clean.helpers import encode, picture

SIZE = (640, 480)


def _photo(seed: int = 1) -> Image.Image:
    """A picture with something in every frequency."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 4, (SIZE[1], SIZE[0], 3))
    return Image.fromarray((np.asarray(picture(seed, SIZE)) + noise).clip(0, 255).astype(np.uint8))


def _progressive(**options: Any) -> bytes:
    return encode(_photo(), "JPEG", quality=90, progressive=True, **options)


def _stored(data: bytes, **policy: int) -> npt.NDArray[np.int16]:
    image, header = open_image(data)
    return np.asarray(normalize(data, image, header, PixelPolicy(**policy)).pixels, np.int16)


def _scans(data: bytes) -> int:
    return data.count(b"\xff\xda")


def test_the_scans_of_the_last_bits_are_left_out_and_the_picture_stays() -> None:
    data = _progressive()
    short = without_last_bits(data)
    # libjpeg's ten scans end with three of last bits: of Cr, Cb and Y.
    assert (_scans(data), _scans(short)) == (10, 7)
    assert len(short) < 0.8 * len(data)
    whole, coarse = (np.asarray(Image.open(io.BytesIO(d)), np.int16) for d in (data, short))
    assert whole.shape == coarse.shape
    assert 0 < np.abs(whole - coarse).mean() < 6


def test_a_shrunk_progressive_jpeg_looks_like_its_baseline_twin() -> None:
    baseline = encode(_photo(), "JPEG", quality=90)
    small = _stored(_progressive(), shorter_side=200)
    assert small.shape == (200, 267, 3)
    assert np.abs(small - _stored(baseline, shorter_side=200)).mean() < 2


def test_a_progressive_jpeg_that_is_not_halved_keeps_every_bit() -> None:
    baseline = encode(_photo(), "JPEG", quality=90)
    assert (_stored(_progressive(), shorter_side=480) == _stored(baseline, shorter_side=480)).all()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.9, 0.999])
def test_a_progressive_jpeg_cut_short_is_truncated_in_whichever_scan(share: float) -> None:
    data = _progressive()
    cut = data[: int(len(data) * share)]
    assert without_last_bits(cut) is cut
    with pytest.raises(Refused) as refused:
        _stored(cut, shorter_side=100)
    assert refused.value.reason == "truncated"


def test_markers_inside_a_thumbnail_or_behind_the_end_are_not_scans() -> None:
    exif = Image.Exif()
    exif[0x010F] = "\xff\xda\xff\xd9" * 20
    data = _progressive(exif=exif, comment=b"\xff\xda\xff\xd9 \xff\xd9")
    short = without_last_bits(data + b"\xff\xda behind the end")
    assert Image.open(io.BytesIO(short)).info["comment"] == b"\xff\xda\xff\xd9 \xff\xd9"
    assert short == without_last_bits(data)
    # All that is left out is three scans of the picture.
    assert len(data) - len(short) == len(_progressive()) - len(without_last_bits(_progressive()))
    assert (_stored(data, shorter_side=200) == _stored(_progressive(), shorter_side=200)).all()


def test_other_jpegs_and_what_is_none_are_given_back_as_they_are() -> None:
    baseline = encode(_photo(), "JPEG")
    spectral = b"\xff\xd8\xff\xc2\0\x04\0\0\xff\xda\0\x06\1\1\0\xff"  # ends in the first scan
    for data in (
        baseline,
        spectral,
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xc2\0\0",
    ):
        assert without_last_bits(data) is data


def test_broken_bytes_never_raise_and_never_grow() -> None:
    data = _progressive()
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(2, len(data), 5):
            broken[at] = rng.integers(0, 256)
        for at in rng.integers(2, 700, 2):  # where the tables are
            broken[at] = 0xFF
        assert len(without_last_bits(bytes(broken))) <= len(data)
