"""The index across nights: what it holds and how its files refer to each other. No Ray, no writing.

`image_index@DAY` knows every cluster of DAY and the days before it. It consists of sorted runs
(runs.py) of six tables:

    seen      first 64 bits of sha256          → cluster id   every image ever accepted
    pixels    first 64 bits of the pixels' digest → cluster id   likewise
    band0..2  perceptual hash, one band on top  → cluster id   the image that leads each cluster
    clusters  cluster id → name, thumbnail, split, first day

A run's parts lie in the folder of the night that wrote them and are never changed; `index.json` of
each night names the parts that make up the whole, so a night writes what is new and, now and then,
a merge. A part is an Arrow file of one batch: on a local disk a lookup touches the pages it needs
by memory map, on S3 it fetches whole parts of at most 14 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from mmcore.dedup import bands, records, runs
from mmcore.dedup.hashing import Hashes
from mmcore.dedup.images import Known
from mmcore.dedup.runs import Indices
from mmcore.dedup.takedown import BLOCKED
from mmcore.dedup.verify import EDGE, Thumbs
from mmcore.lake import Dataset, Storage

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


class PartRef(BaseModel):
    """One file of a run: where it is and which keys it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str
    """Of the `image_index` that wrote it."""
    file: str
    rows: int
    sha256: str
    first: int
    """Its smallest key."""
    last: int


class State(BaseModel):
    """`index.json`: the parts that make up the index of one night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: int = 0
    """How many cluster ids have been given out."""
    days: dict[str, str] = {}
    """Days it knows, in order, and the digest of `deduplicated` of each."""
    tables: dict[str, list[list[PartRef]]] = {}
    """Name of a table to its runs, each a list of parts in the order of their keys."""
    blocked: PartRef | None = None
    """Hashes of what was taken down."""

    def runs(self, table: str) -> list[list[PartRef]]:
        """The runs of a table."""
        return self.tables.get(table, [])

    def parts(self) -> Iterator[PartRef]:
        """Every file it refers to."""
        for table in self.tables.values():
            for run in table:
                yield from run
        if self.blocked is not None:
            yield self.blocked


@dataclass(frozen=True)
class History:
    """An index that can be asked. Picklable: tasks open the files they need."""

    storage: Storage
    state: State = field(default_factory=State)
    folders: dict[str, str] = field(default_factory=dict)
    """Partition to the folder of its files."""
    dataset: Dataset | None = None
    """What `index.json` was read from; None before the first night."""

    def read(self, part: PartRef) -> pa.RecordBatch:
        """One part, mapped where the storage can."""
        file = self.storage.open(f"{self.folders[part.partition]}/{part.file}")
        return pa.ipc.open_file(file).get_batch(0)

    def parts(self, table: str) -> Iterator[pa.RecordBatch]:
        """The parts of a table one by one, whatever run they are of."""
        for run in self.state.runs(table):
            for part in run:
                yield self.read(part)

    def ids(self, table: str, wanted: Hashes) -> Indices:
        """The smallest cluster id of each key in `seen` or `pixels`: int64 [n], -1 where none."""
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        found = np.full(len(wanted), -1, np.int64)
        for run in self.state.runs(table):
            for part in run:
                low = np.searchsorted(ascending, np.uint64(part.first), "left")
                high = np.searchsorted(ascending, np.uint64(part.last), "right")
                if low < high:
                    here = runs.smallest_ids(runs.as_run(self.read(part)), ascending[low:high])
                    before = found[low:high]
                    found[low:high] = np.where(
                        (before < 0) | ((here >= 0) & (here < before)), here, before
                    )
        back = np.empty(len(wanted), np.int64)
        back[order] = found
        return back

    def thumbs(self, ids: Indices) -> Thumbs:
        """Thumbnails uint8 [n, 16, 16, 3] of ascending cluster ids."""
        found = np.empty((len(ids), EDGE, EDGE, 3), np.uint8)
        for rows, batch, at in self._clusters(ids):
            found[rows] = thumbs_of(batch["thumb"])[at]
        return found

    def known(self, ids: Indices) -> Known:
        """Name, split and first day of ascending cluster ids."""
        tables = [pa.table(batch.select(_ABOUT)).take(at) for _, batch, at in self._clusters(ids)]
        rows = pa.concat_tables([CLUSTERS.empty_table().select(_ABOUT), *tables])
        rows = rows.sort_by("key").combine_chunks()
        empty = pa.array([], pa.string())
        return Known(
            rows["key"].to_numpy().astype(np.int64),
            pa.concat_arrays([empty, *rows["cluster"].chunks]),
            records.split_ranks(rows["split"]),
            pa.concat_arrays([empty, *rows["day"].chunks]),
        )

    def blocked(self) -> pa.Table:
        """Hashes of what was taken down: BLOCKED."""
        part = self.state.blocked
        return BLOCKED.empty_table() if part is None else pa.table(self.read(part))

    def _clusters(
        self, ids: Indices
    ) -> Iterator[tuple[Indices, pa.RecordBatch, npt.NDArray[np.int64]]]:
        """(rows of `ids`, batch, rows of the batch) wherever some of the ids are."""
        for run in self.state.runs("clusters"):
            for part in run:
                low, high = np.searchsorted(ids, [part.first, part.last + 1])
                if low == high:
                    continue
                batch = self.read(part)
                keys = batch["key"].to_numpy()
                at = np.minimum(np.searchsorted(keys, ids[low:high]), len(keys) - 1)
                hit = keys[at] == ids[low:high]
                yield np.arange(low, high)[hit], batch, at[hit]


_ABOUT = ["key", "cluster", "split", "day"]


def thumbs_of(column: pa.Array) -> Thumbs:
    """A view uint8 [n, 16, 16, 3] of a column of thumbnails without nulls."""
    data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    start = column.offset * THUMB_BYTES
    return data[start : start + len(column) * THUMB_BYTES].reshape(-1, EDGE, EDGE, 3)


def arrow_file(rows: pa.Table) -> bytes:
    """A table as an Arrow file of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        batches = rows.combine_chunks().to_batches()
        writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], rows.schema))
    return sink.getvalue().to_pybytes()


def is_true(state: State, digests: dict[str, str]) -> bool:
    """Whether an index still says what the lake says.

    digests: of `deduplicated` of the earlier days the lake has. A day whose dataset was removed
    stays known; one that was run again, or filled in, makes the index untrue.
    """
    last = max(state.days, default="")
    filled_in = any(day <= last and day not in state.days for day in digests)
    return not filled_in and all(digests.get(d, known) == known for d, known in state.days.items())
