"""What a source asserts about its images (split, annotation), merged over a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.dedup import texts

SPLITS = ("train", "val", "test")  # least protected first
_LISTS = ("captions", "qa", "tags")


def split_ranks(splits: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """-1 for none, then 0, 1, 2 for train, val, test: a larger rank is better protected."""
    return pc.fill_null(pc.index_in(splits, pa.array(SPLITS)), -1).to_numpy().astype(np.int64)


def split_names(ranks: npt.NDArray[np.integer]) -> pa.Array:
    """Split names of ranks; null for -1."""
    return pa.array(SPLITS).take(pa.array(ranks, mask=ranks < 0))


def merge_annotations(records: list[str]) -> str:
    """One JSON record of several, in their order.

    Lists are joined without repeats. Where single values contradict each other none is chosen: the
    values are kept under `conflicts`.
    """
    distinct = list(dict.fromkeys(records))
    if len(distinct) == 1:
        return distinct[0]
    merged: dict[str, Any] = {}
    conflicts: dict[str, list[Any]] = {}
    for record in map(json.loads, distinct):
        for name, value in record.items():
            if name in _LISTS:
                merged[name] = _joined(merged.get(name), value)
            elif name in conflicts:
                conflicts[name] = _joined(conflicts[name], [value])
            elif name in merged and merged[name] != value:
                conflicts[name] = [merged.pop(name), value]
            else:
                merged[name] = value
    if conflicts:
        merged["conflicts"] = conflicts
    return json.dumps(merged, ensure_ascii=False, sort_keys=True)


def _joined(first: list[Any] | None, second: list[Any] | None) -> list[Any]:
    known = {json.dumps(v, sort_keys=True): v for v in [*(first or []), *(second or [])]}
    return list(known.values())


def merge_all(parts: Iterable[pa.Table], keys: pa.Array, owner: pa.Array, count: int) -> pa.Array:
    """The annotation of each of `count` clusters (JSON, or null).

    `parts` are of `crawled` with `sha256, annotation`; `keys` are image keys in order and `owner`
    the cluster 0..count-1 of each, or null. Records come in the order of the keys.
    """
    found = [_annotated(part, keys) for part in parts]
    if not found:
        return pa.nulls(count, pa.string())
    rows = pa.concat_tables(found)
    rows = rows.append_column("owner", owner.take(pc.index_in(rows["sha256"], keys)))
    rows = rows.filter(pc.is_valid(rows["owner"]))
    # Distinct before Python sees them: a record with five captions has five rows.
    rows = rows.group_by(["owner", "sha256", "annotation"]).aggregate([])
    order = [("owner", "ascending"), ("sha256", "ascending"), ("annotation", "ascending")]
    records: dict[int, list[str]] = {}
    for row in rows.sort_by(order).to_pylist():
        records.setdefault(row["owner"], []).append(row["annotation"])
    merged = [merge_annotations(records[c]) if c in records else None for c in range(count)]
    return pa.array(merged, pa.string())


def _annotated(part: pa.Table, keys: pa.Array) -> pa.Table:
    return part.filter(pc.and_(pc.is_valid(part["annotation"]), pc.is_in(part["sha256"], keys)))


def without_captions(records: pa.Array, barred: npt.NDArray[np.uint64]) -> tuple[pa.Array, int]:
    """Annotations (JSON or null) without the captions and texts whose key has a hash in `barred`,
    and how many those were. A record of which nothing is barred stays as it is."""
    parsed = [json.loads(r) if r else {} for r in records.to_pylist()]
    said = [
        (number, name, text)
        for number, record in enumerate(parsed)
        for name in ("captions", "text")
        for text in _texts(record.get(name))
    ]
    keys = texts.text_key(pa.array([text for _, _, text in said], pa.string()))
    hit = np.isin(texts.key_hashes(keys), barred)
    gone = {said[i] for i in np.flatnonzero(hit).tolist()}
    found = records.to_pylist()
    for number in {number for number, _, _ in gone}:
        record = parsed[number]
        for name in ("captions", "text"):
            if name in record:
                free = [t for t in _texts(record[name]) if (number, name, t) not in gone]
                record[name] = free if isinstance(record[name], list) else next(iter(free), None)
                if not record[name]:
                    del record[name]
        found[number] = json.dumps(record, ensure_ascii=False, sort_keys=True)
    return pa.array(found, pa.string()), int(hit.sum())


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
