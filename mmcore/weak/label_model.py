"""How accurate each labeling function is, from agreement alone, and what is true then.

The model of Dawid & Skene (1979) for a closed class space: a confusion matrix per function and the
classes' balance, by expectation maximisation over distinct vote patterns. The start is the method
of moments, functions that depend on each other share a vote (`mmcore.weak.dependencies`), and known
answers stay fixed. Everything is a pure function of the counts of patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mmcore.weak.dependencies import (
    Dependencies,
    discount,
    find_dependencies,
    known_correlation,
)

_PRIOR_ACCURACY = 0.75
_PRIOR_VOTES = 8.0  # how many votes the prior of a function is worth, per class
_COIN = 50.0  # how many votes it is worth that a function errs evenly, per class
_ROUNDS = 100
_CHANGE = 1e-4
_IDENTIFIABLE = 3  # of fewer functions full confusion matrices cannot be told from agreement
_CHUNK = 1 << 15
_MOST_PATTERNS = 1 << 16
_CODES = 1 << 22
_TABLE = 1 << 16
_ENOUGH_GOLD = 30
_UNKNOWN = 0.1


@dataclass(frozen=True)
class Patterns:
    """Distinct votes on items: float64 [P, m, K], how strongly each function votes for each value
    (0 is to abstain; several votes add up); count: float64 [P], items of that pattern; gold: int64
    [P], the class where it is known, else -1; possible: float64 [P, Y], how likely each class is
    before any vote, where that differs by pattern, else None: one balance is then learned.
    accuracy is counted on `said`, float64 [P, m, K], where votes that one function gives several
    times are to count fully there and less in `votes`; None: on `votes`."""

    votes: NDArray[np.float64]
    count: NDArray[np.float64]
    gold: NDArray[np.int64]
    possible: NDArray[np.float64] | None = None
    said: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class LabelModel:
    """confusion: float64 [m, K, Y], chance of a value given the class; balance: float64 [Y];
    dependencies between the m functions; rounds: of expectation maximisation."""

    confusion: NDArray[np.float64]
    balance: NDArray[np.float64]
    dependencies: Dependencies
    rounds: int

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Chance that a function says what is true, over the classes' balance: float64 [m]."""
        both = min(self.confusion.shape[1:])
        right = np.einsum("myy->my", self.confusion[:, :both, :both])
        return np.asarray(right @ self.balance[:both])

    def predict(
        self, votes: NDArray[np.float64], possible: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Class probabilities, float64 [n, Y], of votes [n, m, K]; without votes the balance.

        possible: as in `Patterns`, in place of the balance.
        """
        out = np.empty((len(votes), self.confusion.shape[2]))
        for start in range(0, len(votes), _CHUNK):
            rows = slice(start, start + _CHUNK)
            shared = votes[rows] * _shares(votes[rows], self.dependencies.correlation)[:, :, None]
            before = self.balance if possible is None else possible[rows]
            out[rows] = _posterior(_flat(shared), self.confusion, before)
        return out

    def predict_matrix(self, matrix: NDArray[np.integer]) -> NDArray[np.float64]:
        """Class probabilities, float64 [n, Y], of a label matrix as `from_matrix` takes it."""
        classes = len(self.balance)
        if not self.dependencies.correlation.any():
            return self._added_up(matrix)
        rows, place = _distinct(matrix, classes)
        chunks = [
            self.predict(_one_hot(rows[start : start + _CHUNK], classes))
            for start in range(0, len(rows), _CHUNK)
        ]
        return np.concatenate([np.empty((0, classes)), *chunks])[place]

    def _added_up(self, matrix: NDArray[np.integer]) -> NDArray[np.float64]:
        """As `predict_matrix` where every vote counts fully: log odds are sums over functions, so a
        few functions at a time are looked up in a table of all they can say together."""
        values, classes = self.confusion.shape[1:]
        said = np.zeros((len(self.confusion), values + 1, classes))
        said[:, 1:] = np.log(self.confusion)
        tables = _joint_tables(said)
        if len(tables) == 1:  # every row there can be has been worked out
            table = _normalised(np.log(self.balance) + tables[0][1])
            return np.asarray(table[_codes(matrix, values + 1)])
        out = np.empty((len(matrix), classes))
        for start in range(0, len(matrix), _CHUNK):
            rows = matrix[start : start + _CHUNK]
            score = np.tile(np.log(self.balance), (len(rows), 1))
            for first, table in tables:
                width = round(np.log(len(table)) / np.log(values + 1))
                score += table[_codes(rows[:, first : first + width], values + 1)]
            out[start : start + len(rows)] = _normalised(score)
        return out


def _joint_tables(said: NDArray[np.float64]) -> list[tuple[int, NDArray[np.float64]]]:
    """Sums of [m, V, Y] over runs of functions: the first of each run, and [V**run, Y]."""
    tables: list[tuple[int, NDArray[np.float64]]] = []
    for number, table in enumerate(said):
        if tables and len(tables[-1][1]) * len(table) <= _TABLE:
            first, before = tables[-1]
            joint = before[:, None] + table[None]
            tables[-1] = first, joint.reshape(-1, table.shape[1])
        else:
            tables.append((number, table))
    return tables


def from_matrix(
    matrix: NDArray[np.integer], classes: int, gold: NDArray[np.integer] | None = None
) -> Patterns:
    """Patterns of a label matrix [n, m] with classes from 0, -1 to abstain (Snorkel's layout).

    gold: [n], -1 where unknown. Where there are more than 65,536 distinct patterns, those of
    as many rows, evenly spaced, are taken.
    """
    if gold is not None:
        matrix = np.column_stack([matrix, gold])
    rows, place = _distinct(matrix, classes)
    if len(rows) > _MOST_PATTERNS:
        rows, place = _distinct(matrix[:: -(-len(matrix) // _MOST_PATTERNS)], classes)
    count = np.bincount(place, minlength=len(rows)).astype(np.float64)
    known = np.full(len(rows), -1) if gold is None else rows[:, -1].astype(np.int64)
    rows = rows if gold is None else rows[:, :-1]
    return Patterns(_one_hot(rows, classes), count, known)


def fit(
    patterns: Patterns,
    classes: int | None = None,
    answers: float | None = None,
) -> LabelModel:
    """The model that explains the patterns best.

    classes: Y unless there are as many as values K. answers: how many different answers a function
    could give, unless that is K too; where `possible` is given, values only tell answers of one
    item apart, and every function errs evenly.
    """
    votes, count, possible = patterns.votes, patterns.count, patterns.possible
    size, values = votes.shape[1:]
    classes, answers = classes or values, answers or values
    free = possible is None and size >= _IDENTIFIABLE
    estimate = _Estimate(size, values, classes, answers, free)
    dependencies = _dependencies(patterns, answers)
    flat = _flat(votes if patterns.said is None else patterns.said)
    shared = _flat(votes * _shares(votes, dependencies.correlation)[:, :, None])
    before = estimate.balance(np.zeros(classes)) if possible is None else possible
    known = np.flatnonzero(patterns.gold >= 0)
    fixed = np.eye(classes)[patterns.gold[known]]
    told = flat[known].T @ (fixed * count[known, None])
    confusion = estimate.start(dependencies.skill, told.reshape(size, values, classes))
    belief = _posterior(shared, confusion, before)
    # a lone vote tells nothing of its function's accuracy, and only slows the estimate of one coin
    telling = (
        count if free else count * ((flat.sum(1) > _flat(votes).max(1)) | (patterns.gold >= 0))
    )
    telling = telling * _unknown_weight(patterns)
    rounds, moving = 0, True
    while moving and rounds < _ROUNDS:
        rounds += 1
        belief[known] = fixed
        weighed = belief * count[:, None]
        seen = flat.T @ (belief * telling[:, None])
        confusion = estimate.confusion(seen.reshape(size, values, classes))
        if possible is None:
            before = estimate.balance(weighed.sum(0))
        last, belief = belief, _posterior(shared, confusion, before)
        moved = np.abs(belief - last).max(1, initial=0)
        moved[known] = 0
        moving = bool(moved @ count >= _CHANGE * count.sum())
    balance = before if possible is None else np.full(classes, 1.0 / classes)
    return LabelModel(confusion, balance, dependencies, rounds)


def _unknown_weight(patterns: Patterns) -> NDArray[np.float64]:
    """How much each pattern counts for the accuracies: where enough is known, what is not known
    counts no more than that together (EM-lambda; Nigam et al. 2000), so that many functions that
    err alike do not outvote what people said. float64 [P]."""
    known = patterns.gold >= 0
    told, rest = patterns.count[known].sum(), patterns.count[~known].sum()
    if told < _ENOUGH_GOLD:
        return np.ones(len(known))
    return np.where(known, 1.0, min(1.0, _UNKNOWN * told / max(rest, 1.0)))


@dataclass(frozen=True)
class _Estimate:
    """Parameters from expected counts; `free`: a full confusion matrix per function."""

    size: int
    values: int
    classes: int
    answers: float
    free: bool

    def start(self, skill: NDArray[np.float64], told: NDArray[np.float64]) -> NDArray[np.float64]:
        """Confusions [m, K, Y] from skills [m], NaN where unknown, and what is known: counts
        [m, K, Y] of votes given the class."""
        accuracy = (1 + (self.answers - 1) * skill) / self.answers
        accuracy = np.where(np.isnan(skill), _PRIOR_ACCURACY, accuracy)
        both = min(self.values, self.classes)
        right = np.einsum("myy->m", told[:, :both, :both]) + _PRIOR_VOTES * accuracy
        return self._coin(right / (told.sum((1, 2)) + _PRIOR_VOTES))

    def confusion(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """From expected counts [m, K, Y]: each function is drawn to its own accuracy, and that to
        `_PRIOR_ACCURACY`."""
        both = min(self.values, self.classes)
        right = np.einsum("myy->m", seen[:, :both, :both]) + _PRIOR_VOTES * _PRIOR_ACCURACY
        coin = self._coin(right / (seen.sum((1, 2)) + _PRIOR_VOTES))
        if not self.free:
            return coin
        counts = seen + _COIN * coin
        return np.asarray(counts / counts.sum(1, keepdims=True))

    def balance(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """The classes' shares from expected counts, float64 [Y] each."""
        return np.asarray((seen + _PRIOR_VOTES / self.classes) / (seen.sum() + _PRIOR_VOTES))

    def _coin(self, accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
        right = np.clip(accuracy, 0.1 / self.answers, 0.99)[:, None, None]
        wrong = (1 - right) / (self.answers - 1)
        return np.where(np.eye(self.values, self.classes) > 0, right, wrong)


def _dependencies(patterns: Patterns, answers: float) -> Dependencies:
    """From agreement, and from errors where answers are known."""
    votes, count = patterns.votes, patterns.count
    found = find_dependencies(*count_agreement(votes, count), answers)
    known = np.flatnonzero(patterns.gold >= 0)
    total = _totals(votes[known])
    right = votes[known, :, patterns.gold[known]] / np.maximum(total, 1e-9)
    together = known_correlation(right, (total > 0).astype(np.float64), count[known])
    return Dependencies(found.skill, np.maximum(found.correlation, together))


def count_agreement(
    votes: NDArray[np.float64], count: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """On how many items each pair of functions agrees, and both vote: two of float64 [m, m]."""
    total = _totals(votes)
    share = votes / np.where(total > 0, total, 1.0)[:, :, None]
    voted = (total > 0).astype(np.float64)
    agreed = sum(
        share[:, :, k].T @ (share[:, :, k] * count[:, None]) for k in range(votes.shape[2])
    )
    return np.asarray(agreed), voted.T @ (voted * count[:, None])


def _posterior(flat: NDArray, confusion: NDArray, before: NDArray) -> NDArray[np.float64]:
    score = flat @ np.log(confusion).reshape(flat.shape[1], -1)
    with np.errstate(divide="ignore"):
        score += np.log(before)
    return _normalised(score)


def _normalised(score: NDArray) -> NDArray[np.float64]:
    """Probabilities from unnormalised logarithms, in place."""
    # NumPy reduces long columns much faster than short rows
    score -= reduce(np.maximum, score.T)[:, None]
    np.exp(score, out=score)
    score /= reduce(np.add, score.T)[:, None]
    return np.asarray(score)


def _flat(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    return votes.reshape(len(votes), votes.shape[1] * votes.shape[2])


def _shares(votes: NDArray[np.float64], correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    return discount((_totals(votes) > 0).astype(np.float64), correlation)


def _totals(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the values: float64 [P, m]."""
    return np.asarray(votes @ np.ones(votes.shape[2]))


def _one_hot(rows: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    return (rows[:, :, None] == np.arange(classes)).astype(np.float64)


def _codes(matrix: NDArray[np.integer], base: int) -> NDArray[np.int64]:
    """Rows as numbers of base `base`, their entries being digits from -1: int64 [n]."""
    powers = float(base) ** np.arange(matrix.shape[1] - 1, -1, -1)
    if powers.sum() * base > 2**52:  # beyond what a float holds exactly
        whole = base ** np.arange(matrix.shape[1] - 1, -1, -1, dtype=np.int64)
        return np.asarray((matrix.astype(np.int64) + 1) @ whole)
    code = np.empty(len(matrix), np.int64)
    for start in range(0, len(matrix), _CHUNK):
        rows = slice(start, start + _CHUNK)
        code[rows] = matrix[rows].astype(np.float64) @ powers + powers.sum()
    return code


def _distinct(
    matrix: NDArray[np.integer], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows [P, m] of a label matrix, and the place of each row among them [n]."""
    base, width = classes + 1, matrix.shape[1]
    if base**width > 2**62:
        rows, place = np.unique(matrix, axis=0, return_inverse=True)
        return rows.astype(np.int64), place.reshape(-1)
    code = _codes(matrix, base)
    if base**width <= _CODES:
        there = np.flatnonzero(np.bincount(code, minlength=base**width))
        number = np.zeros(base**width, np.int64)
        number[there] = np.arange(len(there))
        place = number[code]
    else:
        there, place = np.unique(code, return_inverse=True)
    powers = base ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return there[:, None] // powers % base - 1, place
