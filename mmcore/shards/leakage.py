"""Does anything of one split stand in another? By key, by cluster, by look and by meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.shards.splits import SPLITS

SAMPLES = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("split", pa.string()),
        ("phash", pa.uint64()),
        ("thumb", pa.binary(768)),
    ]
)
_ROWS_AT_ONCE = 2048  # of a similarity matrix

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Likeness:
    """What makes two images near-duplicates; the graph passes what dedup goes by.

    near: hashes uint64 [N] to all pairs (i, j) that differ in few bits. same: thumbnails uint8
    [P, 16, 16, 3], twice, to which pairs show one picture.
    """

    near: Callable[[NDArray[np.uint64]], Pairs]
    same: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Leak:
    """Two samples of different splits that are one image. by: `sha256`, `cluster`, `look` or
    `meaning`."""

    by: str
    first: str
    second: str
    splits: tuple[str, str]


def shared_values(samples: pa.Table, column: str) -> list[Leak]:
    """A pair of samples for every value of `column` that stands in two splits or more."""
    split = pc.index_in(samples["split"], pa.array(SPLITS)).combine_chunks().to_numpy()
    value = samples[column].combine_chunks().dictionary_encode().indices
    group = pc.fill_null(value, -1).to_numpy(zero_copy_only=False)
    order = np.lexsort((split, group))
    group, split = group[order], split[order]
    edge = np.flatnonzero((group[1:] == group[:-1]) & (split[1:] != split[:-1]) & (group[1:] >= 0))
    return _leaks(column, samples, order[edge], order[edge + 1])


def same_pictures(samples: pa.Table, likeness: Likeness) -> tuple[list[Leak], int]:
    """Verified near-duplicates across splits, and how many pairs had near hashes only.

    samples: SAMPLES; those without a hash are left out.
    """
    samples = samples.filter(samples["phash"].is_valid())
    split = pc.index_in(samples["split"], pa.array(SPLITS)).combine_chunks().to_numpy()
    first, second = likeness.near(samples["phash"].combine_chunks().to_numpy())
    across = split[first] != split[second]
    first, second = first[across], second[across]
    same = likeness.same(_thumbs(samples, first), _thumbs(samples, second))
    return _leaks("look", samples, first[same], second[same]), int((~same).sum())


def same_meanings(samples: pa.Table, vectors: NDArray[np.float32], cosine: float) -> list[Leak]:
    """Pairs of a held-out and a training image whose embeddings are at least so near.

    samples: `sha256`, `split` [n]; vectors: float32 [n, D], rows of length 1.
    """
    split = np.asarray(samples["split"].to_pylist(), object)
    train, held = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    found = []
    for start in range(0, len(held), _ROWS_AT_ONCE):
        rows = held[start : start + _ROWS_AT_ONCE]
        row, column = np.nonzero(vectors[rows] @ vectors[train].T >= cosine)
        found += _leaks("meaning", samples, rows[row], train[column])
    return found


def _thumbs(samples: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    column = samples["thumb"].combine_chunks().take(pa.array(rows))
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, 16, 16, 3)


def _leaks(
    by: str, samples: pa.Table, first: NDArray[np.int64], second: NDArray[np.int64]
) -> list[Leak]:
    sides = []
    for rows in (first, second):
        taken = samples.take(pa.array(rows))
        sides.append(
            list(zip(taken["sha256"].to_pylist(), taken["split"].to_pylist(), strict=True))
        )
    return [Leak(by, a, b, (x, y)) for (a, x), (b, y) in zip(*sides, strict=True)]
