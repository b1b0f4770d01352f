"""Images that more than one unit stored: hosts are crawled apart, and share pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.crawl.unit import PART_STRIDE
from mmcore.lake import DatasetWriter, Part


def copies(writer: DatasetWriter, parts: Mapping[int, Part]) -> dict[int, list[str]]:
    """Part index of `raw` -> sha256 of the rows that another unit stores under a smaller URL.

    An image takes 16 bytes of memory here; only where its first 64 bits are another's too are
    URLs read.
    """
    indices = np.array(sorted(parts), dtype=np.int64)
    prefixes = [_prefixes(writer.read_table(parts[i], ["sha256"])["sha256"]) for i in indices]
    keys = np.concatenate([np.empty(0, np.uint64), *prefixes])
    part = np.repeat(indices, [len(p) for p in prefixes])
    distinct, counts = np.unique(keys, return_counts=True)
    shared = np.isin(keys, distinct[counts > 1])
    rows = []
    for index in np.unique(part[shared]).tolist():
        table = writer.read_table(parts[index], ["sha256", "url"])
        mine = table.filter(pa.array(shared[part == index])).to_pylist()
        rows += [(row["sha256"], row["url"], index) for row in mine]
    return _losers(rows)


def _losers(rows: list[tuple[str, str, int]]) -> dict[int, list[str]]:
    """From (sha256, URL, part): what each part has to give up. The smallest URL keeps the image,
    then the earliest unit."""
    owner: dict[str, tuple[str, int]] = {}
    for sha, url, index in rows:
        claim = (url, index // PART_STRIDE)
        owner[sha] = min(owner.get(sha, claim), claim)
    found: dict[int, list[str]] = {}
    for sha, _, index in rows:
        if owner[sha][1] != index // PART_STRIDE:
            found.setdefault(index, []).append(sha)
    return found


def _prefixes(digests: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """The first 64 bits of hexadecimal digests."""
    heads = pc.utf8_slice_codeunits(digests, 0, 16).to_pylist()
    return np.frombuffer(bytes.fromhex("".join(heads)), dtype=">u8").astype(np.uint64)
