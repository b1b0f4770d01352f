"""Images that must never be stored, by hash: a text file that somebody else maintains.

One hash a line: 64 hex digits are the SHA-256 of a file, 16 are a 64-bit perceptual hash as in the
column `phash` of `cleaned`; what follows `#` is a comment. The list holds no image and says nothing
about why one is on it. Crawl asks for the SHA-256 before it stores a file; clean asks for both.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import UserError

_HEX = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")
_COMPARISONS = 1 << 22  # at a time: 32 MiB


@dataclass(frozen=True)
class Blocklist:
    """Hashes to be kept out; an empty list blocks nothing."""

    sha256: frozenset[str] = frozenset()
    phashes: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """Names the content, so that a changed list is a changed setting."""
        lines = [*sorted(self.sha256), *(f"{value:016x}" for value in self.phashes)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def has(self, sha256: str) -> bool:
        """Whether this file must not be stored."""
        return sha256 in self.sha256

    def has_each(self, sha256: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """As `has`, for a column of hex digests: bool."""
        return pc.is_in(sha256, value_set=pa.array(sorted(self.sha256), pa.string()))

    def near(self, phashes: npt.NDArray[np.uint64], radius: int) -> npt.NDArray[np.bool_]:
        """Which of `phashes` [N] differ from a listed one in at most `radius` of 64 bits: [N]."""
        listed = np.array(self.phashes, dtype=np.uint64)
        found = np.zeros(len(phashes), dtype=bool)
        step = max(1, _COMPARISONS // max(1, len(listed)))
        for start in range(0, len(phashes) if len(listed) else 0, step):
            bits = np.bitwise_count(phashes[start : start + step, None] ^ listed[None])
            found[start : start + step] = (bits <= radius).any(axis=1)
        return found


def read_blocklist(path: str | None) -> Blocklist:
    """The list at `path`, or an empty one. UserError for a file or line that cannot be read."""
    if path is None:
        return Blocklist()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The blocklist {path} cannot be read: {error}.") from None
    hashes: set[str] = set()
    for number, line in enumerate(lines, start=1):
        value = line.partition("#")[0].strip().lower()
        if value and not _HEX.fullmatch(value):
            raise UserError(
                f"{path}, line {number}: a hash has 64 hex digits (SHA-256) or 16 (perceptual)."
            )
        hashes |= {value} if value else set()
    perceptual = sorted(int(value, 16) for value in hashes if len(value) == 16)
    return Blocklist(frozenset(v for v in hashes if len(v) == 64), tuple(perceptual))
