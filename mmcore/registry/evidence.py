"""What a registered version says about itself, in the forms MLflow accepts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmcore.lake import Dataset

HEADLINES = {
    "retrieval": "text_to_image.r@1",
    "caption": "cider",
    "vqa": "accuracy",
    "tags": "image_ap",
    "sentiment": "macro_f1",
}
"""The score of each task a list of models shows."""
# Question types come from strangers' pages; a dashboard needs no metric per type.
_LEFT_OUT = ("by_type",)
_MAX_PARAM = 500
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.\-]+")


def read_scores(evaluation: Dataset) -> dict[str, Any]:
    """The `scores.json` of an evaluation."""
    return json.loads(evaluation.read_file("scores.json"))


def headline_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """One score per task, `retrieval.text_to_image.r@1` and so on."""
    found = {}
    for task, metric in HEADLINES.items():
        value = scores["tasks"].get(task, {}).get("metrics", {}).get(metric, {}).get("value")
        if value is not None:
            found[f"{task}.{metric}"] = value
    return found


def loggable_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """Every finite score by its path, `@` written `_at_`."""
    flat = _flatten({k: v for k, v in scores["scores"].items()})
    return {
        _NOT_ALLOWED.sub("_", path.replace("@", "_at_")): float(value)
        for path, value in flat
        if isinstance(value, int | float) and math.isfinite(value)
    }


def loggable_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings by their path; a value too long for a parameter is cut."""
    return {
        _NOT_ALLOWED.sub("_", path): (
            value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        )[:_MAX_PARAM]
        for path, value in _flatten(config)
    }


def version_tags(
    candidate: Dataset, evaluation: Dataset, scores: Mapping[str, Any]
) -> dict[str, str]:
    """Where a version comes from: datasets, code, label kinds and licences."""
    kinds = {task: entry["labels"] for task, entry in scores["tasks"].items()}
    return {
        "mmcore.candidate_label": candidate.label,
        "mmcore.evaluation_label": evaluation.label,
        "mmcore.code_version": candidate.manifest.code_version,
        "mmcore.parents": json.dumps(
            {parent.label: parent.digest for parent in candidate.manifest.parents}
        )[:4500],
        "mmcore.labels": json.dumps(kinds, sort_keys=True),
        "mmcore.licenses": json.dumps(scores["sources"]["licenses"])[:4500],
    }


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if key in _LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value
