"""The command line: what each command prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.cli import cli, run_command
from mmcore.lake import Lake
from mmcore.recipe import load_recipe

DAY = "2026-03-01"


def run(*arguments: str) -> int:
    return run_command(lambda **options: cli.main(args=list(arguments), **options))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    writer = lake.writer("crawled", DAY)
    part = writer.write_table(0, pa.table({"sha256": ["a", "b"]}))
    writer.commit([part], [], {"depth": 1}, {"funnel": {"urls": 3, "ok": 2}})
    return lake


def test_init_writes_a_recipe_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "recipe.yaml"
    assert run("init", str(file), "--name", "shop") == 0
    assert load_recipe(file).name == "shop"
    assert run("init", str(file)) == 2
    assert "--force" in capsys.readouterr().err


def test_datasets_show_and_path_tell_what_there_is(
    filled: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("datasets", "--root", filled.root) == 0
    assert f"crawled@{DAY}" in capsys.readouterr().out
    assert run("show", f"crawled@{DAY}", "--root", filled.root) == 0
    shown = capsys.readouterr().out
    assert filled.dataset("crawled", DAY).digest in shown
    assert "urls" in shown
    assert run("path", f"crawled@{DAY}", "--root", filled.root) == 0
    assert capsys.readouterr().out.split() == filled.dataset("crawled", DAY).paths()


@pytest.mark.parametrize("command", [("datasets",), ("show", f"crawled@{DAY}")])
def test_listings_have_json(
    filled: Lake, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert run(*command, "--root", filled.root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    row = found[0] if isinstance(found, list) else found
    assert (row["dataset"], row["rows"]) == (f"crawled@{DAY}", 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "crawled@2020-01-01"), "There is no dataset crawled@2020-01-01"),
        (("show", "Bad Name@1"), "is not a dataset name"),
        (("run", "crwl", "--recipe", "x.yaml"), "There is no stage 'crwl'"),
        (("run", "crawl", "--recipe", "missing.yaml"), "There is no recipe missing.yaml"),
        (("run", "crawl", "--day", "soon", "--recipe", "RECIPE"), "'soon' is not a day"),
        (("predict", "champion", "--task", "caption"), "There is no model champion"),
        (("evaluate", "champion", "--on", "nowhere"), "There is no model champion"),
        (("nonsense",), "No such command"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(
    lake: Lake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sources: [{kind: folder, path: photos}]\n")
    given = [str(recipe) if part == "RECIPE" else part for part in arguments]
    root = () if arguments == ("nonsense",) else ("--root", lake.root)
    assert run(*given, *root) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_no_models_yet_is_said_kindly(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--root", lake.root) == 0
    assert "No models" in capsys.readouterr().out
