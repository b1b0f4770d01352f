"""Retrieval, tagging and sentiment metrics. Ties always count against the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# Two equal vectors may differ in the last bits after a blocked matrix product.
_TIE = 1e-6


def retrieval_ranks(
    queries: Floats, gallery: Floats, positives: Sequence[NDArray[np.int64]], chunk: int = 512
) -> NDArray[np.int64]:
    """Rank (0 = first) of the best right answer of every query, int64 [Q].

    queries: float [Q, D]; gallery: float [G, D], both L2-normalised; positives: for each query the
    gallery rows that are right (at least one). The rank counts the wrong rows that score at least
    as high as the best right one, so a tie, or a score that is not a number, costs places.
    """
    ranks = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(queries), chunk):
        rows = positives[start : start + chunk]
        scores = (
            np.asarray(queries[start : start + chunk], np.float32)
            @ np.asarray(gallery, np.float32).T
        )
        right = np.zeros(scores.shape, dtype=bool)
        right[np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate(rows)] = (
            True
        )
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[start : start + len(rows)] = (~(scores < best - _TIE) & ~right).sum(axis=1)
    return ranks


def chance_recall(positives: NDArray[np.int64], gallery: int, k: int) -> NDArray[np.float64]:
    """Probability that a random order shows one of P right rows among the first k, float64 [Q]."""
    missed = np.ones(len(positives))
    for drawn in range(min(k, gallery)):
        missed *= np.clip((gallery - positives - drawn) / (gallery - drawn), 0.0, 1.0)
    return 1.0 - missed


def average_precision(truth: NDArray[np.bool_], scores: Floats) -> NDArray[np.float64]:
    """Average precision of every column, float64 [C]; NaN for a column without a right row.

    truth: bool [R, C]; scores: float [R, C]. Among equal scores the wrong rows come first.
    """
    wrong_first = np.argsort(truth, axis=0, kind="stable")
    ordered = np.take_along_axis(np.nan_to_num(scores, nan=-np.inf), wrong_first, axis=0)
    order = np.take_along_axis(wrong_first, np.argsort(-ordered, axis=0, kind="stable"), axis=0)
    hits = np.take_along_axis(truth, order, axis=0)
    precision = hits.cumsum(axis=0) / np.arange(1, len(truth) + 1)[:, None]
    found = hits.sum(axis=0)
    total = np.where(hits, precision, 0.0).sum(axis=0)
    return np.divide(total, found, out=np.full(len(found), np.nan), where=found > 0)


def tag_counts(
    truth: NDArray[np.bool_], scores: Floats, threshold: float = 0.5
) -> NDArray[np.float64]:
    """True positives, false positives and false negatives per row, float64 [R, 3]."""
    said = scores >= threshold
    return np.stack(
        [(said & truth).sum(1), (said & ~truth).sum(1), (~said & truth).sum(1)], axis=1
    ).astype(np.float64)


def micro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of summed counts [..., 3] of `tag_counts`; 0 where nothing was right or said."""
    hit = 2 * counts[..., 0]
    return hit / np.maximum(hit + counts[..., 1] + counts[..., 2], 1e-12)


def precision_at(truth: NDArray[np.bool_], scores: Floats, k: int) -> NDArray[np.float64]:
    """Share of right tags among the k best of every row, float64 [R].

    Divided by the number of right tags where a row has fewer than k, so 1 can be reached.
    Among equal scores the wrong tags come first.
    """
    wrong_first = np.argsort(truth, axis=1, kind="stable")
    ordered = np.take_along_axis(np.nan_to_num(scores, nan=-np.inf), wrong_first, axis=1)
    best = np.argsort(-ordered, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(np.take_along_axis(truth, wrong_first, axis=1), best, axis=1).sum(1)
    return hits / np.maximum(np.minimum(truth.sum(axis=1), k), 1)


def confusion(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """One-hot confusion cells per example, float64 [N, classes * classes] (truth-major)."""
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + predicted] = 1.0
    return cells


def accuracy_of(cells: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Accuracy of summed confusion cells [..., classes * classes]."""
    table = cells.reshape(*cells.shape[:-1], classes, classes)
    right = np.trace(table, axis1=-2, axis2=-1)
    return right / np.maximum(table.sum(axis=(-2, -1)), 1e-12)


def macro_f1_of(cells: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Mean F1 over the classes that occur in the truth, of summed confusion cells."""
    table = cells.reshape(*cells.shape[:-1], classes, classes)
    right = np.diagonal(table, axis1=-2, axis2=-1)
    truth, said = table.sum(axis=-1), table.sum(axis=-2)
    f1 = 2 * right / np.maximum(truth + said, 1e-12)
    present = truth > 0
    return np.where(present, f1, 0.0).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
