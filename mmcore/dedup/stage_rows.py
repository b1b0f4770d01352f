"""The rows of `deduplicated@DAY`: decisions joined with captions and annotations, on Ray.

Keys, texts and annotations are sorted by the part of the result that they belong to; a task reads
those of its own clusters and writes their rows. The driver holds a few numbers per image and
caption.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import records, texts
from mmcore.dedup.decisions import Decisions
from mmcore.dedup.hashing import positions, short_digests
from mmcore.dedup.history import History
from mmcore.dedup.images import OK, REASONS
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_parts import Night
from mmcore.dedup.stage_shuffle import Route, Sorted, Source, shuffle
from mmcore.dedup.stage_text_index import Compared, Spoken, hear
from mmcore.dedup.stage_texts import TextClusters
from mmcore.lake import Dataset, DatasetWriter, Part

ROWS_PER_PART = 20_000

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
class Sources:
    """What the rows of DAY are made of."""

    cleaned: Dataset
    crawled: Dataset
    texts: Dataset
    history: History
    day: str


@dataclass(frozen=True)
class _Written:
    rows: int
    part: Part
    captions: int
    widespread: int
    near: int
    protected: int


def write(
    writer: DatasetWriter, sources: Sources, decided: Decisions, compared: Compared, night: Night
) -> Rows:
    """Parts of `deduplicated@DAY`, each of whole clusters.

    compared: what texts are compared with. night: of the index of texts.
    """
    route = Route(decided.keys, decided.cluster, decided.part)
    sort = partial(shuffle, route=route, storage=writer.storage)
    spoken = hear(night, sources.texts, route, decided.kept, compared)
    near = spoken.found.clusters
    folder = f"{writer.folder}/sorted"
    keys, _ = sort(
        Source(sources.cleaned, ["sha256", "kept"], _kept, _nothing),
        folder=f"{folder}/keys",
        description="dedup keys",
    )
    notes, asked = sort(
        Source(sources.crawled, ["sha256", "annotation", "split"], _asserted, _splits),
        folder=f"{folder}/notes",
        description="dedup annotations",
    )
    split = decided.split.copy()
    for cluster, rank in asked:
        np.maximum.at(split, cluster, rank)
    given = _Given(keys, spoken.said, notes, spoken.banned, near)
    task = partial(_rows_part, writer, sources, given, replace(decided, split=split))
    items = list(range(route.parts))
    done = map_parts(task, items, description="dedup captions", unit="images")
    writer.storage.delete(folder)
    metadata = {"funnel": decided.funnel, "captions": _captions(done), "texts": near.counts}
    return Rows([part.part for part in done], metadata, spoken)


def _captions(done: list[_Written]) -> dict[str, int]:
    return {
        "kept": sum(part.captions for part in done),
        "near_duplicates": sum(part.near for part in done),
        "under_too_many_clusters": sum(part.widespread for part in done),
        "protected": sum(part.protected for part in done),
    }


def _kept(rows: pa.Table) -> pa.Table:
    return rows.filter(rows["kept"]).select(["sha256"])


def _asserted(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.or_(pc.is_valid(rows["annotation"]), pc.is_valid(rows["split"])))


def _splits(rows: pa.Table, clusters: Indices) -> tuple[Indices, npt.NDArray[np.int8]]:
    """The clusters that a split was asked for, and the best protected one of each."""
    rank = records.split_ranks(rows["split"])
    order = np.lexsort((-rank, clusters))
    order = order[rank[order] >= 0]
    first = order[np.flatnonzero(np.diff(clusters[order], prepend=-1))]
    return clusters[first], rank[first].astype(np.int8)


def _nothing(rows: pa.Table, clusters: Indices) -> None:
    """Keys need no note."""


@dataclass(frozen=True)
class _Given:
    """What is known of the images of every part: their keys, captions and annotations; the texts
    that describe nothing, and those that follow others."""

    keys: Sorted
    said: Sorted
    notes: Sorted
    banned: npt.NDArray[np.uint64]
    near: TextClusters


def _rows_part(
    writer: DatasetWriter, sources: Sources, given: _Given, decided: Decisions, part: int
) -> _Written:
    """Ray task: the rows of some clusters, joined with their captions and annotations."""
    near = given.near
    rows = _decisions(sources, given.keys, decided, part)
    names = rows.filter(rows["kept"])["cluster"].combine_chunks()  # one kept row a cluster
    owner = pc.index_in(rows["cluster"], names)  # [rows], null where the cluster is old
    mine = rows["sha256"].combine_chunks()
    free = [_unprotected(table, near.protected) for table in given.said.read(part)]
    tables = (table for table, _ in free)
    merged = texts.merge_all(tables, mine, owner, len(names), given.banned, near.followers)
    notes = records.merge_all(given.notes.read(part), mine, owner, len(names))
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


def _decisions(sources: Sources, keys: Sorted, decided: Decisions, part: int) -> pa.Table:
    """The rows of one part but for captions and annotations, by cluster and key."""
    sha256 = pa.table({"sha256": pa.array([], pa.string())})
    sha256 = pa.concat_tables([sha256, *keys.read(part)])["sha256"].combine_chunks()
    at = positions(decided.keys, short_digests(sha256))
    clusters, number = np.unique(decided.cluster[at], return_inverse=True)
    ids, leads = decided.ids[clusters], np.flatnonzero(decided.leads[at])
    known = sources.history.known(np.sort(ids[ids >= 0]))
    # Which row of `known`, or of the leaders after them, tells the name of each cluster.
    told = np.searchsorted(known.ids, ids)
    told[number[leads]] = len(known.ids) + np.arange(len(leads))
    days = pa.concat_arrays([known.day, pa.array([sources.day] * len(leads), pa.string())])
    names = pa.concat_arrays([known.names, sha256.take(pa.array(leads))])
    where, reason = pa.array(told[number]), decided.reason[at]
    table = pa.table(
        {
            "sha256": sha256,
            "cluster": names.take(where),
            "kept": pa.array(reason == OK),
            "reason": pa.array(REASONS).take(pa.array(reason)),
            "split": records.split_names(decided.split[decided.cluster[at]]),
            "day_first_seen": days.take(where),
        }
    )
    return table.sort_by([("cluster", "ascending"), ("sha256", "ascending")])


def _unprotected(said: pa.Table, protected: npt.NDArray[np.uint64]) -> tuple[pa.Table, int]:
    """The texts that are in no evaluation set, and how many were."""
    if not len(protected):
        return said, 0
    hashes = texts.key_hashes(texts.text_key(said["text"]))
    free = ~np.isin(hashes, protected)
    return said.filter(pa.array(free)), int((~free).sum())
