"""The dedup stage: which images of a day are new, which are copies, and what they are called.

Hashes, keys and edges move; image bytes do not. The driver holds a few numbers per image, tasks
read thumbnails and texts where they need them. Every day leaves `clusters@DAY`, one row per new
cluster: that is all a later day needs to recognise it.
"""

from __future__ import annotations

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
from mmcore.dedup import bands, clusters, index, records, stage_rows, verify
from mmcore.dedup.hashing import hamming
from mmcore.dedup.index import Assigned, Images, Indices, Known
from mmcore.lake import Dataset, DatasetWriter, Lake, Part

_BANDING = bands.Banding(bands=4, radius=1)
_QUERIES_PER_TASK = 50_000

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
    decided = stage_rows.decisions(images, known, assigned, split, day)
    writer = lake.writer("deduplicated", day)
    rows = stage_rows.write(
        writer, inputs.texts, inputs.crawled, decided, config.max_caption_clusters
    )
    return writer.commit(rows.parts, inputs.all, settings, rows.metadata | {"search": search})


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
