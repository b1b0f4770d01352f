"""The takedown list: what must not come back, by URL, by bytes, by pixels and by look.

Of an image that was taken down only hashes are kept. Without its thumbnail a look-alike cannot be
told from a copy, so everything within `dedup.max_hamming` bits is held back: on the safe side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.dedup.hashing import Hashes, short_digests
from mmcore.dedup.images import Images
from mmcore.errors import UserError
from mmcore.withdrawn import Withdrawn

NAME = "takedown"
TAKEDOWN = pa.schema(
    [
        ("target", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("day", pa.string()),
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("pixels", pa.string()),
        ("phash", pa.uint64()),
    ]
)
BLOCKED = pa.schema([("sha256", pa.uint64()), ("pixels", pa.uint64()), ("phash", pa.uint64())])

Kind = Literal["url", "sha256"]


def kind_of(target: str) -> Kind:
    """What a target is; UserError for what is neither a URL nor a digest."""
    if re.fullmatch(r"[0-9a-f]{64}", target):
        return "sha256"
    if re.fullmatch(r"(https?|file)://\S+", target):
        return "url"
    raise UserError(
        f"{target!r} is neither a URL nor a sha256: give the URL of an image or of a page as it "
        "was crawled, or the 64 hex digits of an image's key."
    )


def withdrawn(listed: pa.Table) -> Withdrawn:
    """What a crawl must not ask for or store, of a takedown list (TAKEDOWN)."""
    urls = listed.filter(pc.equal(listed["kind"], "url"))["target"].to_pylist()
    keys = listed.filter(pc.is_valid(listed["sha256"]))["sha256"].to_pylist()
    return Withdrawn(frozenset(urls), frozenset(keys))


def shown_at(parts: Iterable[pa.Table], urls: pa.Array) -> pa.Array:
    """sha256 of the images that were found at some URLs, or on some pages.

    parts: of `crawled`, with `sha256, image_url, page_url`.
    """
    found = [
        part.filter(pc.or_(pc.is_in(part["image_url"], urls), pc.is_in(part["page_url"], urls)))
        for part in parts
    ]
    columns = [part["sha256"].combine_chunks() for part in found]
    return pc.unique(pa.concat_arrays([pa.array([], pa.string()), *columns]))


def hashes_of(listed: pa.Table) -> pa.Table:
    """BLOCKED rows of the images on a takedown list (TAKEDOWN) that were ever decoded."""
    rows = listed.filter(pc.is_valid(listed["phash"]))
    return pa.table(
        [short_digests(rows["sha256"]), short_digests(rows["pixels"]), rows["phash"]],
        schema=BLOCKED,
    )


def distinct(tables: Iterable[pa.Table]) -> pa.Table:
    """BLOCKED rows of several tables, each once, sorted."""
    rows = pa.concat_tables([BLOCKED.empty_table(), *tables]).group_by(BLOCKED.names).aggregate([])
    return rows.sort_by([(name, "ascending") for name in BLOCKED.names]).combine_chunks()


@dataclass(frozen=True)
class Blocked:
    """Everything that is held back."""

    urls: pa.Array
    digests: Hashes
    pixels: Hashes
    hashes: Hashes

    def exactly(self, day: Images, shown: Hashes) -> npt.NDArray[np.bool_]:
        """Which images of a day are blocked by their bytes, pixels or URL: bool [N].

        shown: short digests of the images that were found at one of `urls` (see `shown_at`).
        """
        digests = np.concatenate([self.digests, shown])
        return np.isin(day.short, digests) | np.isin(day.pixels, self.pixels)


def blocked(listed: pa.Table, earlier: pa.Table) -> Blocked:
    """From the takedown list (TAKEDOWN) and what the index holds as blocked (BLOCKED)."""
    known = distinct([hashes_of(listed), earlier])
    keyed = listed.filter(pc.is_valid(listed["sha256"]))
    digests = [short_digests(keyed["sha256"]), known["sha256"].to_numpy()]
    urls = listed.filter(pc.equal(listed["kind"], "url"))["target"].combine_chunks()
    return Blocked(
        pc.unique(pa.concat_arrays([pa.array([], pa.string()), *_chunks(urls)])),
        np.concatenate(digests),
        known["pixels"].to_numpy(),
        np.unique(known["phash"].to_numpy()),
    )


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]
