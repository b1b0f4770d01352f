"""Which task writes which shard: decided once, from keys alone, before any bytes are read.

Samples are ordered by where their bytes lie. Each split is cut along that order into shards of
equal count, and neighbouring shards of all splits make a task, which reads its image parts once, in
order, and appends every image to its shard. The plan is a function of the input, not of the number
of workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset
from mmcore.shards.index import ShardName
from mmcore.shards.keys import KeyTable
from mmcore.shards.splits import SPLITS

KEY = pa.schema([("sha256", pa.string()), ("cluster", pa.string()), ("split", pa.string())])
_OVERHEAD = 6 << 10
"""Bytes of a sample beside its image: three headers, padding, labels; near enough to plan with."""


@dataclass(frozen=True)
class Places:
    """Where the samples [n] lie in a dataset, -1 where they do not: part, row in it, bytes there.

    `bytes` is the mean of the part, from its footer: the images are not read for a plan.
    """

    part: NDArray[np.int64]
    row: NDArray[np.int64]
    bytes: NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """How large a shard and a task may get."""

    samples_per_shard: int
    bytes_per_shard: int
    samples_per_task: int


@dataclass(frozen=True)
class ShardTask:
    """What one task writes.

    samples: table of `sha256`, `file` (the tar it goes to), `part` and `row` of its bytes, in the
    order of the bytes, and `pairs` and `crawled`, the parts that have its labels and its origin.
    """

    samples: pa.Table

    def __len__(self) -> int:
        return self.samples.num_rows


def read_keys(dataset: Dataset, schema: pa.Schema) -> pa.Table:
    """The columns of `schema` of a whole dataset; an empty table where it has no parts."""
    tables = [part.select(schema.names).cast(schema) for part in dataset.iter_parts(schema.names)]
    return pa.concat_tables([schema.empty_table(), *tables])


def locate(dataset: Dataset, keys: KeyTable) -> Places:
    """The first row of `dataset` that holds each key in its `sha256`."""
    n = len(keys)
    part, row = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    size = np.zeros(n)
    for number, table in enumerate(dataset.iter_parts(["sha256"])):
        found = keys.find(table["sha256"])
        rows = np.flatnonzero(found >= 0)[::-1]  # of equal keys the first row is written last
        new = part[found[rows]] < 0
        at = found[rows[new]]
        part[at], row[at] = number, rows[new]
        size[at] = dataset.parts[number].bytes / max(1, table.num_rows)
    return Places(part, row, size)


def plan_tasks(
    keys: pa.Table,
    images: Places,
    parts: dict[str, NDArray[np.int64]],
    limits: Limits,
    left_out: NDArray[np.bool_],
) -> list[ShardTask]:
    """Tasks that together write every sample once, into shards numbered from 0 within a split.

    keys: columns `sha256`, `split` (never null), one row a sample. images: their places in
    `normalized`. parts: for `pairs` and `crawled` the part of each sample, -1 where it is unknown.
    left_out: samples that were taken down. They count while the shards are cut, so that the other
    shards stay as they are, and are then left out; a shard without samples is not written.
    """
    _require_bytes(keys["sha256"], images.part, left_out)
    order = np.lexsort((images.row, images.part))
    split = keys["split"].to_numpy()[order]
    weight = images.bytes[order] + _OVERHEAD
    files, shards = _cut(split, weight, limits)
    tasks = []
    for group in _groups(shards, limits.samples_per_task):
        rows = np.sort(np.concatenate([shard.rows for shard in group]))
        rows = rows[~left_out[order[rows]]]
        if not len(rows):
            continue
        at = order[rows]
        columns = {
            "sha256": keys["sha256"].take(pa.array(at)).combine_chunks(),
            "file": pa.array(files[rows], pa.string()),
            "part": images.part[at],
            "row": images.row[at],
        }
        others = {name: part[at] for name, part in parts.items()}
        tasks.append(ShardTask(pa.table(columns | others)))
    return tasks


@dataclass(frozen=True)
class _Shard:
    """Rows of one shard, in the order of the bytes."""

    rows: NDArray[np.int64]


def _cut(
    split: NDArray[np.object_], weight: NDArray[np.float64], limits: Limits
) -> tuple[NDArray[np.object_], list[_Shard]]:
    """The tar of each sample, and the shards by where they begin."""
    files = np.empty(len(split), object)
    shards = []
    for name in SPLITS:
        rows = np.flatnonzero(split == name)
        for number, piece in enumerate(_pieces(rows, weight, limits)):
            files[piece] = ShardName(name, number).tar
            shards.append(_Shard(piece))
    return files, sorted(shards, key=lambda shard: int(shard.rows[0]))


def _pieces(
    rows: NDArray[np.int64], weight: NDArray[np.float64], limits: Limits
) -> list[NDArray[np.int64]]:
    """The fewest runs whose counts differ by one at most and that keep both limits."""
    if not len(rows):
        return []
    count = -(-len(rows) // limits.samples_per_shard)
    while True:
        pieces = np.array_split(rows, count)
        largest = max(weight[piece].sum() for piece in pieces)
        if largest <= limits.bytes_per_shard or count == len(rows):
            return pieces
        count = min(len(rows), max(count + 1, int(count * largest / limits.bytes_per_shard)))


def _groups(shards: list[_Shard], samples_per_task: int) -> list[list[_Shard]]:
    """Neighbouring shards, together at most `samples_per_task` samples unless one has more."""
    groups: list[list[_Shard]] = []
    size = 0
    for shard in shards:
        if not groups or size + len(shard.rows) > samples_per_task:
            groups.append([])
            size = 0
        groups[-1].append(shard)
        size += len(shard.rows)
    return groups


def _require_bytes(
    keys: pa.ChunkedArray, part: NDArray[np.int64], left_out: NDArray[np.bool_]
) -> None:
    lost = (part < 0) & ~left_out
    if lost.any():
        first = keys[int(np.argmax(lost))].as_py()
        raise MmcoreError(
            f"{int(lost.sum())} images, such as {first}, have labels but no normalised "
            "bytes: run clean and the stages after it again for this day."
        )
