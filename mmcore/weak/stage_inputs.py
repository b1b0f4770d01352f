"""What the stage reads: the datasets of a day, cut into tasks of one part of images each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.lake import Dataset, Lake
from mmcore.weak.champion import SEEN, Champion
from mmcore.weak.evidence import (
    PLACES,
    TEXTS,
    Evidence,
    caption_texts,
    distinct_places,
    gather,
    page_places,
    page_texts,
)

_NAMES = ("deduplicated", "tokenized", "texts")
_KEYS = ["sha256", "cluster", "kept"]
_ROWS = ["sha256", "cluster", "kept", "split", "annotation"]
_PAGE_COLUMNS = ["sha256", "page_url", "image_url", "role", "text", "lang", "kept"]


@dataclass(frozen=True)
class Day:
    """The inputs of one day; `normalized` only where a model looks at the images."""

    deduplicated: Dataset
    tokenized: Dataset
    texts: Dataset
    normalized: Dataset | None = None

    @property
    def parents(self) -> list[Dataset]:
        """All of them."""
        read = [self.deduplicated, self.tokenized, self.texts]
        return [*read, self.normalized] if self.normalized else read


@dataclass(frozen=True)
class Task:
    """One part of a day: the images of part `index`, and where their texts and bytes lie.

    members: `sha256` of every image of their clusters and `image`, the number of the kept one.
    """

    day: Day
    index: int
    members: pa.Table
    texts_parts: list[int]
    bytes_parts: list[int]


def read_day(lake: Lake, day: str, images: bool = False) -> Day:
    """The datasets of a day; UserError names the one that is missing."""
    normalized = lake.dataset("normalized", day) if images else None
    deduplicated, tokenized, texts = (lake.dataset(name, day) for name in _NAMES)
    return Day(deduplicated, tokenized, texts, normalized)


def earlier_days(lake: Lake, day: str, most: int) -> list[Day]:
    """The last `most` earlier days that have all inputs, oldest first."""
    common = set.intersection(*(set(lake.partitions(name)) for name in _NAMES))
    earlier = sorted(d for d in common if d < day)
    return [read_day(lake, d) for d in earlier[max(len(earlier) - most, 0) :]]


def tasks_of(day: Day) -> list[Task]:
    """One task per part, from keys alone."""
    keys = [part.append_column("part", _fill(part, i)) for i, part in _key_parts(day)]
    if not keys:
        return []
    table = pa.concat_tables(keys).combine_chunks()
    kept = table.filter(table["kept"])
    at = pc.index_in(table["cluster"], kept["cluster"].combine_chunks())
    members = table.filter(at.is_valid())
    at = at.drop_null().combine_chunks()
    members = pa.table(
        {"sha256": members["sha256"], "part": kept["part"].take(at), "image": kept["row"].take(at)}
    ).combine_chunks()
    texts = parts_with(day.texts, members)
    images = parts_with(day.normalized, kept) if day.normalized else {}
    return [
        Task(
            day,
            i,
            members.filter(pc.equal(members["part"], i)),
            texts.get(i, []),
            images.get(i, []),
        )
        for i in range(len(day.deduplicated.parts))
    ]


def read_evidence(task: Task, page_language: bool) -> tuple[pa.Table, Evidence]:
    """The kept rows of a task, and everything its pages say."""
    rows = task.day.deduplicated.read_part(task.index, _ROWS)
    rows = rows.filter(rows["kept"]).combine_chunks()
    tokenized = task.day.tokenized.read_part(task.index)
    captions = caption_texts(tokenized, rows["sha256"].combine_chunks())
    pages, places = [TEXTS.empty_table()], [PLACES.empty_table()]
    for part in task.texts_parts:
        texts = task.day.texts.read_part(part, _PAGE_COLUMNS)
        pages.append(page_texts(texts, task.members))
        places.append(page_places(texts, task.members))
    said, where = pa.concat_tables(pages), distinct_places(pa.concat_tables(places))
    return rows, gather(captions, said, rows.num_rows, where, page_language)


def look(task: Task, rows: pa.Table, champion: Champion) -> pa.Table:
    """`SEEN` for the kept rows of a task, by part of the bytes; nulls where there are no bytes."""
    found, numbers = [SEEN.empty_table()], [np.zeros(0, np.int64)]
    for part in task.bytes_parts:
        table = task.day.normalized.read_part(part, ["sha256", "image"])  # type: ignore[union-attr]
        at = pc.index_in(table["sha256"], rows["sha256"].combine_chunks())
        known = table.filter(at.is_valid())
        if known.num_rows:
            numbers.append(at.drop_null().to_numpy())
            found.append(champion.see(known["image"].to_pylist()).cast(SEEN))
    number = np.concatenate(numbers)
    at = np.full(rows.num_rows, -1)
    at[number] = np.arange(len(number))
    return pa.concat_tables(found).take(pa.array(at, mask=at < 0)).combine_chunks()


def _key_parts(day: Day) -> list[tuple[int, pa.Table]]:
    parts = []
    for i, part in enumerate(day.deduplicated.iter_parts(_KEYS)):
        kept = part["kept"].to_numpy(zero_copy_only=False)
        parts.append((i, part.append_column("row", pa.array(np.cumsum(kept) - kept))))
    return parts


def _fill(table: pa.Table, value: int) -> pa.Array:
    return pa.array(np.full(table.num_rows, value, np.int64))


def parts_with(dataset: Dataset, images: pa.Table) -> dict[int, list[int]]:
    """For each part of the images (`sha256`, `part`), the parts of a dataset that speak of them."""
    found: dict[int, list[int]] = {}
    for number, table in enumerate(dataset.iter_parts(["sha256"])):
        at = pc.index_in(table["sha256"], images["sha256"].combine_chunks())
        parts = images["part"].take(at.drop_null().combine_chunks())
        for part in pc.unique(parts).to_pylist():
            found.setdefault(part, []).append(number)
    return found
