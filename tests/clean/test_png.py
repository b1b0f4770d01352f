"""Only a PNG that every decoder reads alike takes the fast way; the rest is Pillow's."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from mmcore.clean.png import is_plain
from tests.clean.helpers import encode, picture


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with(png: bytes, chunk: bytes) -> bytes:
    """A chunk behind the header of a PNG."""
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_eight_bits_with_the_usual_notes_are_plain(mode: str) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "somebody")
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(picture(1, mode=mode), "PNG", pnginfo=notes, exif=exif, dpi=(72, 72))
    assert is_plain(data, mode)
    assert not is_plain(data, "LA")


def test_palettes_colour_keys_deep_and_interlaced_pictures_are_not() -> None:
    image = picture(1)
    assert not is_plain(encode(image.convert("P"), "PNG"), "P")
    assert not is_plain(encode(image, "PNG", transparency=(0, 0, 0)), "RGB")
    assert not is_plain(encode(image.convert("I;16"), "PNG"), "I;16")
    plain = encode(image, "PNG")
    for at, value in ((24, 16), (25, 6), (28, 1)):
        assert not is_plain(plain[:at] + bytes([value]) + plain[at + 1 :], "RGB")


def test_animations_even_broken_ones_are_not() -> None:
    frames = [picture(seed) for seed in (1, 2)]
    moving = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert not is_plain(moving, "RGB")
    # OpenCV 5.0.0 dies of a file with such a chunk that Pillow takes for a still picture.
    broken = _with(encode(frames[0], "PNG"), _chunk(b"acTL", struct.pack(">II", (1 << 31) + 1, 0)))
    assert not Image.open(io.BytesIO(broken)).is_animated
    assert not is_plain(broken, "RGB")


def test_chunks_that_are_unknown_broken_or_missing_are_not() -> None:
    data = encode(picture(1), "PNG")
    assert is_plain(data, "RGB")
    assert not is_plain(_with(data, _chunk(b"vpAg", b"12345")), "RGB")
    assert not is_plain(_with(data, b"\xff\xff\xff\xfftEXt"), "RGB")
    assert not is_plain(data + b"more", "RGB")
    assert not any(is_plain(data[:length], "RGB") for length in range(len(data)))
