"""The one file a user writes: every mistake in it is named with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mmcore.errors import UserError
from mmcore.recipe import Recipe, commented_recipe, load_recipe

MINIMAL = "sources: [{kind: site, start: ['http://127.0.0.1:1/'], allow_private: true}]\n"


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_sources_are_enough(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    assert recipe.seed == 0
    assert recipe.train.preset == "nano"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "trian: {preset: nano}", "trian: unknown key. Did you mean train?"),
        (MINIMAL + "train: {presett: nano}", "train.presett: unknown key. Did you mean preset?"),
        (MINIMAL + "train: {budget_minutes: -1}", "train.budget_minutes: .*greater than"),
        (MINIMAL + "train: {budget_minutes: soon}", "train.budget_minutes: .*'soon'"),
        (MINIMAL + "seed: x", "seed: .*integer.*'x'"),
        ("seed: 1", "sources: missing"),
        ("sources: []", "sources: .*at least 1"),
        ("sources: [{kind: ftp}]", "sources.0: .*'site', 'urls', 'warc', 'folder', 'webdataset'"),
        ("sources: [{kind: site, start: ['example.org']}]", "sources.0.start: .*whole URL"),
        ("sources: [{kind: folder, path: x, depth: 1}]", "sources.0.depth: unknown key"),
        ("- a list", "must be a mapping"),
        ("a: [", "not valid YAML at line"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_path_and_what_is_allowed(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        load(tmp_path, text)


def test_a_missing_recipe_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mmcore init"):
        load_recipe(tmp_path / "none.yaml")


def test_an_unknown_preset_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.preset.*nano"):
        load(tmp_path, MINIMAL + "train: {preset: giant}")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    text = "sources: [{kind: folder, path: photos}]\ngold: gold.jsonl\ntokenize: {file: t.json}"
    text += "\nclean: {blocklist: no.txt}"
    text += "\nweak: {user_functions: ['mine.py:by_brand', 'shop.labels:by_price']}"
    recipe = load(tmp_path, text)
    assert recipe.sources[0].path == str(tmp_path / "photos")
    assert recipe.tokenize.file == str(tmp_path / "t.json")
    assert recipe.gold == str(tmp_path / "gold.jsonl")
    assert recipe.clean.blocklist == str(tmp_path / "no.txt")
    mine = f"{tmp_path / 'mine.py'}:by_brand"
    assert recipe.weak.user_functions == [mine, "shop.labels:by_price"]


def test_the_commented_recipe_is_valid_and_so_is_every_default_in_it(tmp_path: Path) -> None:
    text = commented_recipe("recipe.yaml")
    as_written = load(tmp_path, text)
    assert as_written.train.budget_minutes == 10
    uncommented = "\n".join(
        line.removeprefix("# ") if _is_setting(line) else line for line in text.splitlines()
    )
    assert load(tmp_path, uncommented).clean == as_written.clean
    assert set(yaml.safe_load(uncommented)) >= {"crawl", "clean", "dedup", "train", "gate"}


def _is_setting(line: str) -> bool:
    key = line.removeprefix("# ").partition(":")[0]
    settings = set(Recipe.model_fields) - {"gold", "sources"}
    return line.startswith("# ") and (key in settings or line.startswith("#   "))


def test_the_documentation_shows_every_key() -> None:
    documented = (Path(__file__).parents[1] / "docs/recipe.md").read_text(encoding="utf-8")
    listing = documented.partition("```yaml\n")[2].rpartition("```")[0]
    assert listing.strip() == commented_recipe("recipe.yaml").strip(), (
        "run: mmcore init, and paste what it wrote into docs/recipe.md"
    )
