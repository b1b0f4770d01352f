"""The files of an index: written once, merged when there are many, written again to forget ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup import runs
from mmcore.dedup.index import Index, PartRef, State, arrow_file
from mmcore.dedup.runs import Indices
from mmcore.lake import DatasetWriter, Part

KEYS_PER_PART = 1_000_000  # 12 bytes each
CLUSTERS_PER_PART = 16_000  # some 850 bytes each
LEADERS_PER_PART = 50_000  # some 250 bytes each
_PER_PART = {"clusters": CLUSTERS_PER_PART, "leaders": LEADERS_PER_PART}  # all else are keys

AnyState = TypeVar("AnyState", bound=State)


@dataclass(frozen=True)
class Written:
    """A file and the reference to it; None where there were no rows."""

    rows: int
    part: Part | None = None
    ref: PartRef | None = None


@dataclass
class Night:
    """What is written on the way to the next index."""

    writer: DatasetWriter
    parts: list[Part] = field(default_factory=list)
    serial: int = 0

    def name(self, table: str) -> str:
        """The next file name."""
        self.serial += 1
        return f"{table}-{self.serial:05d}.arrow"

    def add(self, written: Sequence[Written]) -> list[PartRef]:
        """Take note of parts; the references to those that are not empty."""
        kept = [w for w in written if w.part is not None]
        self.parts += [w.part for w in kept if w.part is not None]
        return [w.ref for w in kept if w.ref is not None]

    def keep(self, files: set[str]) -> None:
        """Remove what was merged or filtered again in the same night."""
        for part in self.parts:
            if part.file not in files:
                self.writer.storage.delete(f"{self.writer.folder}/{part.file}")
        self.parts = [part for part in self.parts if part.file in files]


def write_part(writer: DatasetWriter, file: str, rows: pa.Table) -> Written:
    """One file of sorted rows, or none for no rows."""
    if not rows.num_rows:
        return Written(0)
    part = writer.write_file(file, arrow_file(rows), rows=rows.num_rows)
    ref = PartRef(
        partition=str(writer.partition),
        file=file,
        rows=rows.num_rows,
        sha256=part.sha256,
        first=rows["key"][0].as_py() if "key" in rows.column_names else 0,
        last=rows["key"][-1].as_py() if "key" in rows.column_names else 0,
    )
    return Written(rows.num_rows, part, ref)


def write_run(night: Night, table: str, rows: pa.Table) -> list[PartRef]:
    """One run of sorted rows, in as many files as it needs."""
    most = _PER_PART.get(table, KEYS_PER_PART)
    slices = [rows.slice(start, most) for start in range(0, rows.num_rows, most)]
    return night.add([write_part(night.writer, night.name(table), some) for some in slices])


@dataclass(frozen=True)
class _Range:
    """Keys [low, high) of some parts, to be merged into one file."""

    file: str
    parts: list[PartRef]
    low: int
    high: int


def merged(night: Night, index: Index, state: AnyState) -> AnyState:
    """Merge runs of equal size until no table has too many of them. `state` is that of `index`."""
    while True:
        work: dict[str, tuple[list[int], list[_Range]]] = {}
        for table in state.tables:
            chosen = runs.due([sum(p.rows for p in run) for run in state.runs(table)])
            if chosen:
                work[table] = chosen, _merge_ranges(night, table, state, chosen)
        if not work:
            return state
        items = [item for _, ranges in work.values() for item in ranges]
        task = partial(_merge_range, night.writer, replace(index, state=State()))
        done = dict(zip([i.file for i in items], _mapped(task, items), strict=True))
        tables = dict(state.tables)
        for table, (chosen, ranges) in work.items():
            kept = [run for i, run in enumerate(tables[table]) if i not in chosen]
            tables[table] = [*kept, night.add([done[r.file] for r in ranges])]
        state = state.model_copy(update={"tables": tables})


def _merge_ranges(night: Night, table: str, state: State, chosen: list[int]) -> list[_Range]:
    old = [state.runs(table)[i] for i in chosen]
    most = _PER_PART.get(table, KEYS_PER_PART)
    cuts = runs.cuts([[p.first for p in r] for r in old], [[p.rows for p in r] for r in old], most)
    parts = [part for run in old for part in run]
    ranges = []
    for low, high in zip(cuts, [*cuts[1:], 2**64], strict=True):
        inside = [p for p in parts if p.first < high and p.last >= low]
        ranges.append(_Range(night.name(table), inside, low, high))
    return ranges


def _merge_range(writer: DatasetWriter, index: Index, item: _Range) -> Written:
    """Ray task: the rows of some parts whose keys are in a range, sorted."""
    tables = []
    for part in item.parts:
        rows = pa.table(index.read(part))
        keys = rows["key"].to_numpy()
        low = int(np.searchsorted(keys, np.uint64(item.low)))
        high = len(keys) if item.high == 2**64 else int(np.searchsorted(keys, np.uint64(item.high)))
        tables.append(rows.slice(low, high - low))
    return write_part(writer, item.file, runs.merge(tables))


def _mapped(task: Callable[[Any], Written], items: Sequence[Any]) -> list[Written]:
    """On Ray, unless the work is less than the way there."""
    rows = sum(part.rows for item in items for part in item.parts)
    if rows < CLUSTERS_PER_PART:
        return [task(item) for item in items]
    return map_parts(task, items, description="dedup merge", unit="rows")


def without_ids(
    night: Night, index: Index, table: str, run: list[PartRef], gone: Indices
) -> list[PartRef]:
    """A run without some ids: only parts that hold one are written again."""
    kept: list[PartRef] = []
    name = "key" if table == "clusters" else "id"
    for part in run:
        batch = index.read(part)
        stays = ~np.isin(batch[name].to_numpy(), gone)
        if stays.all():
            kept.append(part)
        else:
            rows = pa.table(batch).filter(pa.array(stays))
            kept += night.add([write_part(night.writer, night.name(table), rows)])
    return kept
