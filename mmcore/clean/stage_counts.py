"""Counting what the parts of a dataset hold: small numbers that tasks send to the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.lake import Part


@dataclass(frozen=True)
class Counted:
    """A part and what was counted in it: name of the count -> value -> rows."""

    rows: int
    part: Part
    counts: dict[str, dict[str, int]]


def counts_of(table: pa.Table, columns: Iterable[str]) -> dict[str, dict[str, int]]:
    """How often each value of some columns occurs; null counts as `unknown`."""
    found = {}
    for name in columns:
        values = pc.value_counts(pc.fill_null(table[name], "unknown"))
        found[name] = {v["values"].as_py(): v["counts"].as_py() for v in values}
    return found


def total(done: list[Counted], column: str) -> dict[str, int]:
    """One count over all parts, by value."""
    summed: Counter[str] = Counter()
    for part in done:
        summed.update(part.counts[column])
    return dict(sorted(summed.items()))


def funnel(unit: str, reasons: dict[str, int]) -> dict[str, int]:
    """`{images: all, too_small: …, kept: …}`."""
    kept = reasons.get("ok", 0)
    rejected = {reason: n for reason, n in reasons.items() if reason != "ok"}
    return {unit: kept + sum(rejected.values()), **rejected, "kept": kept}
