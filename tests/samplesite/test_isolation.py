"""No stage may know the sample site, let alone its truth."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "mmcore"
STAGES = (
    "crawl", "clean", "dedup", "tokenize", "weak", "shards", "models", "train", "evaluate",
    "registry", "lake", "cluster",
)  # fmt: skip


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_never_reads_the_truth(stage: str) -> None:
    files = sorted((PACKAGE / stage).rglob("*.py"))
    assert files
    for path in files:
        assert not [name for name in _imports(path) if "samplesite" in name], path
        assert "samplesite" not in path.read_text("utf-8"), path
