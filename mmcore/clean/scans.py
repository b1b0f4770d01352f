"""The scans of a progressive JPEG (ITU-T T.81, Annex G), and which of them a small copy needs.

A progressive file sends each coefficient in several scans. The last ones add the lowest bit of the
AC coefficients, one step of quantization: a third of the decoder's time for what is averaged away
where the picture is shrunk to half or less.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_SOS, _END = b"\xda", b"\xff\xd9"
# SOF markers but SOF2, which is progressive with Huffman codes.
_OTHER_FRAMES = frozenset(bytes([c]) for c in range(0xC0, 0xD0) if c not in (0xC2, 0xC4, 0xCC))


class _Scan(NamedTuple):
    start: int
    """Where its marker is."""
    last_bit: bool
    """Whether it only adds the lowest bit of AC coefficients."""


def without_last_bits(jpeg: bytes) -> bytes:
    """The file without the scans at its end that only add the lowest bit of AC coefficients.

    Given back as it is where it is not progressive, ends early, has no such scans, or is not
    understood: then a decoder has to say what it is.
    """
    scans = _scans(jpeg)
    kept = len(scans)
    while kept and scans[kept - 1].last_bit:
        kept -= 1
    if kept in (0, len(scans)):
        return jpeg
    return jpeg[: scans[kept].start] + _END


def _scans(jpeg: bytes) -> list[_Scan]:
    """The scans of a progressive file in their order, or none where it is something else or has
    no end."""
    markers = None
    scans: list[_Scan] = []
    at = 2
    while jpeg[at : at + 2] != _END:
        code, length = jpeg[at + 1 : at + 2], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at : at + 1] != b"\xff" or length < 2 or code in _OTHER_FRAMES:
            return []
        after = at + 2 + length
        if code == _SOS:
            scans.append(_Scan(at, _adds_last_bit(jpeg[at + 4 : after])))
            # Entropy-coded data goes on to the next marker.
            markers = _markers(jpeg) if markers is None else markers
            following = int(np.searchsorted(markers, after))
            if following == len(markers):
                return []
            after = int(markers[following])
        at = after
    return scans


def _adds_last_bit(header: bytes) -> bool:
    """Of a scan header without marker and length: Ss > 0, Ah = 1, Al = 0."""
    return len(header) >= 4 and header[-3] > 0 and header[-1] == 0x10


def _markers(jpeg: bytes) -> npt.NDArray[np.int64]:
    """Where 0xFF is followed by what stands for no data: not 0, RST0 to RST7 or another 0xFF."""
    data = np.frombuffer(jpeg, np.uint8)
    at = np.flatnonzero(data[:-1] == 0xFF)
    code = data[at + 1]
    return at[(code != 0) & (code != 0xFF) & ((code < 0xD0) | (code > 0xD7))]
