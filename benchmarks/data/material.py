"""Made-up rows of real stuff: any number of different captions and of different image files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_STRIDE = 1_000_003  # prime: neighbours in the list are far apart in the corpus


class Captions:
    """Beginnings and ends of the captions of an annotations.jsonl, put together anew."""

    def __init__(self, annotations: Path) -> None:
        lines = annotations.read_text(encoding="utf-8").splitlines()
        words = [caption.split() for line in lines for caption in json.loads(line)["captions"]]
        self.real = [" ".join(caption) for caption in words]
        self._heads = pa.array(sorted({" ".join(w[: len(w) // 2 + 1]) for w in words}))
        self._tails = pa.array(sorted({" ".join(w[len(w) // 2 + 1 :]) for w in words} - {""}))

    def take(self, start: int, count: int) -> pa.Array:
        """Captions number `start` to `start + count`: strings, no pair of halves used twice."""
        pairs = np.arange(start, start + count) * _STRIDE % (len(self._heads) * len(self._tails))
        heads = self._heads.take(pa.array(pairs // len(self._tails)))
        tails = self._tails.take(pa.array(pairs % len(self._tails)))
        return pc.binary_join_element_wise(heads, tails, " ")


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """The JPEG file with a comment (marker COM): other bytes, the same pixels."""
    size = (len(comment) + 2).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xfe" + size + comment + jpeg[2:]
