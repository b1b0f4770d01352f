"""The scores of one model on one task, in a form that can be resampled and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.evaluate.examples import Example
from mmcore.evaluate.statistics import Array, Metric, mean_metric

PRIMARY = {
    "retrieval": "text_to_image.mrr",
    "caption": "cider",
    "vqa": "accuracy",
    "tags": "image_ap",
    "sentiment": "macro_f1",
}
"""The metric of each task that comparisons and the gate use."""

Metrics = dict[str, Metric]


@dataclass(frozen=True)
class Row:
    """One example of one task: its score by the model and by the blind baseline."""

    image: int
    """Row of the image among the task's images."""
    metric: str
    model: float
    baseline: float
    query: str
    truth: str
    output: str
    confidence: float = 0.0


@dataclass(frozen=True)
class TaskScores:
    """One model on one task.

    metrics: name to resamplable score; plain: scores without an interval; baselines (blind) and
    ablations: name to metrics; examples: the task's images, the rows of every metric.
    """

    task: str
    examples: tuple[Example, ...]
    metrics: Metrics
    plain: dict[str, float]
    baselines: dict[str, Metrics]
    rows: tuple[Row, ...]
    ablations: dict[str, Metrics] = field(default_factory=dict)
    groups: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    """Group to (examples, score, blind score): question types, tags, classes."""

    @property
    def primary(self) -> str:
        return PRIMARY[self.task]

    @property
    def blind(self) -> str:
        """Name of the strongest blind baseline on the primary metric."""
        return self.strongest(self.primary)

    def strongest(self, metric: str) -> str:
        """Name of the strongest blind baseline on a metric."""
        return max(self.baselines, key=lambda name: (self.baselines[name][metric].value, name))

    @property
    def clusters(self) -> list[str]:
        return [example.cluster for example in self.examples]


def per_image(values: Array, owner: NDArray[np.int64], images: int) -> Metric:
    """The mean over all examples, as sums per image."""
    metric = mean_metric(values)
    sums = np.zeros((images, metric.stats.shape[1]))
    np.add.at(sums, owner, metric.stats)
    return Metric(sums, metric.combine)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[leaf or name] = value
    return tree
