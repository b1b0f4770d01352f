"""Which task writes which shard: decided once, from keys alone, before any bytes are read.

Samples are ordered by where their bytes lie, cut into tasks of equal size, and within a task each
split is cut into shards of equal count. So every part of image bytes is read by at most two tasks,
and the plan is a function of the input, not of the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset

KEY = pa.schema([("sha256", pa.string()), ("cluster", pa.string()), ("split", pa.string())])


@dataclass(frozen=True)
class ShardTask:
    """What one task writes.

    keys: table of `sha256` and `file`, the tar the sample goes to. The lists say which parts of
    each dataset hold something about these samples.
    """

    keys: pa.Table
    normalized_parts: list[int]
    pairs_parts: list[int]
    crawled_parts: list[int]


def read_keys(dataset: Dataset, schema: pa.Schema) -> pa.Table:
    """The columns of `schema` of a whole dataset; an empty table where it has no parts."""
    tables = [part.select(schema.names).cast(schema) for part in dataset.iter_parts(schema.names)]
    return pa.concat_tables([schema.empty_table(), *tables])


def locate_keys(dataset: Dataset, keys: pa.Array) -> np.ndarray:
    """The first part of `dataset` that holds each key in its `sha256`: int64 [n], -1 if none."""
    found = np.full(len(keys), -1, np.int64)
    for part, table in enumerate(dataset.iter_parts(["sha256"])):
        here = pc.is_in(keys, table["sha256"].combine_chunks()).to_numpy(zero_copy_only=False)
        found[here & (found < 0)] = part
    return found


def plan_tasks(
    keys: pa.Table,
    places: dict[str, np.ndarray],
    samples_per_shard: int,
    samples_per_task: int,
) -> list[ShardTask]:
    """Tasks that together write every sample once, into shards numbered from 0 within a split.

    keys: columns `sha256`, `split` (never null), one row a sample. places: for `normalized`,
    `pairs` and `crawled` the part that holds each sample: int64 [n], -1 where it is unknown.
    """
    _require_bytes(keys["sha256"], places["normalized"])
    at = pa.table({"part": places["normalized"], "sha256": keys["sha256"]})
    order = pc.sort_indices(at, [("part", "ascending"), ("sha256", "ascending")]).to_numpy()
    count = -(-len(order) // samples_per_task)
    numbers: dict[str, int] = {}
    tasks = []
    for rows in np.array_split(order, count) if count else []:
        taken = keys.take(pa.array(rows))
        files = _shard_files(taken["split"].to_numpy(), samples_per_shard, numbers)
        table = pa.table({"sha256": taken["sha256"].combine_chunks(), "file": pa.array(files)})
        tasks.append(ShardTask(table, *(_parts(places[name][rows]) for name in _PLACES)))
    return tasks


_PLACES = ("normalized", "pairs", "crawled")


def _require_bytes(keys: pa.ChunkedArray, part: np.ndarray) -> None:
    if (part < 0).any():
        first = keys[int(np.argmax(part < 0))].as_py()
        raise MmcoreError(
            f"{int((part < 0).sum())} images, such as {first}, have labels but no normalised "
            "bytes: run clean and the stages after it again for this day."
        )


def _parts(parts: np.ndarray) -> list[int]:
    return [int(part) for part in np.unique(parts[parts >= 0])]


def _shard_files(splits: np.ndarray, per_shard: int, numbers: dict[str, int]) -> list[str]:
    """Tar names of a task's samples; `numbers` counts the shards of each split over all tasks."""
    files = np.empty(len(splits), object)
    for split in sorted(set(splits)):
        rows = np.flatnonzero(splits == split)
        for piece in np.array_split(rows, -(-len(rows) // per_shard)):
            files[piece] = f"{split}-{numbers.get(split, 0):06d}.tar"
            numbers[split] = numbers.get(split, 0) + 1
    return files.tolist()
