"""What image bytes say about themselves before a pixel is decoded, or why they are no image."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from mmcore.clean.svg import Drawing, UnsafeDrawing, looks_like_svg, read_svg

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
# Known, but not shown by every browser or not worth a decoder of their own.
_OTHER = (
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"%PDF-", "PDF"),
)
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"mif1", b"msf1"})
_ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
# What decoders say, in their many words, when the bytes end too early.
_ENDS_EARLY = re.compile(
    r"truncat|premature|unexpected end|end of file|eof|not enough|too short|overrun|incomplete",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = "Insufficient memory"  # OpenCV's words
_ADDRESS = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)


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


def sniff(data: bytes) -> str | None:
    """Format by the first bytes, or None. The declared content type is never believed."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and _AVIF & _brands(data):
        return "AVIF"
    return "SVG" if looks_like_svg(data) else None


def open_image(data: bytes, svg: bool = False) -> tuple[Image.Image | Drawing, Header]:
    """Read the header only. Raises Refused for what is not an image or is broken this early.

    `svg`: whether drawings are wanted.
    """
    name = sniff(data)
    if name is None:
        other = _unsupported(data)
        if other is not None:
            raise Refused("unsupported_format", other)
        raise Refused("not_an_image", "no known image format starts like this")
    if name == "SVG":
        if not svg:
            raise Refused("unsupported_format", "SVG: set clean.svg and install mmcore[svg]")
        return _open_svg(data)
    try:
        with _no_pillow_limit():
            image = Image.open(io.BytesIO(data), formats=[name])
        # Looking for a second frame reads its header only.
        animated = name in _ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception as error:
        raise refusal(data, name, error) from error
    return image, Header(name, image.width, image.height, animated)


def _open_svg(data: bytes) -> tuple[Drawing, Header]:
    try:
        drawing = read_svg(data)
    except UnsafeDrawing as error:
        raise Refused("unsafe_svg", str(error)) from error
    except Exception as error:
        raise refusal(data, "SVG", error) from error
    return drawing, Header("SVG", drawing.width, drawing.height, False)


def _unsupported(data: bytes) -> str | None:
    """Name of a known format that is not read."""
    if data[4:8] == b"ftyp" and _HEIF & _brands(data):
        return "HEIF"
    return next((name for magic, name in _OTHER if data.startswith(magic)), None)


def _brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def refusal(data: bytes | None, name: str, error: Exception) -> Refused:
    """Turn whatever a decoder of format `name` raised into a reason; `data` where the header
    already failed. Any exception is about this image only."""
    if isinstance(error, Refused):
        return error
    if name == "BMP" and data is not None:
        # "BM" alone is too weak a sign: a text may well begin so.
        return Refused("not_an_image", "no known image format starts like this")
    detail = f"{name}: {type(error).__name__}: {_ADDRESS.sub('', str(error))}"[:200]
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
        return Refused("out_of_memory", detail)
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
