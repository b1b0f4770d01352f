"""What is said about images, brought to the part of `deduplicated` that their cluster lies in.

Texts and annotations lie in the order of keys or pages, clusters in that of their names. Read by
every task in full, a day's work would grow with the square of its images. So one pass sorts them
into scratch files with a batch for each part of the result, and a task reads its batches alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup.hashing import Hashes, positions, short_digests
from mmcore.dedup.runs import Indices
from mmcore.lake import Dataset, Storage

_ROWS_PER_FILE = 20_000


@dataclass(frozen=True)
class Route:
    """Where the rows of an image go: keys [N] sorted, the cluster of each, and the part of the
    result that each cluster [C] lies in."""

    keys: Hashes
    cluster: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]

    @property
    def parts(self) -> int:
        """How many parts the result has, at least one."""
        return int(self.part.max(initial=0)) + 1

    def find(self, sha256: pa.ChunkedArray) -> Indices:
        """Position of each image in the route, -1 where it has none: int64 [n]."""
        return positions(self.keys, short_digests(sha256))


def groups(dataset: Dataset, rows: int) -> list[list[int]]:
    """Numbers of parts that follow each other, in groups of at most about `rows` rows."""
    found: list[list[int]] = []
    inside = 0
    for number, part in enumerate(dataset.parts):
        if not found or inside + part.rows > rows:
            found.append([])
            inside = 0
        found[-1].append(number)
        inside += part.rows
    return found


@dataclass(frozen=True)
class Sorted:
    """Scratch files; each has a batch for each part of the result."""

    storage: Storage
    folder: str
    files: int

    def read(self, part: int) -> Iterator[pa.Table]:
        """What belongs to one part, a file at a time."""
        for number in range(self.files):
            with self.storage.open(f"{self.folder}/{number:05d}.arrow") as file:
                yield pa.table(pa.ipc.open_file(file).get_batch(part))

    def file(self, number: int) -> pa.Table:
        """All of one file."""
        with self.storage.open(f"{self.folder}/{number:05d}.arrow") as file:
            return pa.ipc.open_file(file).read_all()

    def remove(self) -> None:
        """Delete the files."""
        self.storage.delete(self.folder)


@dataclass(frozen=True)
class Source:
    """What is sorted, and what is noted of it meanwhile.

    select: the rows of a part that matter; they must keep `sha256`. note: something small about the
    rows of one file, given with the cluster of each.
    """

    dataset: Dataset
    columns: list[str]
    select: Callable[[pa.Table], pa.Table]
    note: Callable[[pa.Table, Indices], Any]


@dataclass(frozen=True)
class _Item:
    file: int
    parts: list[int]


@dataclass(frozen=True)
class _Done:
    rows: int
    note: Any


def shuffle(
    source: Source, route: Route, storage: Storage, folder: str, description: str
) -> tuple[Sorted, list[Any]]:
    """The scratch files, and the note of each."""
    items = [
        _Item(file, parts) for file, parts in enumerate(groups(source.dataset, _ROWS_PER_FILE))
    ]
    task = partial(_sort, source, route, storage, folder)
    done = map_parts(task, items, description=description, unit="rows")
    return Sorted(storage, folder, len(items)), [one.note for one in done]


def _sort(source: Source, route: Route, storage: Storage, folder: str, item: _Item) -> _Done:
    """Ray task: a few parts of the source as one file with a batch for each part of the result."""
    tables = [source.select(source.dataset.read_part(part, source.columns)) for part in item.parts]
    rows = pa.concat_tables(tables)
    at = route.find(rows["sha256"])
    rows, at = rows.filter(pa.array(at >= 0)), at[at >= 0]
    note = source.note(rows, route.cluster[at].astype(np.int64))
    target = route.part[route.cluster[at]]
    order = np.argsort(target, kind="stable")
    rows = rows.take(pa.array(order)).combine_chunks()
    edges = np.searchsorted(target[order], np.arange(route.parts + 1)).tolist()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        for start, stop in pairwise(edges):
            writer.write_batch(_batch(rows.slice(start, stop - start)))
    storage.write(f"{folder}/{item.file:05d}.arrow", sink.getvalue().to_pybytes())
    return _Done(rows.num_rows, note)


def _batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], rows.schema)
