"""Which PNG files are so plain that any decoder reads them alike (PNG specification, 5 and 11)."""

from __future__ import annotations

_START = 8  # behind the signature
_COLOURS = {"L": 0, "RGB": 2, "RGBA": 6}
# Not among them: PLTE, tRNS, and the chunks of an animation, whose broken ones OpenCV dies of.
_CHUNKS = frozenset(
    b"IHDR IDAT IEND cHRM gAMA iCCP sBIT sRGB bKGD pHYs tIME tEXt zTXt iTXt eXIf".split()
)


def is_plain(png: bytes, mode: str) -> bool:
    """Whether a file holds one picture of 8 bits in Pillow's `mode` L, RGB or RGBA, with neither
    palette nor colour key nor interlacing, in whole chunks of well-known kinds up to its end."""
    if mode not in _COLOURS or png[12:16] != b"IHDR":
        return False
    if png[24:29] != bytes((8, _COLOURS[mode], 0, 0, 0)):
        return False
    at, kind = _START, b""
    while kind != b"IEND":
        kind = png[at + 4 : at + 8]
        if kind not in _CHUNKS:
            return False
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return at == len(png)
