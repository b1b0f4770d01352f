"""Votes made from a known truth: functions of known accuracy and coverage, some of them copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Copy = tuple[int, int, float]


@dataclass(frozen=True)
class Regime:
    """accuracy: of each function; coverage: share of items it votes on; copies: (from, to, share of
    the items on which `to` says what `from` says); balance: of the classes, None if even."""

    accuracy: tuple[float, ...]
    coverage: float
    classes: int = 2
    balance: tuple[float, ...] | None = None
    copies: tuple[Copy, ...] = ()


def _even(low: float, high: float, number: int) -> tuple[float, ...]:
    return tuple(np.linspace(low, high, number).round(3).tolist())


REGIMES = {
    "independent": Regime(_even(0.6, 0.9, 10), 0.6),
    "three copies of a weak function": Regime(
        (0.65, 0.65, 0.65, 0.65, 0.8, 0.75, 0.7, 0.8, 0.75, 0.7),
        0.9,
        copies=((0, 1, 0.95), (0, 2, 0.95), (0, 3, 0.95)),
    ),
    "two pairs of copies": Regime(
        (0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.75, 0.65), 0.8, copies=((0, 1, 1.0), (2, 3, 0.9))
    ),
    "coverage of 10 %": Regime(_even(0.6, 0.9, 10), 0.1),
    "one adversarial": Regime((0.25, 0.7, 0.75, 0.8, 0.65, 0.7), 0.7),
    "five classes": Regime(_even(0.45, 0.8, 8), 0.6, classes=5),
    "five classes, copies": Regime(
        (0.45, 0.45, 0.45, 0.7, 0.6, 0.65, 0.7),
        0.8,
        classes=5,
        copies=((0, 1, 1.0), (0, 2, 0.9)),
    ),
    "unbalanced 9 : 1": Regime(_even(0.65, 0.85, 8), 0.5, balance=(0.9, 0.1)),
    "three functions": Regime((0.6, 0.75, 0.9), 0.8),
}


def generate(regime: Regime, items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Label matrix int64 [items, m], -1 to abstain, and the truth int64 [items]."""
    rng = np.random.default_rng(seed)
    k, m = regime.classes, len(regime.accuracy)
    truth = rng.choice(k, items, p=regime.balance)
    matrix = np.empty((items, m), np.int64)
    for j, accuracy in enumerate(regime.accuracy):
        wrong = (truth + 1 + rng.integers(0, k - 1, items)) % k
        matrix[:, j] = np.where(rng.random(items) < accuracy, truth, wrong)
    for source, target, share in regime.copies:
        same = rng.random(items) < share
        matrix[same, target] = matrix[same, source]
    matrix[rng.random((items, m)) >= regime.coverage] = -1
    return matrix, truth


def accuracy(probability: np.ndarray, truth: np.ndarray) -> float:
    """Share of right answers; a tie of t classes is right to 1/t where the truth is among them."""
    top = np.isclose(probability, probability.max(1, keepdims=True), rtol=0, atol=1e-9)
    return float((top[np.arange(len(truth)), truth] / top.sum(1)).mean())


def calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the winner's probability (Guo et al. 2017), even bins."""
    sure = probability.max(1)
    right = probability.argmax(1) == truth
    at = np.minimum((sure * bins).astype(int), bins - 1)
    gap = np.bincount(at, sure - right, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))
