"""A model's scores as a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a person knows by name, where the gate judges a finer measure of the same thing.
_SHOWN = {"retrieval": "text_to_image.r@1"}


def score_lines(scores: Mapping[str, Any]) -> list[str]:
    """`scores.json` as a table: each task's main score, its interval and the blind baseline."""
    lines = [f"{'task':<11}{'score':<27}{'model':>7}  {'95 % interval':<16}{'blind':>6}"]
    for task, entry in scores["tasks"].items():
        metric = _SHOWN.get(task, entry["primary"])
        value, blind = entry["metrics"][metric], entry["blind"]["metrics"][metric]
        interval = f"[{_number(value['low'])}, {_number(value['high'])}]"
        lines.append(
            f"{task:<11}{metric:<27}{_number(value['value']):>7}  {interval:<16}"
            f"{_number(blind):>6}  ({entry['blind']['name']}; labels: {entry['labels']}, "
            f"{entry['images']} images)"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
