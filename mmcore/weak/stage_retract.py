"""`mmcore retract`: puts a labeler on the list and says which days and datasets it has touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from mmcore.lake import Dataset, Lake
from mmcore.weak.retracted import NAME, RETRACTED, Retracted, check_labeler, touched_by

_LABELS = ["captions", "qa", "tags", "sentiment"]


@dataclass(frozen=True)
class Touched:
    """days: how many labels of each day's `pairs` the labeler made; `pairs` and all after it have
    to be run again for those days. labelers: all that have labels, as `TASK/SOURCE`."""

    dataset: Dataset
    days: dict[str, int]
    labelers: list[str]


def retracted(lake: Lake) -> tuple[Dataset | None, Retracted]:
    """The list as it is now."""
    found = lake.find(NAME)
    return found, Retracted.of(found.read()) if found else Retracted()


def retract(lake: Lake, labeler: str, reason: str, day: str) -> Touched:
    """Append a labeler to the dataset `retracted`; UserError for what can be no name of one."""
    check_labeler(labeler)
    listed, known = retracted(lake)
    rows = RETRACTED.empty_table() if listed is None else listed.read()
    if not known.has(labeler):
        row = {"labeler": [labeler], "reason": [reason], "day": [day]}
        rows = pa.concat_tables([rows, pa.table(row, schema=RETRACTED)])
    writer = lake.writer(NAME)
    parents = [listed] if listed else []
    done = writer.commit([writer.write_table(0, rows)], parents, {}, {"labelers": rows.num_rows})
    days, labelers = {}, set[str]()
    for one in lake.partitions("pairs"):
        made = touched_by(lake.dataset("pairs", one).iter_parts(_LABELS))
        labelers |= set(made)
        mine = sum(n for name, n in _named(made, labeler))
        if mine:
            days[one] = mine
    return Touched(done, days, sorted(labelers))


def _named(made: Counter[str], labeler: str) -> Iterator[tuple[str, int]]:
    """The counts that a name stands for: of one task, or of all but that a question is once."""
    for name, number in made.items():
        task, _, source = name.partition("/")
        if name == labeler or (source == labeler and task != "fact"):
            yield name, number
