"""Image bytes in, one plain sRGB JPEG out, or a reason why not.

The header is read first, so an image that declares too many pixels is refused before a single one
is decoded. Everything here works on one image and knows no threshold but the pixel budget.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmcore.clean.colour import interpolable, srgb

_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
# What decoders say, in their many words, when the bytes end too early.
_ENDS_EARLY = re.compile(
    r"truncat|premature|unexpected end|end of file|eof|not enough|too short|overrun|incomplete",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)


class PixelPolicy(BaseModel):
    """How pixels are read and stored. A change here decodes every image again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shorter_side: int = Field(
        default=256,
        ge=16,
        le=4096,
        description="Stored images are shrunk to this shorter side in pixels.",
    )
    longer_side: int = Field(
        default=1024,
        ge=16,
        le=16384,
        description="Nor is a stored image longer than this, in pixels.",
    )
    quality: int = Field(
        default=90, ge=50, le=100, description="JPEG quality of the stored images."
    )
    max_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="An image whose header declares more pixels is refused without decoding it.",
    )

    @model_validator(mode="after")
    def _longer_is_longer(self) -> Self:
        if self.longer_side < self.shorter_side:
            raise ValueError("longer_side must not be smaller than shorter_side")
        return self


class Refused(Exception):
    """This image cannot be used: `reason` is one of the documented words, `detail` says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Header:
    """What an image says about itself before it is decoded: pixels as stored, not as shown."""

    format: str
    width: int
    height: int
    animated: bool


@dataclass(frozen=True)
class Normalized:
    """An image as it is stored: `width` and `height` are of the original after EXIF orientation."""

    width: int
    height: int
    pixels: Image.Image
    """RGB, sRGB, resized by policy, without metadata."""
    jpeg: bytes


def sniff(data: bytes) -> str | None:
    """Format by the first bytes, or None. The declared content type is never believed."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return None


def open_image(data: bytes) -> tuple[Image.Image, Header]:
    """Read the header only. Raises Refused for what is not an image or is broken this early."""
    name = sniff(data)
    if name is None:
        raise Refused("not_an_image", "no known image format starts like this")
    try:
        with _no_pillow_limit():
            image = Image.open(io.BytesIO(data), formats=[name])
        # Looking for a second frame reads its header only.
        animated = name in _ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception as error:
        raise _refusal(data, name, error) from error
    return image, Header(name, image.width, image.height, animated)


def normalize(image: Image.Image, header: Header, policy: PixelPolicy) -> Normalized:
    """Decode, resize, convert and encode an opened image. Raises Refused."""
    pixels = header.width * header.height
    if pixels > policy.max_pixels:
        raise Refused("too_many_pixels", f"{header.width}x{header.height} pixels")
    if pixels == 0:
        raise Refused("decode_error", "the image has no pixels")
    size = target_size(header.width, header.height, policy)
    try:
        # JPEG decodes straight to 1/2, 1/4 or 1/8 where that still covers the target size.
        image.draft(None, size)
        image.load()
        orientation = _orientation(image)
        profile = image.info.get("icc_profile")
        small = _resize(interpolable(image), size)
        shown = _turn(srgb(small, profile), orientation)
        shown.info = {}  # the encoder would copy a comment from here
        turned = orientation >= 5
        width, height = header.width, header.height
        return Normalized(
            height if turned else width,
            width if turned else height,
            shown,
            encode_jpeg(shown, policy.quality),
        )
    except Exception as error:
        raise _refusal(None, header.format, error) from error


def target_size(width: int, height: int, policy: PixelPolicy) -> tuple[int, int]:
    """Stored size of an image: both sides within policy, aspect kept, never enlarged."""
    scale = min(
        1.0, policy.shorter_side / min(width, height), policy.longer_side / max(width, height)
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, no metadata: the same pixels give the same bytes."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return out.getvalue()


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    # Half the price of a bicubic filter and as near to a Lanczos or area resize (SSIM over .98);
    # large images are box-reduced to twice the size first.
    return image.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; broken EXIF counts as upright, as browsers treat it."""
    if "exif" not in image.info and "xmp" not in image.info and image.format != "TIFF":
        return 1
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _refusal(data: bytes | None, name: str, error: Exception) -> Refused:
    """Turn whatever a decoder raised into a reason. Any exception is about this image only."""
    if isinstance(error, Refused):
        return error
    if name == "BMP" and data is not None:
        # "BM" alone is too weak a sign: a text may well begin so.
        return Refused("not_an_image", "no known image format starts like this")
    detail = f"{name}: {type(error).__name__}: {_ADDRESS.sub('', str(error))}"[:200]
    early = isinstance(error, EOFError) or bool(_ENDS_EARLY.search(str(error)))
    if early or (data is not None and _shorter_than_declared(data, name)):
        return Refused("truncated", detail)
    return Refused("decode_error", detail)


def _shorter_than_declared(data: bytes, name: str) -> bool:
    """Whether a file that would not even open ends before its own length or end marker."""
    if name == "WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if name == "PNG":
        return b"IEND" not in data[-16:]
    if name == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if name == "GIF":
        return not data.endswith(b";")
    if name == "AVIF":
        return _boxes_end(data) > len(data)
    return False


def _boxes_end(data: bytes) -> int:
    """Where the last top-level box of an ISO media file says that it ends."""
    end = 0
    while end + 8 <= len(data):
        size = int.from_bytes(data[end : end + 4], "big")
        if size < 8:  # "to the end of the file", or a 64-bit size no web image has
            return len(data)
        end += size
    return end


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Pillow would raise for a large header and take its size along; the policy decides here."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
