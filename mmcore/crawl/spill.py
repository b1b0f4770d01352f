"""Bytes on their way to a dataset, kept in a temporary file instead of memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a piece lies in its spill."""

    offset: int
    length: int


class Spill:
    """Append pieces, read them back in any order. The file vanishes when closed. One thread."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="mmcore-crawl-")  # noqa: SIM115 (closed by __exit__)
        self._end = 0

    def append(self, data: bytes) -> Slot:
        """Keep a piece."""
        self._file.seek(self._end)
        self._file.write(data)
        slot = Slot(self._end, len(data))
        self._end += len(data)
        return slot

    def read(self, slot: Slot) -> bytes:
        """A piece, as it was."""
        self._file.seek(slot.offset)
        return self._file.read(slot.length)

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
