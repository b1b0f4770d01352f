"""Sorted runs: what the index across nights is made of.

A run is a table with a `key` (uint64), sorted by it; a key may occur again. A night adds a run to
each table of the index and never changes one. So that a lookup does not ask one run a night, runs
of about equal size are merged, four at a time: after N nights there are at most three of each size,
some log N in all, and a row has been copied log N times. This is the log-structured merge of O'Neil
et al., "The Log-Structured Merge-Tree" (1996), with tiers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.dedup.hashing import Hashes, positions

Indices = npt.NDArray[np.int64]
FAN_IN = 4
_SMALLEST = 1024  # rows; smaller runs are all of one size


@dataclass(frozen=True)
class Run:
    """Keys uint64 [n], sorted, and the id of each, uint32 [n]; of equal keys the smaller first."""

    keys: Hashes
    ids: npt.NDArray[np.uint32]


def sorted_run(keys: Hashes, ids: npt.NDArray[np.integer]) -> Run:
    """A run of unsorted keys and their ids."""
    order = np.lexsort((ids, keys))
    return Run(keys[order], ids[order].astype(np.uint32))


def followed(first: Run, then: Run) -> Run:
    """Two runs as one; all ids of the first are smaller."""
    keys = np.concatenate([first.keys, then.keys])
    order = np.argsort(keys, kind="stable")  # Timsort: of two sorted runs a single merge
    return Run(keys[order], np.concatenate([first.ids, then.ids])[order])


def as_table(run: Run) -> pa.Table:
    """Columns `key` (uint64) and `id` (uint32)."""
    return pa.table({"key": run.keys, "id": run.ids})


def as_run(rows: pa.RecordBatch | pa.Table) -> Run:
    """From columns `key` and `id`; of a batch of a mapped file without copying it."""
    return Run(rows["key"].to_numpy(), rows["id"].to_numpy())


def smallest_ids(run: Run, wanted: Hashes) -> Indices:
    """For each wanted key the smallest id the run has for it: int64 [n], -1 where none."""
    at = positions(run.keys, wanted)  # of equal keys the first, which has the smallest id
    return np.where(at >= 0, run.ids[at].astype(np.int64) if len(run.ids) else -1, -1)


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """One sorted table of several with the same columns; equal keys are ordered by `id`, or are one
    row with the sum of their `count`."""
    rows = pa.concat_tables(tables)
    if "count" in rows.column_names:
        summed = rows.group_by("key", use_threads=False).aggregate([("count", "sum")])
        rows = summed.rename_columns(["key", "count"]).cast(rows.schema)
    by = [(name, "ascending") for name in ("key", "id") if name in rows.column_names]
    return rows.sort_by(by).combine_chunks()


def due(sizes: Sequence[int]) -> list[int]:
    """Which runs of these sizes to merge now: positions of four of one tier, or none."""
    tiers = [_tier(size) for size in sizes]
    full = sorted(tier for tier, count in Counter(tiers).items() if count >= FAN_IN)
    return [i for i, tier in enumerate(tiers) if tier == full[0]] if full else []


def _tier(size: int) -> int:
    """0 up to 1,024 rows, then one more for each factor of four."""
    tier = 0
    while size > _SMALLEST:
        size, tier = -(-size // FAN_IN), tier + 1
    return tier


def cuts(firsts: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], most: int) -> list[int]:
    """Keys at which to cut a merge of several runs into ranges of at most about `most` rows.

    firsts, rows: of each run, the first key and the number of rows of each of its parts. The first
    range starts at 0 and each cut starts another.
    """
    points = sorted(
        (first, count)
        for run_firsts, run_rows in zip(firsts, rows, strict=True)
        for first, count in zip(run_firsts, run_rows, strict=True)
    )
    found, inside = [0], 0
    for first, count in points:
        if inside + count > most and first > found[-1]:
            found.append(first)
            inside = 0
        inside += count
    return found
