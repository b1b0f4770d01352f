"""An index across nights: sorted runs (runs.py) in files, found by their keys. No Ray, no writing.

A run's parts lie in the folder of the night that wrote them and are never changed; `index.json` of
each night names the parts that make up the whole, so a night writes what is new and, now and then,
a merge. A part is an Arrow file of one batch: on a local disk a lookup touches the pages it needs
by memory map, on S3 it fetches whole parts of some 14 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from mmcore.dedup import runs
from mmcore.dedup.hashing import Hashes
from mmcore.dedup.runs import Indices
from mmcore.lake import Dataset, Storage

INDEX_FILE = "index.json"


class PartRef(BaseModel):
    """One file of a run: where it is and which keys it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str
    """Of the index that wrote it."""
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

    def runs(self, table: str) -> list[list[PartRef]]:
        """The runs of a table."""
        return self.tables.get(table, [])

    def parts(self) -> Iterator[PartRef]:
        """Every file it refers to."""
        for table in self.tables.values():
            for run in table:
                yield from run

    def extended(self, new: dict[str, list[PartRef]]) -> dict[str, list[list[PartRef]]]:
        """The tables with one more run each, where there are parts for it."""
        return {table: [*self.runs(table), *([run] if run else [])] for table, run in new.items()}


@dataclass(frozen=True)
class Index:
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

    def within(self, table: str, ascending: Hashes) -> Iterator[tuple[slice, pa.RecordBatch]]:
        """Each part that may hold some of these sorted keys, and which of them."""
        for run in self.state.runs(table):
            for part in run:
                low = int(np.searchsorted(ascending, np.uint64(part.first), "left"))
                high = int(np.searchsorted(ascending, np.uint64(part.last), "right"))
                if low < high:
                    yield slice(low, high), self.read(part)

    def ids(self, table: str, wanted: Hashes) -> Indices:
        """The smallest cluster id of each key in a table of ids: int64 [n], -1 where none."""
        if not self.state.runs(table):
            return np.full(len(wanted), -1, np.int64)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        found = np.full(len(wanted), -1, np.int64)
        for some, batch in self.within(table, ascending):
            here = runs.smallest_ids(runs.as_run(batch), ascending[some])
            before = found[some]
            found[some] = np.where((before < 0) | ((here >= 0) & (here < before)), here, before)
        back = np.empty(len(wanted), np.int64)
        back[order] = found
        return back

    def rows(self, table: str, ids: Indices) -> Iterator[tuple[Indices, pa.RecordBatch, Indices]]:
        """(positions in `ids`, batch, rows of the batch) wherever a table keyed by cluster id has
        some of these ascending ids."""
        wanted = ids.astype(np.uint64)
        for some, batch in self.within(table, wanted):
            keys = batch["key"].to_numpy()
            at = np.minimum(np.searchsorted(keys, wanted[some]), len(keys) - 1)
            hit = keys[at] == wanted[some]
            yield np.arange(some.start, some.stop)[hit], batch, at[hit]


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
