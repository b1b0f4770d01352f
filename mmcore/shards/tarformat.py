"""Tar archives as bytes: a deterministic writer and a reader that trusts nothing.

The format is POSIX.1-1988 USTAR, with a POSIX.1-2001 (pax) extended header only where a name or a
size does not fit. Every member is a regular file, mode 0644, owner 0:0, time 0: the same members
give the same bytes. The reader also understands GNU long names; it never writes to disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import MmcoreError

BLOCK = 512
END = bytes(2 * BLOCK)
_ZEROS = memoryview(bytes(BLOCK))
_NAME_LIMIT = 100
_SIZE_LIMIT = 8**11
_OCTAL = re.compile(rb"[0-7]*")
_DECIMAL = re.compile(rb"[0-9]{1,18}")
_EXTENDED_LIMIT = 1 << 20  # a pax header larger than this is an attack, not a name


class TarError(MmcoreError):
    """The archive is not readable from some offset on; `reason` is one word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Member:
    """One entry: `kind` is the type flag (`0` for a regular file), offsets are in bytes."""

    name: str
    kind: str
    header: int
    offset: int
    size: int

    @property
    def is_file(self) -> bool:
        return self.kind == "0"


def pack(
    names: Sequence[str], contents: Sequence[bytes | memoryview]
) -> tuple[list[bytes | memoryview], NDArray[np.int64]]:
    """Members in the given order as tar pieces, without the end marker.

    Output: a list of byte pieces to be joined, and int64 [len(names) + 1], where each member
    (header included) begins and where the last one ends.
    """
    sizes = np.fromiter(map(len, contents), np.int64, len(contents))
    extended = {i: _pax(names[i], int(sizes[i])) for i in _unfit(names, sizes)}
    if extended:
        encoded = np.array([name.encode()[:_NAME_LIMIT] for name in names], f"S{_NAME_LIMIT}")
    else:
        encoded = np.array(names, f"S{_NAME_LIMIT}")
    headers = memoryview(_headers(encoded, np.where(sizes < _SIZE_LIMIT, sizes, 0), b"0").tobytes())
    padding = (-sizes) % BLOCK
    pieces: list[bytes | memoryview] = []
    for i, (content, pad) in enumerate(zip(contents, padding.tolist(), strict=True)):
        if i in extended:
            pieces.append(extended[i])
        pieces += (headers[i * BLOCK : (i + 1) * BLOCK], content, _ZEROS[:pad])
    lengths = BLOCK + sizes + padding
    for i, data in extended.items():
        lengths[i] += len(data)
    return pieces, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _unfit(names: Sequence[str], sizes: NDArray[np.int64]) -> list[int]:
    """Members whose name or size a USTAR header cannot hold."""
    long = [i for i, name in enumerate(names) if len(name) > _NAME_LIMIT or not name.isascii()]
    return sorted({*long, *np.flatnonzero(sizes >= _SIZE_LIMIT).tolist()})


def _headers(names: NDArray[np.bytes_], sizes: NDArray[np.int64], kind: bytes) -> NDArray[np.uint8]:
    """USTAR header blocks, uint8 [n, 512]."""
    out = np.zeros((len(names), BLOCK), np.uint8)
    out[:, :_NAME_LIMIT] = names.view(np.uint8).reshape(len(names), _NAME_LIMIT)
    fixed = {100: b"0000644\0", 108: b"0000000\0", 116: b"0000000\0", 136: b"00000000000\0"}
    fixed |= {148: b"        ", 156: kind, 257: b"ustar\x0000", 329: b"0000000\x000000000\0"}
    for at, value in fixed.items():
        out[:, at : at + len(value)] = np.frombuffer(value, np.uint8)
    out[:, 124:135] = _octal(sizes, 11)
    out[:, 148:154] = _octal(out.sum(axis=1, dtype=np.int64), 6)
    out[:, 154] = 0
    return out


def _octal(values: NDArray[np.int64], digits: int) -> NDArray[np.uint8]:
    shifts = 3 * np.arange(digits - 1, -1, -1)
    return (((values[:, None] >> shifts) & 7) + ord("0")).astype(np.uint8)


def _pax(name: str, size: int) -> bytes:
    records = _pax_record("path", name) + _pax_record("size", str(size))
    label = np.array([b"pax/header"], f"S{_NAME_LIMIT}")
    header = _headers(label, np.array([len(records)], np.int64), b"x").tobytes()
    return header + records + bytes(-len(records) % BLOCK)


def _pax_record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def scan(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Member]:
    """Members of an archive, in order; contents are not read.

    `file` must be seekable. With `end` the members of that byte range are listed and no end marker
    is asked for. Raises `TarError` with reason `truncated` or `bad_header`; everything listed
    before the error is sound.
    """
    limit = file.seek(0, 2) if end is None else end
    at = start
    override: dict[str, str] = {}
    while at < limit:
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise TarError("truncated", f"the archive ends inside the header at byte {at}")
        if not block.strip(b"\0"):
            return
        member = _parse(block, at, override)
        after = member.offset + member.size
        if after > limit:
            raise TarError("truncated", f"the archive ends inside {member.name!r}")
        at = after + -after % BLOCK
        if member.kind in "xgL":
            override |= _extended(file, member)
            continue
        override = {}
        yield member
    if end is None:
        raise TarError("truncated", "the archive has no end marker")


def _parse(block: bytes, at: int, override: dict[str, str]) -> Member:
    stored = _number(block[148:156], at)
    if stored != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise TarError("bad_header", f"the checksum of the header at byte {at} does not match")
    name = _text(block[:100])
    if block[257:262] == b"ustar" and block[345:346] != b"\0" and block[257:265] != b"ustar  \0":
        name = _text(block[345:500]) + "/" + name
    kind = "0" if block[156:157] in b"\0" + b"7" else chr(block[156])
    size = int(override["size"]) if "size" in override else _number(block[124:136], at)
    return Member(override.get("path", name), kind, at, at + BLOCK, size)


def _number(field: bytes, at: int) -> int:
    if field[0] == 0x80:  # GNU: base 256
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not _OCTAL.fullmatch(digits):  # int() would take signs, and a negative size never ends
        raise TarError("bad_header", f"the header at byte {at} holds no valid number")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _extended(file: BinaryIO, member: Member) -> dict[str, str]:
    if member.size > _EXTENDED_LIMIT:
        raise TarError("bad_header", f"the extended header at byte {member.header} is too large")
    file.seek(member.offset)
    data = file.read(member.size)
    if member.kind == "L":
        return {"path": _text(data)}
    found: dict[str, str] = {}
    while data.strip(b"\0"):
        digits, space, _ = data.partition(b" ")
        if not space or not _DECIMAL.fullmatch(digits) or not 0 < int(digits) <= len(data):
            raise TarError("bad_header", f"the pax header at byte {member.header} is malformed")
        key, _, value = data[len(digits) + 1 : int(digits)].rstrip(b"\n").partition(b"=")
        if key == b"size" and not _DECIMAL.fullmatch(value):
            raise TarError("bad_header", f"the pax header at byte {member.header} has a bad size")
        if member.kind == "x" and key in (b"path", b"size"):
            found[key.decode()] = value.decode("utf-8", "backslashreplace")
        data = data[int(digits) :]
    return found
