"""Intervals for scores: a bootstrap over clusters of images, paired where two models are compared.

Captions and questions of one image are not independent, so whole clusters are drawn, not rows
(a cluster bootstrap; Davison and Hinkley 1997, section 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A score as a function of summed statistics, so that any resample is one matrix product.

    stats: float64 [N, K], one row per example; combine: [..., K] sums -> [...] scores.
    """

    stats: Array
    combine: Callable[[Array], Array]

    @property
    def value(self) -> float:
        return float(self.combine(self.stats.sum(axis=0)))


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_metric(values: Array) -> Metric:
    """The mean of a per-example score, float64 [N]."""
    values = np.asarray(values, np.float64)
    return Metric(np.stack([values, np.ones_like(values)], axis=1), _ratio)


def _ratio(sums: Array) -> Array:
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-12)


class Bootstrap:
    """Resamples of the clusters of one set of examples, the same for every metric scored on it."""

    def __init__(self, clusters: Sequence[str], *, replicates: int, seed: int) -> None:
        names, self._index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        self.clusters = len(names)
        random = np.random.default_rng(seed)
        share = np.full(self.clusters, 1 / max(self.clusters, 1))
        # Counts: [replicates, clusters].
        self._weights = random.multinomial(self.clusters, share, size=replicates).astype(np.float32)

    def estimate(self, metric: Metric) -> Estimate:
        """The metric with its percentile interval."""
        low, high = _interval(self._replicates(metric))
        return Estimate(metric.value, low, high)

    def difference(self, left: Metric, right: Metric) -> Estimate:
        """left - right with its interval, both scored on the same resamples (paired)."""
        low, high = _interval(self._replicates(left) - self._replicates(right))
        return Estimate(left.value - right.value, low, high)

    def _replicates(self, metric: Metric) -> Array:
        sums = np.zeros((self.clusters, metric.stats.shape[1]))
        np.add.at(sums, self._index, metric.stats)
        return metric.combine(self._weights.astype(np.float64) @ sums)


def _interval(replicates: Array) -> tuple[float, float]:
    low, high = np.percentile(replicates, [2.5, 97.5])
    return float(low), float(high)
