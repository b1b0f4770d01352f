"""The rules of docs/architecture.md, read from the imports, and the picture, from the folders."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("mmcore/*/__init__.py"))
STAGES = sorted(path.parent.name for path in ROOT.glob("mmcore/*/stage.py"))

# What a stage's folder may use beside lake, cluster and errors: its plain functions read another
# stage's *format*, never its stage.
BORROWED = {
    "train": {"models", "shards"},
    "evaluate": {"models", "shards"},
}
# The composition root and the demo put the sample site in front of a crawl.
KNOWS_SAMPLESITE = {"mmcore/graph.py", "mmcore/demo.py"}


@functools.cache
def imports(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in the file it does so."""
    return set(_imported(ast.parse(path.read_text(encoding="utf-8")), path))


def _imported(tree: ast.AST, path: Path) -> Iterator[str]:
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def uses(path: Path, package: str) -> bool:
    """Whether a file imports a package or anything in it."""
    return any(name == package or name.startswith(package + ".") for name in imports(path))


def offenders(pattern: str, package: str, allowed: set[str] | None = None) -> list[str]:
    """Files below the root that import a package without being allowed to."""
    found = (path for path in sorted(ROOT.glob(pattern)) if uses(path, package))
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if name not in (allowed or set())]


def test_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules below would pass on anything if this did not work."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "mmcore" / "crawl" / "stage.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import ray.data\nfrom mmcore.clean.stage import run\nfrom ..dedup import stage\n"
        "from . import rows\n\ndef late():\n    from dagster import asset\n",
        encoding="utf-8",
    )
    assert imports(file) == {
        "ray.data",
        "mmcore.clean.stage.run",
        "mmcore.dedup.stage",
        "mmcore.crawl.rows",
        "dagster.asset",
    }
    assert offenders("mmcore/**/*.py", "dagster") == ["mmcore/crawl/stage.py"]
    assert offenders("mmcore/**/*.py", "dag") == []


@pytest.mark.parametrize("package", ["dagster", "dagster_pipes", "pipelines"])
def test_mmcore_does_not_know_dagster(package: str) -> None:
    assert offenders("mmcore/**/*.py", package) == []


def test_pipelines_reach_stages_through_the_graph_only() -> None:
    for stage in STAGES:
        assert offenders("pipelines/**/*.py", f"mmcore.{stage}") == []


def test_only_cluster_and_the_stages_know_ray() -> None:
    stages = {f"mmcore/{name}/stage.py" for name in STAGES}
    found = [name for name in offenders("mmcore/**/*.py", "ray", stages)]
    assert [name for name in found if not name.startswith("mmcore/cluster/")] == []


@pytest.mark.parametrize("stage", STAGES)
def test_stage_imports_no_other_stage(stage: str) -> None:
    others = set(FOLDERS) - {stage, "lake", "cluster"} - BORROWED.get(stage, set())
    for path in sorted((ROOT / "mmcore" / stage).rglob("*.py")):
        known = [name for name in others if uses(path, f"mmcore.{name}")]
        assert known == [], f"{path.relative_to(ROOT)} imports {known}"
        for name in BORROWED.get(stage, set()):
            assert not uses(path, f"mmcore.{name}.stage"), path


@pytest.mark.parametrize("stage", STAGES)
def test_plain_functions_of_a_stage_do_not_know_ray_or_dagster(stage: str) -> None:
    for path in sorted((ROOT / "mmcore" / stage).rglob("*.py")):
        if path.name != "stage.py":
            assert not uses(path, "ray"), path
            assert not uses(path, "dagster"), path


def test_only_the_composition_root_puts_the_sample_site_before_a_stage() -> None:
    found = offenders("mmcore/**/*.py", "mmcore.samplesite", KNOWS_SAMPLESITE)
    assert [name for name in found if not name.startswith("mmcore/samplesite/")] == []
    assert offenders("pipelines/**/*.py", "mmcore.samplesite") == []


def test_samplesite_knows_no_stage() -> None:
    for name in set(FOLDERS) - {"samplesite"}:
        assert offenders("mmcore/samplesite/*.py", f"mmcore.{name}") == []


def test_foundations_know_nothing_that_is_built_on_them() -> None:
    for foundation in ("lake", "cluster"):
        for name in [*STAGES, "models", "registry", "samplesite"]:
            assert offenders(f"mmcore/{foundation}/*.py", f"mmcore.{name}") == []


@pytest.mark.parametrize("module", ["recipe", "cli"])
def test_reading_a_recipe_or_a_command_line_starts_nothing_heavy(module: str) -> None:
    heavy = {"torch", "ray", "mlflow", "dagster", "matplotlib"}
    code = f"import mmcore.{module}, sys; print(sorted({heavy!r} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert answer.stdout.strip() == "[]"


def picture() -> ModuleType:
    """The script that draws the picture."""
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs/architecture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["picture"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_picture_is_what_its_script_draws() -> None:
    drawn = (ROOT / "docs/architecture.svg").read_text(encoding="utf-8")
    assert drawn == picture().draw(), "run: python docs/architecture.py"


def test_picture_names_every_folder() -> None:
    drawn = (ROOT / "docs/architecture.svg").read_text(encoding="utf-8")
    words = set(re.findall(r">([^<>]+)</text>", drawn))
    assert set(FOLDERS) - words == set()
    tops = {path.name for path in (ROOT / "pipelines/defs").iterdir() if path.is_dir()}
    assert {f"defs/{name}" for name in tops if not name.startswith("_")} - words == set()
    assert {"infra/", "pipelines/", "mmcore/"} <= words


def test_picture_shows_the_datasets_that_are_documented() -> None:
    documented = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^## .*$", documented, re.MULTILINE))
    described = set(re.findall(r"`(\w+)@DAY`", headings)) | {"tokenizer"}
    assert described == {name for stage in picture().STAGES for name in stage.datasets}
