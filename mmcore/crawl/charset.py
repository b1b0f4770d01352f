"""Bytes of a page to text: BOM, then HTTP header, then the page's own word, then a look at it."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META = re.compile(rb"""<meta\b[^>]+?charset\s*=\s*["']?\s*([\w.:-]+)""", re.I)
_XML = re.compile(rb"""\A\s*<\?xml[^>]+?encoding\s*=\s*["']([\w.:-]+)""", re.I)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.I)
_COMMENT = re.compile(rb"<!--.*?-->", re.S)
# The WHATWG Encoding Standard: what these labels mean on the web is a superset of what they say.
_WEB_LABELS = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "x-user-defined": "cp1252",
    "x-mac-cyrillic": "mac-cyrillic",
    "macintosh": "mac-roman",
    "utf-16": "utf-16-le",
    "unicode": "utf-16-le",
}
# Its encodings, by Python's names. A page may name no other: some of Python's codecs decode to
# bytes, run instructions of their own (unicode_escape) or hide markup (utf-7).
_WEB_CODECS = frozenset(
    [
        "utf-8", "utf-16-le", "utf-16-be", "cp866", "koi8-r", "koi8-u", "mac-roman",
        "mac-cyrillic", "cp874", "gb18030", "big5", "big5hkscs", "euc_jp", "iso2022_jp", "cp932",
        "cp949", *(f"cp{number}" for number in range(1250, 1259)),
        *(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
    ]
)  # fmt: skip
_PRESCAN_BYTES = 4096
_SNIFF_BYTES = 1 << 16
# Legacy encodings of the web; utf-8 was tried before.
_SNIFFED = [
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp932", "euc_jp", "gb18030", "big5", "cp949",
]  # fmt: skip


def python_codec(label: str) -> str | None:
    """Python's codec for a charset label as the web means it; None where the web has none."""
    name = label.strip().lower()
    try:
        codec = codecs.lookup(_WEB_LABELS.get(name, name)).name
    except LookupError:
        return None
    return codec if codec in _WEB_CODECS else None


def decode_page(body: bytes, content_type: str = "") -> tuple[str, str]:
    """(text, codec) of an HTML page; undecodable bytes become U+FFFD.

    `content_type`: the HTTP header with its parameters.
    """
    for bom, codec in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(codec, errors="replace"), codec
    codec = _declared(body, content_type) or _sniffed(body)
    return body.decode(codec, errors="replace"), codec


def _declared(body: bytes, content_type: str) -> str | None:
    header = _HEADER.search(content_type)
    codec = python_codec(header.group(1)) if header else None
    if codec:
        return codec
    head = _COMMENT.sub(b"", body[:_PRESCAN_BYTES])
    for found in (*_XML.finditer(head), *_META.finditer(head)):
        codec = python_codec(found.group(1).decode("ascii", errors="replace"))
        if codec:
            # A meta tag that could be read cannot be in UTF-16 (HTML 13.2.3.3).
            return "utf-8" if codec.startswith("utf-16") else codec
    return None


def _sniffed(body: bytes) -> str:
    if body[:2] in (b"<\0", b"\0<"):
        return "utf-16-le" if body[1] == 0 else "utf-16-be"
    if b"\x1b$" in body[:_SNIFF_BYTES]:
        return "iso2022_jp"  # its bytes are all ASCII
    try:
        body.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        # A character cut in half by the very end is still UTF-8.
        if error.start >= len(body) - 3 and error.reason == "unexpected end of data":
            return "utf-8"
    best = from_bytes(_prose(body)[:_SNIFF_BYTES], cp_isolation=_SNIFFED).best()
    return python_codec(best.encoding) or "cp1252" if best else "cp1252"


def _prose(body: bytes) -> bytes:
    """The page without markup: ASCII tags would drown the letters that tell encodings apart."""
    return re.sub(rb"<(script|style)\b.*?</\1>|<[^>]*>", b" ", body, flags=re.S | re.I)
