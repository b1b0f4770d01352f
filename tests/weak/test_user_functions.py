"""A labeling function of one's own, as docs/weak-labels.md shows it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.recipe import load_recipe
from mmcore.weak.stage import Config, run
from mmcore.weak.user_functions import GIVEN, find_functions, given
from tests.weak.helpers import DAY, Page, evidence, tokenized, write_pages

DOCS = Path(__file__).parents[2] / "docs/weak-labels.md"
PAGES = [
    Page([("alt", "Acme drill, red")]),
    Page([("alt", "a saw"), ("comment", "My Acme is better")]),
    Page([("alt", "a hammer")]),
]
RETURNS = "def f(texts):\n    return {}\n"
VOTING = "from mmcore.weak.voting import fact_votes, sentiment_votes, tag_votes\n"


def block(language: str) -> str:
    """The first block of a language in the page."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOCS.read_text("utf-8"), re.M | re.S)
    assert found
    return found[1]


def config(folder: Path, code: str, recipe: str = "weak: {user_functions: ['f.py:f']}") -> Config:
    """The weak settings of a recipe beside a file with functions."""
    name = yaml.safe_load(recipe)["weak"]["user_functions"][0].partition(":")[0]
    (folder / name).write_text(code, "utf-8")
    path = folder / "recipe.yaml"
    path.write_text("sources: [{kind: folder, path: .}]\n" + recipe, "utf-8")
    return load_recipe(path).weak


def label(lake: Lake, settings: Config) -> Dataset:
    write_pages(lake, PAGES)
    tokenized(lake)
    return run(lake, DAY, settings)


@pytest.mark.usefixtures("ray_session")
def test_the_five_lines_of_the_docs_label_images(lake: Lake, tmp_path: Path) -> None:
    code = block("python")
    assert len([line for line in code.splitlines() if line]) <= 5
    settings = config(tmp_path, code, block("yaml"))
    pairs = label(lake, settings)
    found = [
        {tag["source"] for tag in row["tags"] if tag["tag"] == "acme"}
        for row in sorted(pairs.read().to_pylist(), key=lambda row: row["sha256"])
    ]
    assert sorted(map(sorted, found)) == [[], ["by_brand"], ["by_brand"]]
    assert pairs.metadata["labeling_functions"]["tag/by_brand"]["coverage"] == 0.6667
    assert run(lake, DAY, settings).manifest == pairs.manifest
    # another place is no other function, other code is
    (elsewhere := tmp_path / "moved").mkdir()
    assert run(lake, DAY, config(elsewhere, code, block("yaml"))).manifest == pairs.manifest
    changed = config(tmp_path, code.replace('"acme"', '"acme tools"'), block("yaml"))
    again = run(lake, DAY, changed)
    assert {t["tag"] for row in again.read().to_pylist() for t in row["tags"]} >= {"acme tools"}


@pytest.mark.usefixtures("ray_session")
def test_a_function_that_fails_is_named_in_one_sentence(lake: Lake, tmp_path: Path) -> None:
    settings = config(tmp_path, RETURNS.format("texts['colour']"))
    with pytest.raises(UserError, match=r"f.py:f failed with KeyError"):
        label(lake, settings)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "no table of votes"),
        ("texts", "no table of votes"),
        ("tag_votes(texts, 'x', 1.5)", "weights outside"),
        ("tag_votes(texts, 'x', 0.0)", "weights outside"),
        ("tag_votes(texts, '')", "unknown task"),
        ("sentiment_votes(texts, 'great')", "unknown task, fact or feeling"),
        ("fact_votes(texts, 'shape', 'dog', 'round')", "unknown task, fact or feeling"),
        ("tag_votes(texts.set_column(0, 'image', [[9]]), 'x')", "images it was not given"),
        ("tag_votes(texts, [None])", "nulls"),
    ],
)
def test_what_is_no_vote_is_refused(tmp_path: Path, returned: str, says: str) -> None:
    settings = config(tmp_path, VOTING + RETURNS.format(returned))
    [function] = find_functions(settings.user_functions, ())
    with pytest.raises(UserError, match=f"f.py:f returned .*{says}"):
        function(evidence([("alt", "a dog")]))


def test_votes_of_every_task_are_taken(tmp_path: Path) -> None:
    code = VOTING + "import pyarrow as pa\n" + RETURNS.format(
        "pa.concat_tables([tag_votes(texts, ['pet'], [0.6]), sentiment_votes(texts, 'positive'),"
        " fact_votes(texts, 'colour', 'dog', 'red')])"
    )  # fmt: skip
    [function] = find_functions(config(tmp_path, code).user_functions, ())
    votes = function(evidence([("alt", "a dog")])).to_pylist()
    assert [(v["slot"], v["value"], v["source"], v["lang"]) for v in votes] == [
        ("pet", "yes", "f", "en"),
        ("sentiment", "positive", "f", "en"),
        ("colour|dog", "red", "f", "en"),
    ]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("f.py:other", "no function other in f.py"),
        ("missing.py:f", "missing.py cannot be read"),
        ("broken.py:f", "broken.py cannot be run .SyntaxError"),
        ("no.such.module:f", "cannot be imported"),
        ("by_brand", "names no function"),
        ("f.py:alt", "another labeling function is called 'alt'"),
    ],
)
def test_a_function_that_cannot_be_found_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text("def f(texts):\n    return texts\n\nalt = f\n", "utf-8")
    Path("broken.py").write_text("def f(:", "utf-8")
    with pytest.raises(UserError, match=says):
        find_functions([reference], ("alt",))


def test_an_installed_function_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shoplabels.py").write_text(VOTING + RETURNS.format("tag_votes(texts, 'x')"))
    monkeypatch.syspath_prepend(str(tmp_path))
    [function] = find_functions(["shoplabels:f"], ())
    assert function(evidence([("alt", "a dog")])).num_rows == 1
    del sys.modules["shoplabels"]


def test_a_function_sees_every_text_about_an_image() -> None:
    texts = [("alt", "a dog"), ("keyword", "pet"), ("keyword", "park"), ("comment", "lovely")]
    table = given(evidence(texts))
    assert table.schema.equals(GIVEN)
    rows = [(row["role"], row["text"]) for row in table.to_pylist()]
    assert sorted(rows) == sorted(texts)


def test_to_return_no_rows_is_to_abstain(tmp_path: Path) -> None:
    code = VOTING + RETURNS.format("tag_votes(texts.slice(0, 0), 'x')")
    [function] = find_functions(config(tmp_path, code).user_functions, ())
    assert function(evidence([("alt", "a dog")])).num_rows == 0
    assert function(evidence()).num_rows == 0
