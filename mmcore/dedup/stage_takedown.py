"""`mmcore takedown`: finds what a URL or key stands for in the lake and puts it on the list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.dedup.takedown import NAME, TAKEDOWN, kind_of, shown_at
from mmcore.lake import Dataset, Lake

_FOUND = ("sha256", "cluster", "pixels", "phash")
_NOT_SEEN = pa.table({name: pa.nulls(1, TAKEDOWN.field(name).type) for name in _FOUND})


@dataclass(frozen=True)
class TakenDown:
    """images: keys now on the list for this target; kept_on: days whose `deduplicated` keeps one,
    so that their shards hold it until they are written again."""

    dataset: Dataset
    images: list[str]
    clusters: list[str]
    kept_on: list[str]


def take_down(lake: Lake, target: str, reason: str, day: str) -> TakenDown:
    """Append a target to the dataset `takedown`: every image at a URL (of an image or of a page),
    or of a sha256, and all near-duplicates that earlier days found of it.

    The list only grows. What is not in the lake yet is listed as it is, and matched when it comes.
    UserError where the target is neither a URL nor a sha256.
    """
    kind = kind_of(target)
    keys = pa.array([target]) if kind == "sha256" else _at(lake, target)
    members, kept_on = _members(lake, keys)
    facts = _facts(lake, members["sha256"].combine_chunks())
    rows = members.join(facts, "sha256").sort_by("sha256")
    listed = rows if rows.num_rows else _NOT_SEEN
    n = listed.num_rows
    new = pa.table(
        {
            "target": pa.array([target] * n),
            "kind": pa.array([kind] * n),
            "reason": pa.array([reason] * n),
            "day": pa.array([day] * n),
            **{name: listed[name] for name in _FOUND},
        }
    ).cast(TAKEDOWN)
    clusters = sorted(pc.unique(rows["cluster"].drop_null()).to_pylist())
    return TakenDown(_append(lake, new), rows["sha256"].to_pylist(), clusters, kept_on)


def _append(lake: Lake, new: pa.Table) -> Dataset:
    listed = lake.find(NAME)
    old = TAKEDOWN.empty_table() if listed is None else listed.read()
    known = set(zip(old["target"].to_pylist(), old["sha256"].to_pylist(), strict=True))
    pairs = zip(new["target"].to_pylist(), new["sha256"].to_pylist(), strict=True)
    rows = pa.concat_tables([old, new.filter(pa.array([pair not in known for pair in pairs]))])
    writer = lake.writer(NAME)
    parents = [listed] if listed else []
    metadata = {"targets": len(set(rows["target"].to_pylist())), "images": rows.num_rows}
    return writer.commit([writer.write_table(0, rows)], parents, {}, metadata)


def _at(lake: Lake, url: str) -> pa.Array:
    columns = ["sha256", "image_url", "page_url"]
    parts = (p for _, ds in _days(lake, "crawled") for p in ds.iter_parts(columns))
    return shown_at(parts, pa.array([url]))


def _members(lake: Lake, keys: pa.Array) -> tuple[pa.Table, list[str]]:
    """`sha256, cluster` of some images and of all in their clusters, and days that keep one.

    The cluster is null of an image that no day's dedup has seen.
    """
    columns = ["sha256", "cluster", "kept"]
    names = pa.array([], pa.string())
    for _, dataset in _days(lake, "deduplicated"):
        for part in dataset.iter_parts(columns):
            here = part.filter(pc.is_in(part["sha256"], keys))["cluster"].combine_chunks()
            names = pc.unique(pa.concat_arrays([names, here.cast(pa.string())]))
    unseen = pa.table([keys, pa.nulls(len(keys), pa.string())], names=["sha256", "cluster"])
    found, kept_on = [unseen], set()
    for day, dataset in _days(lake, "deduplicated"):
        for part in dataset.iter_parts(columns):
            here = part.filter(pc.is_in(part["cluster"], names))
            found.append(here.select(["sha256", "cluster"]))
            if pc.any(here["kept"]).as_py():
                kept_on.add(day)
    rows = pa.concat_tables(found).group_by(["sha256"]).aggregate([("cluster", "min")])
    return rows.rename_columns(["sha256", "cluster"]), sorted(kept_on)


def _facts(lake: Lake, keys: pa.Array) -> pa.Table:
    """`sha256, pixels, phash` of some images."""
    columns = ["sha256", "pixels", "phash"]
    schema = pa.schema([TAKEDOWN.field(name) for name in columns])
    found = [schema.empty_table()]
    for _, dataset in _days(lake, "cleaned"):
        for part in dataset.iter_parts(columns):
            found.append(part.filter(pc.is_in(part["sha256"], keys)))
    rows = (
        pa.concat_tables(found).group_by("sha256").aggregate([("pixels", "min"), ("phash", "min")])
    )
    return rows.rename_columns(columns)


def _days(lake: Lake, name: str) -> Iterator[tuple[str, Dataset]]:
    for day in lake.partitions(name):
        yield day, lake.dataset(name, day)
