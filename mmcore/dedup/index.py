"""Which cluster every image belongs to, in a few numbers per image.

Positions run over known clusters first (0..M-1, oldest first), then over the day's new pictures
from best to worst. A *cluster code* is such a position: below M a cluster of an earlier day, else
the picture that leads a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.dedup import clusters
from mmcore.dedup.records import split_ranks

Indices = npt.NDArray[np.int64]
IMAGE_COLUMNS = ["sha256", "kept", "phash", "pixels", "width", "height"]
KNOWN_COLUMNS = ["cluster", "phash", "split"]


@dataclass(frozen=True)
class Images:
    """The day's images that clean kept, from best to worst, as parallel arrays [N]."""

    keys: pa.Array
    hashes: npt.NDArray[np.uint64]
    twin: Indices  # first position with the very same pixels
    part: Indices
    row: Indices


@dataclass(frozen=True)
class Known:
    """Clusters of earlier days, oldest first, as parallel arrays [M]."""

    clusters: pa.Array
    hashes: npt.NDArray[np.uint64]
    split: Indices  # rank as in records.py
    day: pa.Array
    part: Indices
    row: Indices


@dataclass(frozen=True)
class Assigned:
    """Cluster code and reason of every image [N]."""

    code: Indices
    reason: pa.Array

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return pc.equal(self.reason, "ok").to_numpy(zero_copy_only=False)


def read_images(parts: Iterable[pa.Table]) -> Images:
    """From the parts of `cleaned` with IMAGE_COLUMNS."""
    rows = pa.concat_tables(
        _located(table, index).filter(table["kept"]) for index, table in enumerate(parts)
    )
    area = pc.multiply(rows["width"], rows["height"]).to_numpy()
    names = np.array(rows["sha256"].to_pylist(), dtype=str)
    rows = rows.take(pa.array(clusters.rank_order(area, names))).combine_chunks()
    return Images(
        _array(rows["sha256"]),
        rows["phash"].to_numpy(),
        clusters.first_of_each(np.array(rows["pixels"].to_pylist(), dtype=str)),
        rows["part"].to_numpy(),
        rows["row"].to_numpy(),
    )


def read_known(parts: Iterable[tuple[str, pa.Table]], schema: pa.Schema) -> Known:
    """From (day, part) of the `clusters` of earlier days with KNOWN_COLUMNS."""
    tables = [_located(schema.empty_table().select(KNOWN_COLUMNS), 0, "")]
    tables += [_located(table, index, day) for index, (day, table) in enumerate(parts)]
    rows = pa.concat_tables(tables)
    return Known(
        _array(rows["cluster"]),
        rows["phash"].to_numpy(),
        split_ranks(rows["split"]),
        _array(rows["day"]),
        rows["part"].to_numpy(),
        rows["row"].to_numpy(),
    )


def seen_codes(images: Images, known: Known, earlier: Iterable[pa.Table]) -> Indices:
    """Cluster code of every image whose very bytes, or very pixels, were there on an earlier day;
    -1 for the others. `earlier` are parts of `deduplicated` with `sha256, cluster`."""
    code = np.full(len(images.hashes), -1, np.int64)
    for table in earlier:
        table = table.filter(pc.is_in(table["sha256"], images.keys))
        where = pc.index_in(table["sha256"], images.keys).to_numpy()
        # A cluster whose index is gone is no past: its images are compared like new ones.
        code[where] = pc.fill_null(pc.index_in(table["cluster"], known.clusters), -1).to_numpy()
    # One member's past is the past of all images with its pixels; the best ranked one speaks.
    of_pixels = np.full(len(code), -1, np.int64)
    for position in np.flatnonzero(code >= 0)[::-1]:
        of_pixels[images.twin[position]] = code[position]
    return np.where(code >= 0, code, of_pixels[images.twin])


def queries(images: Images, seen: Indices) -> Indices:
    """Image positions that are compared: one for equal pixels, none that is known already."""
    first = images.twin == np.arange(len(images.twin))
    return np.flatnonzero(first & (seen < 0))


def assign(
    images: Images, known: Known, seen: Indices, asked: Indices, leader: Indices
) -> Assigned:
    """Codes and reasons, from the leaders [M + Q] of known clusters and queries."""
    m, n = len(known.hashes), len(images.hashes)
    of_query = leader[m:]  # [Q], positions over known and queries
    joined = np.where(of_query < m, of_query, m + asked[np.maximum(of_query - m, 0)])
    of_image = np.full(n, -1, np.int64)
    of_image[asked] = joined
    code = np.where(seen >= 0, seen, of_image[images.twin])
    leads = code == m + np.arange(n)
    same_pixels = images.twin == images.twin[np.maximum(code - m, 0)]
    reason = np.select(
        [code < m, leads, same_pixels], ["seen_before", "ok", "exact_duplicate"], "near_duplicate"
    )
    return Assigned(code, pa.array(reason.tolist(), pa.string()))


def cluster_names(images: Images, known: Known, code: Indices) -> pa.Array:
    """The cluster's name for each code: the key of the image that led it first."""
    return pa.concat_arrays([known.clusters, images.keys]).take(pa.array(code))


def _located(table: pa.Table, part: int, day: str | None = None) -> pa.Table:
    """The table with `part` and `row`, to find the rest of a row later, and `day` where given."""
    n = table.num_rows
    table = table.append_column("part", pa.array(np.full(n, part, np.int64)))
    table = table.append_column("row", pa.array(np.arange(n, dtype=np.int64)))
    return table if day is None else table.append_column("day", pa.array([day] * n, pa.string()))


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
