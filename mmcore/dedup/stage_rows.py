"""The rows of `deduplicated@DAY`: decisions joined with captions and annotations, on Ray.

The only place of the stage that reads texts. Tasks read them where they need them; the driver holds
a few numbers per image and caption.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import records, texts
from mmcore.dedup.runs import Indices
from mmcore.lake import Dataset, DatasetWriter, Part

_ROWS_PER_PART = 20_000

DEDUPLICATED = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("canonical", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("captions", pa.list_(texts.CAPTION)),
        ("split", pa.string()),
        ("annotation", pa.string()),
        ("day_first_seen", pa.string()),
    ]
)


@dataclass(frozen=True)
class Rows:
    """The written parts, and what the dataset's metadata says about them."""

    parts: list[Part]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Written:
    rows: int
    part: Part
    captions: int
    widespread: int
    protected: int


def write(
    writer: DatasetWriter,
    found: Dataset,
    crawled: Dataset,
    rows: pa.Table,
    max_caption_clusters: int,
    protected: npt.NDArray[np.uint64],
) -> Rows:
    """Parts of `deduplicated@DAY`, each of whole clusters; `found` is `texts@DAY`.

    protected: hashes of the keys of texts that must not be captions, sorted.
    """
    banned = _widespread(found, rows, max_caption_clusters)
    task = partial(_rows_part, writer, found, crawled, banned, protected)
    items = list(enumerate(_slices(rows)))
    done = map_parts(task, items, description="dedup captions", unit="images")
    reasons = Counter(rows["reason"].to_pylist())
    rejected = {reason: n for reason, n in sorted(reasons.items()) if reason != "ok"}
    metadata = {
        "funnel": {"images": rows.num_rows, **rejected, "kept": reasons["ok"]},
        "captions": {
            "kept": sum(part.captions for part in done),
            "under_too_many_clusters": sum(part.widespread for part in done),
            "protected": sum(part.protected for part in done),
        },
    }
    return Rows([part.part for part in done], metadata)


def _slices(rows: pa.Table) -> list[pa.Table]:
    """Slices of about equal size that do not cut through a cluster; at least one."""
    clusters_ = rows["cluster"].combine_chunks()
    cuts = [0]
    for wanted in range(_ROWS_PER_PART, rows.num_rows, _ROWS_PER_PART):
        cut = pc.index(clusters_, clusters_[wanted]).as_py()  # sorted: its cluster's first row
        if cut > cuts[-1]:
            cuts.append(cut)
    stops = [*cuts[1:], rows.num_rows]
    return [rows.slice(a, b - a).combine_chunks() for a, b in zip(cuts, stops, strict=True)]


def _widespread(found: Dataset, rows: pa.Table, most: int) -> npt.NDArray[np.uint64]:
    """Hashes of the caption texts that stand under too many clusters."""
    codes = rows["cluster"].combine_chunks().dictionary_encode().indices.to_numpy()
    task = partial(_text_clusters, found, rows["sha256"].combine_chunks(), codes.astype(np.int64))
    items = list(range(len(found.parts)))
    done = map_parts(task, items, description="dedup texts", unit="parts")
    hashes = np.concatenate([part[0] for part in done] or [np.empty(0, np.uint64)])
    where = np.concatenate([part[1] for part in done] or [np.empty(0, np.int64)])
    return texts.widespread(hashes, where, most)


def _text_clusters(
    found: Dataset, keys: pa.Array, codes: Indices, part: int
) -> tuple[npt.NDArray[np.uint64], Indices]:
    """Ray task: distinct (text, cluster) of one part of `texts`."""
    rows = texts.caption_rows(found.read_part(part, texts.COLUMNS))
    rows = rows.filter(pc.is_in(rows["sha256"], keys))
    where = codes[pc.index_in(rows["sha256"], keys).to_numpy()]
    pairs = np.unique(np.rec.fromarrays([texts.key_hashes(rows["key"]), where]))
    return pairs["f0"], pairs["f1"]


def _rows_part(
    writer: DatasetWriter,
    found: Dataset,
    crawled: Dataset,
    banned: npt.NDArray[np.uint64],
    protected: npt.NDArray[np.uint64],
    item: tuple[int, pa.Table],
) -> _Written:
    """Ray task: captions and annotations of some clusters, joined to their rows."""
    part, rows = item
    names = rows.filter(rows["kept"])["cluster"].combine_chunks()  # one kept row a cluster
    owner = pc.index_in(rows["cluster"], names)  # [rows], null where the cluster is old
    mine = rows["sha256"].combine_chunks()
    free = [_unprotected(part, mine, protected) for part in found.iter_parts(texts.COLUMNS)]
    said = (part for part, _ in free)
    merged = texts.merge_all(said, mine, owner, len(names), banned)
    noted = crawled.iter_parts(["sha256", "annotation"])
    notes = records.merge_all(noted, mine, owner, len(names))
    barred = sum(count for _, count in free)
    if len(protected):
        notes, more = records.without_captions(notes, protected)
        barred += more
    where = pc.if_else(rows["kept"], owner, None)
    columns = {name: rows[name] for name in rows.column_names}
    columns |= {"captions": merged.captions.take(where), "annotation": notes.take(where)}
    table = pa.table({name: columns[name] for name in DEDUPLICATED.names}).cast(DEDUPLICATED)
    return _Written(
        table.num_rows,
        writer.write_table(part, table),
        merged.kept,
        merged.left_out,
        barred,
    )


def _unprotected(
    part: pa.Table, keys: pa.Array, protected: npt.NDArray[np.uint64]
) -> tuple[pa.Table, int]:
    """The texts about some images that are in no evaluation set, and how many were."""
    part = part.filter(pc.is_in(part["sha256"], keys))
    if not len(protected):
        return part, 0
    hashes = texts.key_hashes(texts.text_key(part["text"]))
    free = ~np.isin(hashes, protected)
    return part.filter(pa.array(free)), int((~free).sum())
