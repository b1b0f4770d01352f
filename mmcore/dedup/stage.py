"""The dedup stage: which images of a day are new, which are copies, and what they are called.

Hashes, keys and edges move; image bytes do not. The driver holds a few numbers per image, tasks
read thumbnails and texts where they need them. Every day leaves `clusters@DAY`, one row per new
cluster: that is all a later day needs to recognise it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore.cluster import map_parts
from mmcore.dedup import bands, clusters, index, records, texts, verify
from mmcore.dedup.hashing import hamming
from mmcore.dedup.index import Assigned, Images, Indices, Known
from mmcore.lake import Dataset, DatasetWriter, Lake, Part

_BANDING = bands.Banding(bands=4, radius=1)
_QUERIES_PER_TASK = 50_000
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
CLUSTERS = pa.schema(
    [
        ("cluster", pa.string()),
        ("phash", pa.uint64()),
        ("thumb", pa.binary(verify.EDGE * verify.EDGE * 3)),
        ("split", pa.string()),
    ]
)


class Config(BaseModel):
    """What counts as the same picture and the same text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_hamming: int = Field(
        default=6,
        ge=0,
        le=_BANDING.guarantee,
        description="Perceptual hashes (64 bits) that differ in more bits are different pictures.",
    )
    max_mean_difference: float = Field(
        default=4.0,
        ge=0,
        le=255,
        description="Largest mean difference of two 16x16 RGB thumbnails (0 to 255), brightness "
        "and contrast taken out.",
    )
    max_local_difference: float = Field(
        default=7.0,
        ge=0,
        le=255,
        description="Largest difference in any one place of the thumbnails: keeps pictures apart "
        "that differ in one object or one colour. 10 also finds copies of a third of the size.",
    )
    bucket_cap: int = Field(
        default=1000,
        ge=1,
        description="At most so many candidates per image and probe; bounds the work where very "
        "many pictures look alike.",
    )
    max_caption_clusters: int = Field(
        default=50,
        ge=1,
        description="A caption that stands under more clusters than this describes none of them.",
    )


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Deduplicate a day against itself and all earlier days; returns `deduplicated@DAY`."""
    inputs = _Inputs(
        lake.dataset("cleaned", day),
        lake.dataset("crawled", day),
        lake.dataset("texts", day),
        lake.history("clusters", before=day),
        lake.history("deduplicated", before=day),
    )
    settings = config.model_dump(mode="json")
    made = [lake.reusable(name, day, settings, inputs.all) for name in ("clusters", "deduplicated")]
    if made[0] is not None and made[1] is not None:
        return made[1]
    images = index.read_images(inputs.cleaned.iter_parts(index.IMAGE_COLUMNS))
    known = index.read_known(_with_days(inputs.known), CLUSTERS)
    assigned, search = _cluster(inputs, images, known, config)
    split = _splits(inputs.crawled, images, known, assigned)
    _write_clusters(lake.writer("clusters", day), inputs, images, assigned, split, settings)
    rows = _decisions(images, known, assigned, split, day)
    return _write(lake.writer("deduplicated", day), inputs, rows, search, config)


@dataclass(frozen=True)
class _Inputs:
    """What the stage reads; `known` and `seen` are of earlier days."""

    cleaned: Dataset
    crawled: Dataset
    texts: Dataset
    known: list[Dataset]
    seen: list[Dataset]

    @property
    def all(self) -> list[Dataset]:
        return [self.cleaned, self.crawled, self.texts, *self.known, *self.seen]


def _with_days(known: list[Dataset]) -> Iterator[tuple[str, pa.Table]]:
    for dataset in known:
        for part in dataset.iter_parts(index.KNOWN_COLUMNS):
            yield str(dataset.manifest.partition), part


# --- near-duplicates: candidates by band, verified where the thumbnails are -----------------------


@dataclass(frozen=True)
class _Searched:
    """What is compared, as parallel arrays [M + Q]: hashes, and where the thumbnails are."""

    hashes: npt.NDArray[np.uint64]
    blocks: list[tuple[Dataset, int]]  # every part that has thumbnails
    block: Indices
    row: Indices


@dataclass(frozen=True)
class _Edges:
    """Verified pairs of positions and how far apart they are."""

    later: Indices
    earlier: Indices
    distance: Indices
    candidates: int
    capped: int
    rows: int


def _cluster(
    inputs: _Inputs, images: Images, known: Known, config: Config
) -> tuple[Assigned, dict[str, int]]:
    """The cluster of every image, and the counts of the search."""
    earlier = (part for ds in inputs.seen for part in ds.iter_parts(["sha256", "cluster"]))
    seen = index.seen_codes(images, known, earlier)
    asked = index.queries(images, seen)
    m = len(known.hashes)
    blocks = [(ds, i) for ds in inputs.known for i in range(len(ds.parts))]
    searched = _Searched(
        np.concatenate([known.hashes, images.hashes[asked]]),
        [*blocks, *((inputs.cleaned, i) for i in range(len(inputs.cleaned.parts)))],
        np.concatenate([known.part, images.part[asked] + len(blocks)]),
        np.concatenate([known.row, images.row[asked]]),
    )
    starts = range(m, m + len(asked), _QUERIES_PER_TASK)
    items = [
        (band, start, min(start + _QUERIES_PER_TASK, m + len(asked)))
        for band in range(_BANDING.bands)
        for start in starts
    ]
    done = map_parts(
        partial(_edges, searched, config), items, description="dedup", unit="comparisons"
    )
    later, earlier_position, distance = (
        np.concatenate([getattr(edges, name) for edges in done] or [np.empty(0, np.int64)])
        for name in ("later", "earlier", "distance")
    )
    leader = clusters.lead(m + len(asked), later, earlier_position, distance)
    search = {
        "compared": len(asked),
        "candidate_pairs": sum(edges.candidates for edges in done),
        "verified_pairs": len(later),
        "capped_buckets": sum(edges.capped for edges in done),
    }
    return index.assign(images, known, seen, asked, leader), search


def _edges(searched: _Searched, config: Config, item: tuple[int, int, int]) -> _Edges:
    """Ray task: candidates of one band for some queries, verified on their thumbnails."""
    band, start, stop = item
    found = bands.candidates(
        searched.hashes,
        np.arange(start, stop),
        band,
        _BANDING,
        config.max_hamming,
        config.bucket_cap,
    )
    positions, codes = np.unique([found.later, found.earlier], return_inverse=True)
    thumbs = _thumbs(searched, positions)
    left, right = codes.reshape(2, -1)
    good, local = verify.same_picture(
        thumbs, left, right, config.max_mean_difference, config.max_local_difference
    )
    later, earlier = found.later[good], found.earlier[good]
    bits = hamming(searched.hashes[later], searched.hashes[earlier]).astype(np.int64)
    # Nearest by hash, then by picture; in sixteenths, so that rounding of floats decides nothing.
    distance = bits * 4096 + np.rint(local[good] * 16).astype(np.int64)
    return _Edges(later, earlier, distance, len(left), found.capped, len(left))


def _thumbs(searched: _Searched, positions: Indices) -> npt.NDArray[np.uint8]:
    """uint8 [len(positions), 16, 16, 3], read block by block."""
    thumbs = np.empty((len(positions), verify.EDGE, verify.EDGE, 3), np.uint8)
    blocks = searched.block[positions]
    for block in np.unique(blocks):
        dataset, part = searched.blocks[block]
        here = np.flatnonzero(blocks == block)
        column = dataset.read_part(part, ["thumb"])["thumb"].combine_chunks()
        wanted = column.take(pa.array(searched.row[positions[here]]))
        thumbs[here] = np.frombuffer(b"".join(wanted.to_pylist()), np.uint8).reshape(
            -1, verify.EDGE, verify.EDGE, 3
        )
    return thumbs


# --- what the sources assert, and what later days need --------------------------------------------


def _splits(crawled: Dataset, images: Images, known: Known, assigned: Assigned) -> Indices:
    """Rank of the best protected split asked for, per cluster code [M + N]."""
    split = np.concatenate([known.split, np.full(len(images.hashes), -1, np.int64)])
    for part in crawled.iter_parts(["sha256", "split"]):
        part = part.filter(
            pc.and_(pc.is_valid(part["split"]), pc.is_in(part["sha256"], images.keys))
        )
        code = assigned.code[pc.index_in(part["sha256"], images.keys).to_numpy()]
        np.maximum.at(split, code, records.split_ranks(part["split"]))
    return split


def _write_clusters(
    writer: DatasetWriter,
    inputs: _Inputs,
    images: Images,
    assigned: Assigned,
    split: Indices,
    settings: dict[str, Any],
) -> None:
    """`clusters@DAY`: one row per cluster that is new today, in the parts of `cleaned`."""
    items = []
    for part in range(len(inputs.cleaned.parts)):
        mine = np.flatnonzero(assigned.kept & (images.part == part))
        mine = mine[np.argsort(images.row[mine])]
        items.append((part, images.row[mine], split[assigned.code[mine]]))
    task = partial(_cluster_part, writer, inputs.cleaned)
    done = map_parts(task, items, description="dedup index", unit="clusters")
    metadata = {"funnel": {"clusters": sum(part.rows for part in done)}}
    writer.commit(done, inputs.all, settings, metadata)


def _cluster_part(
    writer: DatasetWriter, cleaned: Dataset, item: tuple[int, Indices, Indices]
) -> Part:
    """Ray task: hash and thumbnail of the leaders in one part."""
    part, rows, split = item
    leaders = cleaned.read_part(part, ["sha256", "phash", "thumb"]).take(pa.array(rows))
    leaders = leaders.rename_columns(["cluster", "phash", "thumb"])
    table = leaders.append_column("split", records.split_names(split))
    return writer.write_table(part, table.cast(CLUSTERS))


# --- rows with captions ---------------------------------------------------------------------------


def _decisions(
    images: Images, known: Known, assigned: Assigned, split: Indices, day: str
) -> pa.Table:
    """The rows but for captions and annotations, by cluster and key."""
    first_day = pa.concat_arrays([known.day, pa.array([day] * len(images.hashes), pa.string())])
    names = index.cluster_names(images, known, assigned.code)
    table = pa.table(
        {
            "sha256": images.keys,
            "cluster": names,
            "canonical": names,
            "kept": pa.array(assigned.kept),
            "reason": assigned.reason,
            "split": records.split_names(split[assigned.code]),
            "day_first_seen": first_day.take(pa.array(assigned.code)),
        }
    )
    return table.sort_by([("cluster", "ascending"), ("sha256", "ascending")])


@dataclass(frozen=True)
class _Written:
    rows: int
    part: Part
    captions: int
    widespread: int


def _write(
    writer: DatasetWriter,
    inputs: _Inputs,
    rows: pa.Table,
    search: dict[str, int],
    config: Config,
) -> Dataset:
    """`deduplicated@DAY` in parts of whole clusters."""
    banned = _widespread(inputs.texts, rows, config.max_caption_clusters)
    task = partial(_rows_part, writer, inputs.texts, inputs.crawled, banned)
    items = list(enumerate(_slices(rows)))
    done = map_parts(task, items, description="dedup captions", unit="images")
    reasons = Counter(rows["reason"].to_pylist())
    rejected = {reason: n for reason, n in sorted(reasons.items()) if reason != "ok"}
    metadata = {
        "funnel": {"images": rows.num_rows, **rejected, "kept": reasons["ok"]},
        "captions": {
            "kept": sum(part.captions for part in done),
            "under_too_many_clusters": sum(part.widespread for part in done),
        },
        "search": search,
    }
    parts = [part.part for part in done]
    return writer.commit(parts, inputs.all, config.model_dump(mode="json"), metadata)


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
    item: tuple[int, pa.Table],
) -> _Written:
    """Ray task: captions and annotations of some clusters, joined to their rows."""
    part, rows = item
    names = rows.filter(rows["kept"])["cluster"].combine_chunks()  # one kept row a cluster
    owner = pc.index_in(rows["cluster"], names)  # [rows], null where the cluster is old
    mine = rows["sha256"].combine_chunks()
    merged = texts.merge_all(found.iter_parts(texts.COLUMNS), mine, owner, len(names), banned)
    noted = crawled.iter_parts(["sha256", "annotation"])
    notes = records.merge_all(noted, mine, owner, len(names))
    where = pc.if_else(rows["kept"], owner, None)
    columns = {name: rows[name] for name in rows.column_names}
    columns |= {"captions": merged.captions.take(where), "annotation": notes.take(where)}
    table = pa.table({name: columns[name] for name in DEDUPLICATED.names}).cast(DEDUPLICATED)
    return _Written(table.num_rows, writer.write_table(part, table), merged.kept, merged.left_out)
