"""Semantic near-duplicates of a day, on Ray: embedded where the bytes are, compared by cluster.

Embeddings are scratch: they belong to one champion, and the next one sees with other eyes. For the
same reason they are compared within a day only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup import semantic
from mmcore.dedup.hashing import Hashes, positions, short_digests
from mmcore.dedup.index import arrow_file
from mmcore.dedup.runs import Indices
from mmcore.dedup.semantic import Floats
from mmcore.lake import Dataset, Storage

_IMAGES_PER_CLUSTER = 1000
_SAMPLE = 50_000  # vectors that the centres are made from; on the driver
_IMAGES_PER_TASK = 4000


@dataclass(frozen=True)
class Eyes:
    """How a picture is seen: encoded images to float32 [n, D], rows of length 1. `name` changes
    when the model does."""

    name: str
    encode: Callable[[list[bytes]], Floats]


@dataclass(frozen=True)
class _Embedded:
    """Of one file of embeddings: the image of each row, and some vectors for the sample."""

    keys: Hashes
    sample: Floats
    rows: int


def semantic_duplicates(
    normalized: Dataset, keys: Hashes, cosine: float, eyes: Eyes, storage: Storage, folder: str
) -> npt.NDArray[np.bool_]:
    """Which images are semantic near-duplicates of a better one: bool [n].

    keys: first 64 bits of the sha256 of the images to compare, best first; their bytes are in
    `normalized`. folder: where scratch may be written.
    """
    order = np.argsort(keys)
    share = min(1.0, _SAMPLE / max(1, len(keys)))
    task = partial(_embed, normalized, keys[order], share, eyes, storage, folder)
    parts = list(range(len(normalized.parts)))
    done = map_parts(task, parts, description="dedup embeddings", unit="images")
    samples = [one.sample for one in done if one.rows]
    sample = np.concatenate(samples) if samples else np.empty((0, 1), np.float32)
    count = max(1, -(-len(keys) // _IMAGES_PER_CLUSTER))
    repeated = np.zeros(len(keys), np.bool_)
    if len(sample):
        centre = semantic.centres(sample, min(count, len(sample)))
        file = np.repeat(parts, [one.rows for one in done])
        row = np.concatenate([np.arange(one.rows) for one in done])
        rank = order[positions(keys[order], np.concatenate([one.keys for one in done]))]
        assigned = map_parts(
            partial(_assign, storage, folder, centre), parts, description="dedup meaning"
        )
        groups = _groups(np.concatenate(assigned), rank, file, row)
        task_ = partial(_compare, storage, folder, cosine)
        for found in map_parts(task_, groups, description="dedup meaning", unit="images"):
            repeated[found.ranks] = True
    storage.delete(folder)
    return repeated


def _embed(
    normalized: Dataset,
    wanted: Hashes,
    share: float,
    eyes: Eyes,
    storage: Storage,
    folder: str,
    part: int,
) -> _Embedded:
    """Ray task: embeddings of the wanted images of one part."""
    rows = normalized.read_part(part, ["sha256", "image"])
    rows = rows.filter(pa.array(positions(wanted, short_digests(rows["sha256"])) >= 0))
    keys = short_digests(rows["sha256"])
    if not len(keys):
        return _Embedded(keys, np.empty((0, 0), np.float32), 0)
    vectors = eyes.encode(rows["image"].to_pylist()).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    storage.write(f"{folder}/{part:05d}.arrow", arrow_file(pa.table({"vector": column})))
    # Digests are random: the smallest are a fair sample, and the same ones every time.
    chosen = (keys >> np.uint64(32)) <= share * (2**32 - 1)
    return _Embedded(keys, vectors[chosen], len(keys))


def _vectors(storage: Storage, folder: str, part: int) -> Floats:
    with storage.open(f"{folder}/{part:05d}.arrow") as file:
        column = pa.ipc.open_file(file).get_batch(0)["vector"]
        return column.flatten().to_numpy().reshape(len(column), -1)


def _assign(storage: Storage, folder: str, centre: Floats, part: int) -> Indices:
    """Ray task: the nearest centre of each embedding of one file."""
    if not storage.exists(f"{folder}/{part:05d}.arrow"):
        return np.empty(0, np.int64)
    return semantic.assign(_vectors(storage, folder, part), centre)


@dataclass(frozen=True)
class _Group:
    """Images of some whole clusters: cluster, rank and place of each."""

    cluster: Indices
    rank: Indices
    file: Indices
    row: Indices


@dataclass(frozen=True)
class _Found:
    ranks: Indices
    rows: int


def _groups(cluster: Indices, rank: Indices, file: Indices, row: Indices) -> list[_Group]:
    """Whole clusters, together about as many images as a task should have."""
    order = np.lexsort((rank, cluster))
    cluster = cluster[order]
    starts = np.flatnonzero(np.diff(cluster, prepend=-1))
    task = starts // _IMAGES_PER_TASK
    cuts = [*starts[np.flatnonzero(np.diff(task, prepend=-1))].tolist(), len(cluster)]
    return [
        _Group(cluster[a:b], *(values[order[a:b]] for values in (rank, file, row)))
        for a, b in pairwise(cuts)
    ]


def _compare(storage: Storage, folder: str, cosine: float, group: _Group) -> _Found:
    """Ray task: the ranks of the images that repeat a better one of their cluster."""
    places = np.argsort(group.file, kind="stable")
    vectors: list[Floats] = []
    for file in np.unique(group.file).tolist():
        here = group.row[places[group.file[places] == file]]
        vectors.append(_vectors(storage, folder, file)[here])
    gathered = np.concatenate(vectors)
    ordered = np.empty_like(gathered)
    ordered[places] = gathered
    ranks = [np.empty(0, np.int64)]
    for number in np.unique(group.cluster).tolist():
        members = np.flatnonzero(group.cluster == number)  # best first
        again = semantic.repeats(ordered[members], cosine)
        ranks.append(group.rank[members[again]])
    return _Found(np.concatenate(ranks), len(group.rank))
