"""The index of images across nights: what it holds. No Ray, no writing.

`image_index@DAY` knows every cluster of DAY and the days before it. It consists of sorted runs
(runs.py) of six tables:

    seen      first 64 bits of sha256          → cluster id   every image ever accepted
    pixels    first 64 bits of the pixels' digest → cluster id   likewise
    band0..2  perceptual hash, one band on top  → cluster id   the image that leads each cluster
    clusters  cluster id → name, thumbnail, split, first day

How the files of an index refer to each other is said in index.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.dedup import bands, index, records
from mmcore.dedup.hashing import Hashes, short_digests
from mmcore.dedup.images import Known
from mmcore.dedup.index import Index, PartRef
from mmcore.dedup.runs import Indices
from mmcore.dedup.takedown import BLOCKED
from mmcore.dedup.verify import EDGE, Thumbs

NAME = "image_index"
THUMB_BYTES = EDGE * EDGE * 3
CLUSTERS = pa.schema(
    [
        ("key", pa.uint64()),
        ("cluster", pa.string()),
        ("thumb", pa.binary(THUMB_BYTES)),
        ("split", pa.string()),
        ("day", pa.string()),
    ]
)
BANDS = [f"band{number}" for number in range(len(bands.WIDTHS))]
TABLES = ["seen", "pixels", *BANDS, "clusters"]


class State(index.State):
    """`index.json`: the parts that make up the index of one night."""

    blocked: PartRef | None = None
    """Hashes of what was taken down."""

    def parts(self) -> Iterator[PartRef]:
        """Every file it refers to."""
        yield from super().parts()
        if self.blocked is not None:
            yield self.blocked


@dataclass(frozen=True)
class History(Index):
    """What is known of the images of earlier days."""

    state: State = field(default_factory=State)

    def thumbs(self, ids: Indices) -> Thumbs:
        """Thumbnails uint8 [n, 16, 16, 3] of ascending cluster ids."""
        found = np.empty((len(ids), EDGE, EDGE, 3), np.uint8)
        for rows, batch, at in self.rows("clusters", ids):
            found[rows] = thumbs_of(batch["thumb"])[at]
        return found

    def known(self, ids: Indices) -> Known:
        """Name, split and first day of ascending cluster ids."""
        found = self.rows("clusters", ids)
        tables = [pa.table(batch.select(_ABOUT)).take(at) for _, batch, at in found]
        rows = pa.concat_tables([CLUSTERS.empty_table().select(_ABOUT), *tables])
        rows = rows.sort_by("key").combine_chunks()
        empty = pa.array([], pa.string())
        return Known(
            rows["key"].to_numpy().astype(np.int64),
            pa.concat_arrays([empty, *rows["cluster"].chunks]),
            records.split_ranks(rows["split"]),
            pa.concat_arrays([empty, *rows["day"].chunks]),
        )

    def names(self, ids: Indices) -> tuple[Hashes, npt.NDArray[np.int8]]:
        """The first 64 bits of the name, and the rank of the split, of ascending cluster ids."""
        names, split = np.zeros(len(ids), np.uint64), np.full(len(ids), -1, np.int8)
        for rows, batch, at in self.rows("clusters", ids):
            some = pa.table(batch.select(_ABOUT)).take(pa.array(at))
            names[rows] = short_digests(some["cluster"])
            split[rows] = records.split_ranks(some["split"])
        return names, split

    def blocked(self) -> pa.Table:
        """Hashes of what was taken down: BLOCKED."""
        part = self.state.blocked
        return BLOCKED.empty_table() if part is None else pa.table(self.read(part))


_ABOUT = ["key", "cluster", "split", "day"]


def thumbs_of(column: pa.Array) -> Thumbs:
    """A view uint8 [n, 16, 16, 3] of a column of thumbnails without nulls."""
    data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    start = column.offset * THUMB_BYTES
    return data[start : start + len(column) * THUMB_BYTES].reshape(-1, EDGE, EDGE, 3)
