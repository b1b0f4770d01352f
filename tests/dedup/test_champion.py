"""`dedup.semantic` with a real champion: found in the registry, loaded by the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcore import registry
from mmcore.clean import stage as clean
from mmcore.dedup.stage import Config
from mmcore.graph import Job, run_stage
from mmcore.lake import Dataset, Lake
from mmcore.models import load_model
from mmcore.models.artifact import save_artifact
from mmcore.recipe import Recipe
from mmcore.registry import Decision
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw
from tests.models import tiny

FIRST, DAY, NEXT = "2026-11-22", "2026-11-23", "2026-11-24"
CLEAN = clean.Config()

pytestmark = pytest.mark.usefixtures("ray_session")


def files(lake: Lake, name: str, day: str, contents: dict[str, bytes]) -> Dataset:
    writer = lake.writer(name, day, format="files")
    return writer.commit([writer.write_file(n, data) for n, data in contents.items()], [], {})


def crown(lake: Lake, recipe: Recipe, day: str, folder: Path) -> None:
    """A tiny model with random weights becomes champion of a day."""
    save_artifact(folder, tiny.artifact())
    weights = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    candidate = files(lake, "candidate", day, weights)
    scores = b'{"tasks": {}, "scores": {}, "sources": {"licenses": {}}}'
    evaluation = files(lake, "evaluation", day, {"scores.json": scores})
    version = registry.register(recipe.registry, lake, recipe.name, candidate, evaluation)
    registry.promote(recipe.registry, lake, recipe.name, version.version, Decision(True, ()))


def pictures(lake: Lake, day: str) -> dict[str, bytes]:
    """Three pictures that share no pixels, decided by clean; sha256 -> the stored image."""
    shown = [encode(picture(seed, (200 + 40 * seed, 200))) for seed in range(3)]
    write_raw(lake, day, shown)
    write_crawled(lake, day, [])
    clean.run(lake, day, CLEAN)
    rows = lake.dataset("normalized", day).read(["sha256", "image"]).to_pylist()
    stored = {row["sha256"]: row["image"] for row in rows}
    return {sha(data): stored[sha(data)] for data in shown}


def recipe(**dedup: Any) -> Recipe:
    source = {"kind": "site", "start": ["http://site.test/"]}
    return Recipe.model_validate({"sources": [source], "dedup": Config(**dedup)})


def dedup(lake: Lake, day: str, wanted: Recipe) -> dict[str, str]:
    dataset = run_stage("dedup", Job(wanted, lake, day))
    rows = dataset.read(["sha256", "reason"]).to_pylist()
    return {row["sha256"]: row["reason"] for row in rows}


def test_the_champion_of_an_earlier_day_says_which_pictures_mean_the_same(
    lake: Lake, tmp_path: Path
) -> None:
    crown(lake, recipe(), FIRST, tmp_path / "model")
    shown = pictures(lake, DAY)
    keys = list(shown)
    vectors = load_model(tmp_path / "model").encode_images(list(shown.values()))
    alike = vectors @ vectors.T
    first, second = sorted([(0, 1), (0, 2), (1, 2)], key=lambda pair: -alike[pair])[:2]
    border = float(alike[first] + alike[second]) / 2  # one pair is nearer than it, the others not
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1) and alike[first] > border
    # Of the nearest pair the larger picture stays: it comes later in this list.
    found = dedup(lake, DAY, recipe(semantic=border))
    assert found == {
        key: "semantic_duplicate" if number == first[0] else "ok" for number, key in enumerate(keys)
    }
    assert set(dedup(lake, DAY, recipe()).values()) == {"ok"}


def test_without_a_champion_of_an_earlier_day_nothing_is_compared_and_a_line_says_so(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = recipe(semantic=0.01)
    pictures(lake, DAY)
    assert set(dedup(lake, DAY, wanted).values()) == {"ok"}
    assert "no champion of a day before 2026-11-23" in capsys.readouterr().err
    # Its own day's model must not decide what it was trained on.
    crown(lake, wanted, DAY, tmp_path / "model")
    assert set(dedup(lake, DAY, wanted).values()) == {"ok"}
    assert "no champion" in capsys.readouterr().err
    pictures(lake, NEXT)
    dedup(lake, NEXT, wanted)
    assert "no champion" not in capsys.readouterr().err
