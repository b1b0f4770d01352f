"""What a day has stored, read on Ray into a few numbers per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import images, records
from mmcore.dedup.hashing import Hashes, short_digests
from mmcore.dedup.images import REASONS, Facts, Places, Reasons
from mmcore.dedup.stage_shuffle import groups
from mmcore.lake import Dataset

_ROWS_PER_TASK = 20_000
Arrays = TypeVar("Arrays")


@dataclass(frozen=True)
class Stored:
    """Rows of `deduplicated`, in their order: parallel arrays [n]."""

    short: Hashes
    """First 64 bits of sha256."""
    cluster: Hashes
    """First 64 bits of the cluster's name."""
    reason: Reasons
    """Code of REASONS, -1 for another."""
    split: npt.NDArray[np.int8]
    """Rank as in records.py."""


@dataclass(frozen=True)
class Placed:
    """Images clean kept, in the order of `cleaned`: parallel arrays [n]."""

    short: Hashes
    pixels: Hashes
    hashes: Hashes
    part: Places
    """Of `cleaned`."""
    row: Places
    """Within the part."""


def decided(deduplicated: Dataset) -> Stored:
    """All rows of `deduplicated@DAY`."""
    return _all(Stored, partial(_stored, deduplicated), deduplicated)


def placed(cleaned: Dataset) -> Placed:
    """All images of `cleaned@DAY`."""
    return _all(Placed, partial(_placed, cleaned), cleaned)


def _all(kind: type[Arrays], task: Callable[[list[int]], Arrays], dataset: Dataset) -> Arrays:
    items = groups(dataset, _ROWS_PER_TASK)
    # On Ray, unless the work is less than the way there.
    if len(items) > 1:
        done = map_parts(task, items, description="dedup stored", unit="parts")
    else:
        done = [task(item) for item in items or [[]]]
    columns = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(*(np.concatenate([getattr(one, name) for one in done]) for name in columns))


def _stored(deduplicated: Dataset, parts: list[int]) -> Stored:
    """Ray task: the rows of a few parts."""
    columns = ["sha256", "cluster", "reason", "split"]
    empty = pa.schema([(name, pa.string()) for name in columns]).empty_table()
    rows = pa.concat_tables([empty, *(deduplicated.read_part(part, columns) for part in parts)])
    reason = pc.fill_null(pc.index_in(rows["reason"], pa.array(REASONS)), -1)
    return Stored(
        short_digests(rows["sha256"]),
        short_digests(rows["cluster"]),
        reason.to_numpy().astype(np.int8),
        records.split_ranks(rows["split"]).astype(np.int8),
    )


def _placed(cleaned: Dataset, parts: list[int]) -> Placed:
    """Ray task: the images of a few parts."""
    facts, at = [], [np.empty((2, 0), np.int32)]
    for part in parts:
        rows = cleaned.read_part(part, images.COLUMNS)
        facts.append(Facts.of(rows))
        row = np.flatnonzero(rows["kept"].to_numpy())
        at.append(np.stack([np.full(len(row), part), row]).astype(np.int32))
    found, where = images.joined(facts), np.concatenate(at, axis=1)
    return Placed(found.short, found.pixels, found.hashes, where[0], where[1])
