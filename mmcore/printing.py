"""How `mmcore …` shows things: a line, a tree of values, a funnel with bars, or JSON."""

from __future__ import annotations

import json
from typing import Any

import click


def summary(dataset: Any) -> dict[str, Any]:
    """Name, size and digest of a `mmcore.lake.Dataset`."""
    manifest = dataset.manifest
    return {
        "dataset": manifest.label,
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "digest": manifest.digest,
    }


def funnel_lines(funnel: dict[str, int]) -> list[str]:
    """Counts with bars: what was there, and what was left of it."""
    most = max([1, *funnel.values()])
    bars = {key: "█" * max(count > 0, round(40 * count / most)) for key, count in funnel.items()}
    return [f"{key:<20} {count:>10,}  {bars[key]}" for key, count in funnel.items()]


def tree_lines(value: Any, indent: str = "") -> list[str]:
    """Nested mappings as indented lines, one for each value."""
    if not isinstance(value, dict):
        return [f"{indent}{value}"]
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{indent}{key}", *tree_lines(inner, indent + "  ")]
        else:
            shown = f"{inner:.4f}" if isinstance(inner, float) else inner
            lines.append(f"{indent}{key:<{max(1, 34 - len(indent))}} {shown}")
    return lines


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
