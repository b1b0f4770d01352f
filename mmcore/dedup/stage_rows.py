"""The rows of `deduplicated@DAY`: decisions joined with captions and annotations, on Ray.

The only place of the stage that reads texts. Tasks read those of their own clusters; the driver
holds a few numbers per image and caption.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import records, texts
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_parts import Night
from mmcore.dedup.stage_shuffle import Route, Sorted, Source, shuffle
from mmcore.dedup.stage_text_index import Compared, Spoken, hear, kept_clusters
from mmcore.dedup.stage_texts import TextClusters
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
    """The written parts, what the dataset's metadata says about them, and the day's texts."""

    parts: list[Part]
    metadata: dict[str, Any]
    spoken: Spoken


@dataclass(frozen=True)
class _Written:
    rows: int
    part: Part
    captions: int
    widespread: int
    near: int
    protected: int


def write(
    writer: DatasetWriter,
    found: Dataset,
    crawled: Dataset,
    rows: pa.Table,
    compared: Compared,
    night: Night,
) -> Rows:
    """Parts of `deduplicated@DAY`, each of whole clusters; `found` is `texts@DAY`.

    rows: by cluster and key. compared: what texts are compared with. night: of the index of texts.
    """
    starts = _starts(rows["cluster"])
    cuts = _cuts(starts, rows.num_rows)
    at = np.arange(rows.num_rows)
    cluster = np.searchsorted(starts, at, "right") - 1
    route = Route.of(rows["sha256"], cluster, np.searchsorted(cuts[1:-1], at, "right"))
    folder = f"{writer.folder}/sorted"
    spoken = hear(night, found, route, kept_clusters(cluster, rows["kept"]), compared)
    said, near = spoken.said, spoken.found.clusters
    notes_source = Source(crawled, ["sha256", "annotation"], _annotated, _nothing)
    notes, _ = shuffle(notes_source, route, writer.storage, f"{folder}/notes", "dedup annotations")
    task = partial(_rows_part, writer, said, notes, spoken.banned, near)
    # Taken, not sliced: a pickled slice carries the whole table.
    items = [
        (number, rows.take(pa.array(np.arange(start, stop))))
        for number, (start, stop) in enumerate(pairwise(cuts))
    ]
    done = map_parts(task, items, description="dedup captions", unit="images")
    notes.remove()
    metadata = _metadata(rows, done) | {"texts": near.counts}
    return Rows([part.part for part in done], metadata, spoken)


def _metadata(rows: pa.Table, done: list[_Written]) -> dict[str, Any]:
    reasons = {v["values"].as_py(): v["counts"].as_py() for v in pc.value_counts(rows["reason"])}
    kept = reasons.pop("ok", 0)
    return {
        "funnel": {"images": rows.num_rows, **dict(sorted(reasons.items())), "kept": kept},
        "captions": {
            "kept": sum(part.captions for part in done),
            "near_duplicates": sum(part.near for part in done),
            "under_too_many_clusters": sum(part.widespread for part in done),
            "protected": sum(part.protected for part in done),
        },
    }


def _starts(clusters: pa.ChunkedArray) -> Indices:
    """The first row of each cluster; the rows lie by cluster."""
    names = clusters.combine_chunks()
    if not len(names):
        return np.empty(0, np.int64)
    changes = pc.not_equal(names.slice(1), names.slice(0, len(names) - 1))
    return np.flatnonzero(np.concatenate([[True], changes.to_numpy(zero_copy_only=False)]))


def _cuts(starts: Indices, rows: int) -> list[int]:
    """Edges of slices of about equal size that do not cut through a cluster; at least one slice."""
    wanted = np.arange(_ROWS_PER_PART, rows, _ROWS_PER_PART)
    firsts = starts[np.searchsorted(starts, wanted, "right") - 1] if len(wanted) else wanted
    return [0, *(cut for cut in np.unique(firsts).tolist() if cut > 0), rows]


def _annotated(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_valid(rows["annotation"]))


def _nothing(rows: pa.Table, clusters: Indices) -> None:
    """Annotations need no note."""


def _rows_part(
    writer: DatasetWriter,
    said: Sorted,
    noted: Sorted,
    banned: npt.NDArray[np.uint64],
    near: TextClusters,
    item: tuple[int, pa.Table],
) -> _Written:
    """Ray task: captions and annotations of some clusters, joined to their rows."""
    part, rows = item
    names = rows.filter(rows["kept"])["cluster"].combine_chunks()  # one kept row a cluster
    owner = pc.index_in(rows["cluster"], names)  # [rows], null where the cluster is old
    mine = rows["sha256"].combine_chunks()
    free = [_unprotected(table, near.protected) for table in said.read(part)]
    tables = (table for table, _ in free)
    merged = texts.merge_all(tables, mine, owner, len(names), banned, near.followers)
    notes = records.merge_all(noted.read(part), mine, owner, len(names))
    barred = sum(count for _, count in free)
    if len(near.protected):
        notes, more = records.without_captions(notes, near.protected)
        barred += more
    where = pc.if_else(rows["kept"], owner, None)
    columns = {name: rows[name] for name in rows.column_names}
    # The image that named the cluster stands for it: the best of its first day.
    columns["canonical"] = rows["cluster"]
    columns |= {"captions": merged.captions.take(where), "annotation": notes.take(where)}
    table = pa.table({name: columns[name] for name in DEDUPLICATED.names}).cast(DEDUPLICATED)
    return _Written(
        table.num_rows,
        writer.write_table(part, table),
        merged.kept,
        merged.left_out,
        merged.near,
        barred,
    )


def _unprotected(said: pa.Table, protected: npt.NDArray[np.uint64]) -> tuple[pa.Table, int]:
    """The texts that are in no evaluation set, and how many were."""
    if not len(protected):
        return said, 0
    hashes = texts.key_hashes(texts.text_key(said["text"]))
    free = ~np.isin(hashes, protected)
    return said.filter(pa.array(free)), int((~free).sum())
