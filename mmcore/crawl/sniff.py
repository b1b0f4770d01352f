"""What bytes are, by their first bytes (WHATWG MIME Sniffing), whatever the server calls them."""

from __future__ import annotations

import re

HEAD_BYTES = 1024

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"mif1": "image/heif",
}
_LEADING = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:\s+|<\?xml[^>]*>|<!--.*?-->|<!doctype svg[^>]*>)*", re.S | re.I
)
_SVG = re.compile(rb"<svg[\s>]", re.I)
_HTML = re.compile(
    rb"<(?:!doctype html|html|head|body|title|script|style|iframe|h1|div|font|table|a|br|p|meta"
    rb"|link)[\s>/]",
    re.I,
)


def sniff_image(head: bytes) -> str | None:
    """Media type of an image by its first bytes (1,024 are plenty), or None."""
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if head[:2] == b"BM" and len(head) >= 18 and head[14:18] in _BMP_HEADERS:
        return "image/bmp"
    body = _after_prologue(head)
    return "image/svg+xml" if _SVG.match(body) else None


# Size field of the DIB header; "BM" alone also starts many a text.
_BMP_HEADERS = frozenset(n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124))


def looks_like_html(head: bytes) -> bool:
    """Whether the first bytes are HTML."""
    return bool(_HTML.match(_after_prologue(head)))


def looks_like_text(head: bytes) -> bool:
    """No byte that a text never has (MIME Sniffing 3, binary data bytes)."""
    return not any(b < 9 or 14 <= b < 27 or 28 <= b < 32 for b in head)


def _after_prologue(head: bytes) -> bytes:
    match = _LEADING.match(head)
    return head[match.end() :] if match else head


def image_type(head: bytes, declared: str) -> str | None:
    """Media type to file an image under, or None for what is not an image.

    The bytes decide; the server's word counts only for binary bytes nobody recognises, which
    clean then looks at.
    """
    known = sniff_image(head)
    if known:
        return known
    if declared.startswith("image/") and head and not looks_like_text(head):
        return declared
    return None
