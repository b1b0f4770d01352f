"""How accurate each labeling function is, from agreement alone, and what is true then.

The model of Dawid & Skene (1979) for a closed class space: a confusion matrix per function and the
classes' balance, by expectation maximisation over distinct vote patterns. The start is the method of
moments, functions that depend on each other share a vote (`mmcore.weak.dependencies`), and known
answers stay fixed. Everything is a pure function of the counts of patterns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcore.weak.dependencies import Dependencies, discount, find_dependencies

_PRIOR_ACCURACY = 0.75
_PRIOR_VOTES = 8.0  # how many votes the prior of a function is worth, per class
_ROUNDS = 100
_CHANGE = 1e-4
_CHUNK = 1 << 15
_MOST_PATTERNS = 1 << 16
_CODES = 1 << 22


@dataclass(frozen=True)
class Patterns:
    """Distinct votes on items: float64 [P, m, K], how strongly each function votes for each value
    (0 is to abstain; several votes add up); count: float64 [P], items of that pattern; gold: int64
    [P], the class where it is known, else -1."""

    votes: NDArray[np.float64]
    count: NDArray[np.float64]
    gold: NDArray[np.int64]


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
        """Chance that a vote of each function is right, over the classes' balance: float64 [m]."""
        right = np.einsum("myy->my", self.confusion)
        return np.asarray(right @ self.balance)

    def predict(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Class probabilities, float64 [n, Y], of votes [n, m, K]; without votes the balance."""
        out = np.empty((len(votes), len(self.balance)))
        for start in range(0, len(votes), _CHUNK):
            some = votes[start : start + _CHUNK]
            shared = some * _shares(some, self.dependencies.correlation)[:, :, None]
            out[start : start + _CHUNK] = _posterior(_flat(shared), self.confusion, self.balance)
        return out

    def predict_matrix(self, matrix: NDArray[np.integer]) -> NDArray[np.float64]:
        """Class probabilities, float64 [n, Y], of a label matrix as `from_matrix` takes it."""
        classes = len(self.balance)
        rows, place = _distinct(matrix, classes)
        chunks = [
            self.predict(_one_hot(rows[start : start + _CHUNK], classes))
            for start in range(0, len(rows), _CHUNK)
        ]
        return np.concatenate([np.empty((0, classes)), *chunks])[place]


def from_matrix(
    matrix: NDArray[np.integer], classes: int, gold: NDArray[np.integer] | None = None
) -> Patterns:
    """Patterns of a label matrix [n, m] with classes from 0, -1 to abstain (Snorkel's layout).

    gold: [n], -1 where unknown. Of more than 65,536 distinct patterns the most frequent are kept.
    """
    if gold is not None:
        matrix = np.column_stack([matrix, gold])
    rows, place = _distinct(matrix, classes)
    count = np.bincount(place, minlength=len(rows)).astype(np.float64)
    if len(rows) > _MOST_PATTERNS:
        first = np.argsort(-count, kind="stable")[:_MOST_PATTERNS]
        rows, count = rows[first], count[first]
    known = np.full(len(rows), -1) if gold is None else rows[:, -1].astype(np.int64)
    rows = rows if gold is None else rows[:, :-1]
    return Patterns(_one_hot(rows, classes), count, known)


def fit(patterns: Patterns, classes: int | None = None) -> LabelModel:
    """The model that explains the patterns best. classes: K unless there are fewer classes than
    values (the last values can be voted for and never be true)."""
    votes, count = patterns.votes, patterns.count
    size, values = votes.shape[1:]
    classes = classes or values
    dependencies = find_dependencies(*count_agreement(votes, count), values)
    skill = np.nan_to_num(dependencies.skill, nan=_skill_of(_PRIOR_ACCURACY, values))
    coin = one_coin(skill, values, classes)
    flat = _flat(votes)
    shared = _flat(votes * _shares(votes, dependencies.correlation)[:, :, None])
    balance = np.full(classes, 1.0 / classes)
    known = np.flatnonzero(patterns.gold >= 0)
    fixed = np.eye(classes)[patterns.gold[known]]
    confusion, rounds = coin, 0
    belief = _posterior(shared, confusion, balance)
    for rounds in range(1, _ROUNDS + 1):
        belief[known] = fixed
        weighed = belief * count[:, None]
        seen = (flat.T @ weighed).reshape(size, values, classes)
        confusion = _confusion(seen)
        balance = (weighed.sum(0) + 1) / (weighed.sum() + classes)
        before, belief = belief, _posterior(shared, confusion, balance)
        moved = np.abs(belief - before).max(1, initial=0)
        moved[known] = 0
        if moved @ count < _CHANGE * count.sum():
            break
    return LabelModel(confusion, balance, dependencies, rounds)


def count_agreement(
    votes: NDArray[np.float64], count: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """On how many items each pair of functions agrees, and both vote: two of float64 [m, m]."""
    total = votes.sum(2, keepdims=True)
    share = np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)
    voted = (total[:, :, 0] > 0).astype(np.float64)
    agreed = sum(
        share[:, :, k].T @ (share[:, :, k] * count[:, None]) for k in range(votes.shape[2])
    )
    return np.asarray(agreed), voted.T @ (voted * count[:, None])


def one_coin(
    skill: NDArray[np.float64], values: int, classes: int
) -> NDArray[np.float64]:
    """Confusion [m, K, Y] of functions whose wrong votes spread evenly; skill: [m], 0 is chance."""
    right = (1 + (values - 1) * np.clip(skill, -0.9 / (values - 1), 0.98)) / values
    wrong = (1 - right) / (values - 1)
    same = np.eye(values, classes)
    return np.asarray(np.where(same[None] > 0, right[:, None, None], wrong[:, None, None]))


def _skill_of(accuracy: float, values: int) -> float:
    return (values * accuracy - 1) / (values - 1)


def _confusion(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """From expected counts [m, K, Y]: each function is drawn to its own one-coin accuracy, which is
    drawn to `_PRIOR_ACCURACY`."""
    values, classes = seen.shape[1:]
    right = np.einsum("myy->m", seen[:, :classes])
    total = seen.sum((1, 2))
    accuracy = (right + _PRIOR_VOTES * _PRIOR_ACCURACY) / (total + _PRIOR_VOTES)
    coin = one_coin((values * accuracy - 1) / (values - 1), values, classes)
    prior = seen + _PRIOR_VOTES * coin
    return np.asarray(prior / prior.sum(1, keepdims=True))


def _posterior(flat: NDArray, confusion: NDArray, balance: NDArray) -> NDArray[np.float64]:
    score = flat @ np.log(confusion).reshape(-1, len(balance)) + np.log(balance)
    score -= score.max(1, keepdims=True, initial=-np.inf)
    np.exp(score, out=score)
    score /= score.sum(1, keepdims=True)
    return np.asarray(score)


def _flat(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    return votes.reshape(len(votes), votes.shape[1] * votes.shape[2])


def _shares(votes: NDArray[np.float64], correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    return discount((votes.sum(2) > 0).astype(np.float64), correlation)


def _one_hot(rows: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    return (rows[:, :, None] == np.arange(classes)).astype(np.float64)


def _distinct(
    matrix: NDArray[np.integer], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows [P, m] of a label matrix, and the place of each row among them [n]."""
    base, width = classes + 1, matrix.shape[1]
    if base**width > 2**62:
        rows, place = np.unique(matrix, axis=0, return_inverse=True)
        return rows.astype(np.int64), place.reshape(-1)
    code = np.zeros(len(matrix), np.int64)
    for column in range(width):
        code *= base
        code += matrix[:, column]
        code += 1
    if base**width <= _CODES:
        there = np.flatnonzero(np.bincount(code, minlength=base**width))
        number = np.zeros(base**width, np.int64)
        number[there] = np.arange(len(there))
        place = number[code]
    else:
        there, place = np.unique(code, return_inverse=True)
    powers = base ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return there[:, None] // powers % base - 1, place
