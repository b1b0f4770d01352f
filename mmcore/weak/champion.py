"""The current model as labeling functions: what it sees in a picture, and in those most like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.votes import VOTES, make_votes

SEEN = pa.schema(
    [
        ("embedding", pa.list_(pa.float32())),
        ("tags", pa.list_(pa.struct([("tag", pa.string()), ("probability", pa.float32())]))),
        ("feeling", pa.struct([("label", pa.string()), ("probability", pa.float32())])),
    ]
)
"""One row per image. embedding: of length 1, null where the bytes are not at hand. tags: the likely
ones. feeling: the likeliest, of the picture alone, null where none is likely."""

SOURCE, NEIGHBOURS = "champion", "neighbours"
_LIKELY = 0.5
_TRUST = 0.8  # a model that trusts itself fully never learns otherwise
_NEAREST, _LEAST_NEIGHBOURS, _LEAST_COSINE = 8, 3, 0.5
_LEAST_SHARE, _NEIGHBOUR_TRUST = 0.5, 0.6
_ROWS = 512  # of the matrix of similarities at a time
_OTHER_TEXTS = 256


@dataclass(frozen=True)
class Champion:
    """A model to ask. `name` changes when the model does; `version` is what its labels are signed
    with.

    see: encoded images -> `SEEN`. read: texts -> float32 [n, E], rows of length 1, comparable with
    the embeddings of images. Both travel to the workers.
    """

    name: str
    version: str
    see: Callable[[list[bytes]], pa.Table]
    read: Callable[[list[str]], NDArray[np.float32]]


def seen_table(
    vectors: NDArray[np.float32],
    tags: Sequence[str],
    tag_probability: NDArray[np.float32],
    feelings: Sequence[str],
    feeling_probability: NDArray[np.float32],
) -> pa.Table:
    """`SEEN` from what a model returns for n images.

    vectors: [n, E]; tag_probability: [n, len(tags)]; feeling_probability: [n, len(feelings)].
    """
    number = len(vectors)
    offsets = np.arange(number + 1, dtype=np.int32) * vectors.shape[1]
    embedding = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
    image, at = np.nonzero(tag_probability >= _LIKELY)
    starts = np.searchsorted(image, np.arange(number + 1)).astype(np.int32)
    names = pa.array(list(tags), pa.string()).take(pa.array(at))
    likely = pa.StructArray.from_arrays(
        [names, pa.array(tag_probability[image, at], pa.float32())], ["tag", "probability"]
    )
    best = feeling_probability.argmax(axis=1)
    label = pa.array(list(feelings), pa.string()).take(pa.array(best))
    sure = feeling_probability[np.arange(number), best]
    feeling = pa.StructArray.from_arrays(
        [label, pa.array(sure, pa.float32())],
        ["label", "probability"],
        mask=pa.array(sure < _LIKELY),
    )
    columns = [embedding, pa.ListArray.from_arrays(pa.array(starts), likely), feeling]
    return pa.table(columns, names=SEEN.names).cast(SEEN)


def embeddings(seen: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(rows that have one, their embeddings [n, E]) of `SEEN`."""
    column = seen["embedding"].combine_chunks()
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    flat = column.drop_null().flatten().to_numpy()
    return rows, flat.reshape(len(rows), -1) if len(rows) else np.zeros((0, 1), np.float32)


def champion_votes(seen: pa.Table | None) -> pa.Table:
    """Votes of tasks `tag` and `sentiment` from what the model sees; none without a model."""
    if seen is None:
        return VOTES.empty_table()
    tags = seen["tags"].combine_chunks()
    likely = tags.flatten()
    image = pc.list_parent_indices(tags).to_numpy(zero_copy_only=False)
    weight = likely.field("probability").to_numpy(zero_copy_only=False) * _TRUST
    slots = np.array(likely.field("tag").to_pylist(), object)
    tables = [_votes(image, "tag", slots, np.full(len(slots), "yes", object), weight, SOURCE)]
    feeling = seen["feeling"].combine_chunks()
    felt = np.flatnonzero(feeling.is_valid().to_numpy(zero_copy_only=False))
    feeling = feeling.take(pa.array(felt))
    label = np.array(pc.struct_field(feeling, "label").to_pylist(), object)
    weight = pc.struct_field(feeling, "probability").to_numpy(zero_copy_only=False) * _TRUST
    slot = np.full(len(felt), "sentiment", object)
    tables.append(_votes(felt, "sentiment", slot, label, weight, SOURCE))
    return pa.concat_tables(tables)


def neighbour_votes(seen: pa.Table | None, votes: pa.Table) -> pa.Table:
    """Votes for tags that most of the pictures nearest to one have, in the champion's embedding.

    votes: what the functions that read say of these images. Output: `VOTES`; the weight is the
    share of the neighbours, by similarity, that have the tag.
    """
    if seen is None:
        return VOTES.empty_table()
    rows, vectors = embeddings(seen)
    near = _nearest(rows, vectors)
    named = votes.filter(
        pc.and_(pc.equal(votes["task"], "tag"), pc.not_equal(votes["source"], SOURCE))
    )
    named = named.group_by(["image", "slot"], use_threads=False).aggregate([])
    joined = near.join(named, "neighbour", right_keys="image", join_type="inner")
    found = joined.group_by(["image", "slot"], use_threads=False).aggregate(
        [("cosine", "sum"), ("cosine", "count")]
    )
    total = np.bincount(near["image"].to_numpy(), near["cosine"].to_numpy(), seen.num_rows)
    image = found["image"].to_numpy()
    share = found["cosine_sum"].to_numpy() / np.maximum(total[image], 1e-9)
    keep = (share >= _LEAST_SHARE) & (found["cosine_count"].to_numpy() >= _LEAST_NEIGHBOURS)
    slot = np.array(found["slot"].to_pylist(), object)[keep]
    yes = np.full(len(slot), "yes", object)
    weight = np.minimum(share[keep], 1.0) * _NEIGHBOUR_TRUST
    found_votes = _votes(image[keep], "tag", slot, yes, weight, NEIGHBOURS)
    return found_votes.sort_by([("image", "ascending"), ("slot", "ascending")])


def _nearest(rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> pa.Table:
    """Columns `image`, `neighbour` and `cosine` of at most `_NEAREST` other images of each."""
    most = min(_NEAREST, len(rows) - 1)
    images, others, cosines = [], [], []
    for start in range(0, len(rows) if most > 0 else 0, _ROWS):
        block = vectors[start : start + _ROWS]
        cosine = block @ vectors.T
        own = np.arange(len(block))
        cosine[own, start + own] = -np.inf
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :most]
        images.append(np.repeat(rows[start : start + _ROWS], most))
        others.append(rows[best].ravel())
        cosines.append(np.take_along_axis(cosine, best, axis=1).ravel())
    columns = [np.concatenate([np.zeros(0), *parts]) for parts in (images, others, cosines)]
    near = columns[2] >= _LEAST_COSINE
    image, other = (column[near].astype(np.int64) for column in columns[:2])
    return pa.table({"image": image, "neighbour": other, "cosine": columns[2][near]})


def alignment(
    seen: pa.Table, image: NDArray[np.int64], texts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How well each text fits its image: the share of other images' texts that fit it less well.

    image: int64 [n], of each text; texts: float32 [n, E]. Output: float64 [n] in [0, 1], 0.5 where
    the image cannot be seen or there are no other texts. A share, not a cosine: that of one model
    means nothing to the next.
    """
    out = np.full(len(image), 0.5)
    rows, vectors = embeddings(seen)
    place = np.full(seen.num_rows, -1)
    place[rows] = np.arange(len(rows))
    known = np.flatnonzero(place[image] >= 0) if len(image) else np.zeros(0, np.int64)
    step = max(1, len(texts) // _OTHER_TEXTS)
    sample = np.arange(0, len(texts), step)[: _OTHER_TEXTS * 2]
    for start in range(0, len(known), _ROWS):
        part = known[start : start + _ROWS]
        looks = vectors[place[image[part]]]
        own = np.sum(looks * texts[part], axis=1)
        other = image[sample][None, :] != image[part][:, None]
        below = ((looks @ texts[sample].T < own[:, None]) & other).sum(axis=1)
        number = other.sum(axis=1)
        out[part] = np.where(number > 0, below / np.maximum(number, 1), 0.5)
    return out


def _votes(
    image: NDArray, task: str, slot: NDArray, value: NDArray, weight: NDArray, source: str
) -> pa.Table:
    keep = weight > 0
    number = int(keep.sum())
    return make_votes(
        image=image[keep],
        task=task,
        slot=slot[keep],
        value=value[keep],
        weight=weight[keep].astype(np.float64),
        source=np.full(number, source, object),
        lang=np.full(number, "", object),
    )
