"""From resamples to numbers: what `scores.json` says about a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmcore.evaluate.statistics import Bootstrap, Estimate
from mmcore.evaluate.task_scores import Metrics, TaskScores, nested

_DIGITS = 6


def summarize(
    scores: TaskScores,
    champion: TaskScores | None,
    *,
    labels: str,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """One task of `scores.json`.

    `metrics`, `baselines`, `ablations`: name to value (intervals for the model's own); `blind` and
    `champion`: what the model is compared with and, per metric, the paired difference
    (model - other) with its 95 % interval on the same images. Every metric is compared with the
    baseline that is strongest on it.
    """
    bootstrap = Bootstrap(scores.clusters, replicates=replicates, seed=seed)
    strongest = {name: scores.strongest(name) for name in scores.metrics}
    blind = {name: scores.baselines[baseline][name] for name, baseline in strongest.items()}
    return {
        "labels": labels,
        "primary": scores.primary,
        "examples": len(scores.rows),
        "images": len(scores.examples),
        "clusters": bootstrap.clusters,
        "metrics": {name: _shown(bootstrap.estimate(m)) for name, m in scores.metrics.items()}
        | {name: {"value": _round(value)} for name, value in scores.plain.items()},
        "baselines": {name: _values(metrics) for name, metrics in scores.baselines.items()},
        "ablations": {name: _values(metrics) for name, metrics in scores.ablations.items()},
        "blind": {"name": scores.blind, "names": strongest}
        | _compared(bootstrap, scores.metrics, blind),
        "champion": _compared(bootstrap, scores.metrics, champion.metrics) if champion else None,
        "groups": {
            name: {"examples": count, "score": _round(score), "blind": _round(base)}
            for name, (count, score, base) in sorted(scores.groups.items())
        },
    }


def plain_scores(tasks: Mapping[str, TaskScores]) -> dict[str, Any]:
    """Task to its scores without intervals, as `mmcore evaluate --json` prints them."""
    return {
        task: nested(
            _values(scores.metrics) | {name: _round(value) for name, value in scores.plain.items()}
        )
        | _accuracy_by_type(scores)
        for task, scores in tasks.items()
    }


def _accuracy_by_type(scores: TaskScores) -> dict[str, Any]:
    if scores.task != "vqa":
        return {}
    return {"by_type": {name: _round(group[1]) for name, group in sorted(scores.groups.items())}}


def _compared(bootstrap: Bootstrap, ours: Metrics, theirs: Metrics) -> dict[str, Any]:
    return {
        "metrics": _values(theirs),
        "difference": {
            name: _shown(bootstrap.difference(metric, theirs[name]))
            for name, metric in ours.items()
        },
    }


def _values(metrics: Metrics) -> dict[str, float | None]:
    return {name: _round(metric.value) for name, metric in metrics.items()}


def _shown(estimate: Estimate) -> dict[str, float | None]:
    return {
        "value": _round(estimate.value),
        "low": _round(estimate.low),
        "high": _round(estimate.high),
    }


def _round(value: float) -> float | None:
    """JSON has no NaN: a score that is not a number is null, which no gate accepts."""
    return round(value, _DIGITS) if math.isfinite(value) else None
