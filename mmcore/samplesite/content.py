"""The bytes and the content type that each picture URL answers."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache
from hashlib import sha256

from PIL import Image, ImageDraw

from mmcore.samplesite.config import rng
from mmcore.samplesite.drawing import PAINT, encode, paint, render
from mmcore.samplesite.plan import Picture, Site

BOMB_EDGE = 30_000  # pixels; 900 megapixels in about 110 kB
_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """A valid one-bit PNG of 30,000 x 30,000 pixels, all of them black."""
    header = struct.pack(">IIBBBBB", BOMB_EDGE, BOMB_EDGE, 1, 0, 0, 0, 0)
    rows = bytes((1 + BOMB_EDGE // 8) * 1000)  # a filter byte and the pixels of each row
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # a fully flushed piece stands on its own, so it is packed once and repeated
    piece = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)
    repeats = BOMB_EDGE // 1000
    check = (len(rows) * repeats % 65521) << 16 | 1  # Adler-32 of zeros
    data = b"\x78\xda" + piece * repeats + b"\x03\x00" + struct.pack(">I", check)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _icon(seed: int, variant: int) -> bytes:
    edge = (16, 24, 32)[variant % 3]
    draw = rng(seed, "icon", variant)
    image = Image.new("RGB", (edge, edge), "white")
    colour = draw.choice(list(PAINT.values()))
    points = [(draw.uniform(0, edge), draw.uniform(0, edge)) for _ in range(5)]
    ImageDraw.Draw(image).polygon(points, fill=colour, outline="black")
    return encode(image, "png")


def _banner(seed: int, variant: int) -> bytes:
    draw = rng(seed, "banner", variant)
    image = Image.new("RGB", (1600, 200), (230, 232, 236))
    brush = ImageDraw.Draw(image)
    for i in range(24):
        x, colour = i * 66, draw.choice(list(PAINT.values()))
        brush.ellipse((x, draw.randint(10, 90), x + 60, draw.randint(110, 190)), fill=colour)
    return encode(image, "jpeg")


def _blank(variant: int) -> bytes:
    shade = 200 + variant % 50
    return encode(Image.new("RGB", (320 + variant, 240), (shade, shade, 255)), "png")


def _html(word: str, variant: int) -> bytes:
    return (
        f"<!DOCTYPE html><html><head><title>{word}</title></head>"
        f"<body><p>{word}: this picture ({variant}) has moved.</p></body></html>"
    ).encode()


def _lossless(picture: Picture) -> bytes:
    """The decoded pixels of the scene's own file, saved as PNG."""
    assert picture.scene is not None
    out = io.BytesIO()
    with Image.open(io.BytesIO(render(picture.scene))) as image:
        image.convert("RGB").save(out, "PNG", compress_level=6)
    return out.getvalue()


def picture_bytes(site: Site, picture: Picture) -> tuple[bytes, str]:
    """Body and content type of a picture that answers 200; pure, a few milliseconds."""
    seed, variant, scene = site.config.seed, picture.variant, picture.scene
    if picture.kind == "truncated":
        assert scene is not None
        whole = encode(paint(scene), "jpeg")
        return whole[: len(whole) * (40 + variant % 4 * 10) // 100], "image/jpeg"
    if picture.kind == "lossless_copy":
        return _lossless(picture), "image/png"
    if scene is not None:
        body = render(
            scene, scale=picture.scale, image_format=picture.format, quality=picture.quality
        )
        return body, picture.content_type or _TYPES[picture.format]
    if picture.kind == "icon":
        return _icon(seed, variant), "image/png"
    if picture.kind == "banner":
        return _banner(seed, variant), "image/jpeg"
    if picture.kind == "blank":
        return _blank(variant), "image/png"
    if picture.kind == "bomb":
        return bomb(), "image/png"
    if picture.kind == "html_for_image":
        return _html("Moved", variant), "text/html; charset=utf-8"
    if picture.kind == "html_as_png":
        return _html("Chart", variant), "image/png"
    if picture.kind == "empty_image":
        return b"", "image/jpeg"
    raise ValueError(f"{picture.path} answers no body")


def etag(body: bytes) -> str:
    """A strong validator of a body."""
    return f'"{sha256(body).hexdigest()[:20]}"'
