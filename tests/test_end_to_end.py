"""The real graph through Dagster on a small sample site: two simulated days, then a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import dagster as dg
import pyarrow as pa
import pytest

from mmcore import registry
from mmcore.demo import free_port
from mmcore.lake import Dataset, Lake
from mmcore.recipe import Recipe, load_recipe
from mmcore.samplesite import SiteConfig, truth, write_gold
from pipelines.materialize import failures, materialize

DAY_ONE, DAY_TWO, DAY_THREE = "2026-03-01", "2026-03-02", "2026-03-03"
SITE = SiteConfig(seed=11, images=120)
STAGES_WITH_FIXED_DIGESTS = (
    "crawled",
    "cleaned",
    "deduplicated",
    "tokenized",
    "pairs",
    "shards",
)

RECIPE = dedent("""\
    name: shapes
    seed: 3
    samplesite: {{images: {images}, seed: {seed}, port: {port}, first_day: {first_day}}}
    sources:
      - {{kind: site, start: ["http://127.0.0.1:{port}/"], allow_private: true}}
    gold: gold.jsonl
    crawl:
      requests_per_second: null
      connections_per_host: 16
      timeout_seconds: 4
      idle_seconds: 3
      attempts: 3
      backoff_seconds: 0.1
      rows_per_part: 64
    train: {{preset: nano, budget_minutes: {minutes}, workers: 2, batch_size: 32}}
    # A few seconds of training on a hundred images prove the wiring, not the model.
    gate: {{beat_blind: "off", min_images: 1, champion_tolerance: 1, minima: {minima}}}
    """)


@dataclass(frozen=True)
class World:
    """A recipe, its lake and a Dagster instance; runs days."""

    folder: Path
    port: int
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.folder / "recipe.yaml")

    def write_recipe(self, minima: str = "{}", minutes: float = 0.05) -> None:
        (self.folder / "recipe.yaml").write_text(
            RECIPE.format(
                images=SITE.images,
                seed=SITE.seed,
                port=self.port,
                first_day=DAY_ONE,
                minutes=minutes,
                minima=minima,
            )
        )

    def run(self, day: str) -> dg.ExecuteInProcessResult:
        return materialize(day, self.instance)

    def champion(self) -> int:
        """Number of the version that is champion."""
        found = registry.champion(self.recipe.registry, self.lake, self.recipe.name)
        assert found is not None
        return found[0].version


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The site's world; day one is run once for all tests of this file."""
    folder = tmp_path_factory.mktemp("world")
    port = free_port(0)
    write_gold(SITE, f"http://127.0.0.1:{port}", folder / "gold.jsonl")
    with pytest.MonkeyPatch.context() as environment, dg.DagsterInstance.ephemeral() as instance:
        environment.setenv("MMCORE_RECIPE", str(folder / "recipe.yaml"))
        environment.setenv("MMCORE_ROOT", str(folder / "lake"))
        made = World(folder, port, instance)
        made.write_recipe()
        result = made.run(DAY_ONE)
        assert result.success, failures(result)
        yield made


def digests(lake: Lake, day: str) -> dict[str, str]:
    return {name: lake.dataset(name, day).digest for name in STAGES_WITH_FIXED_DIGESTS}


def urls(dataset: Dataset) -> dict[str, str]:
    table = dataset.read(["image_url", "sha256"])
    return dict(zip(table["image_url"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def fates(lake: Lake, day: str) -> dict[str, str]:
    """What happened to every image URL: `kept`, or `stage:reason`."""
    by_sha = {}
    for stage, name in (("clean", "cleaned"), ("dedup", "deduplicated")):
        for row in lake.dataset(name, day).read(["sha256", "kept", "reason"]).to_pylist():
            by_sha[row["sha256"]] = "kept" if row["kept"] else f"{stage}:{row['reason']}"
    outcomes = lake.dataset("outcomes", day).read(["url", "kind", "reason", "sha256"]).to_pylist()
    found = {
        row["url"]: by_sha.get(row["sha256"], f"crawl:{row['reason']}")
        for row in outcomes
        if row["kind"] == "image"
    }
    return found | {url: by_sha[sha] for url, sha in urls(lake.dataset("crawled", day)).items()}


def test_every_image_ends_as_the_sites_truth_says(world: World) -> None:
    table: pa.Table = truth(SITE, f"http://127.0.0.1:{world.port}")
    seen = fates(world.lake, DAY_ONE)
    wrong = {
        row["image_url"]: (row["fate"], seen.get(row["image_url"], "absent"))
        for row in table.to_pylist()
        if seen.get(row["image_url"], "absent") not in (row["fate"], *row["also"])
    }
    assert wrong == {}


def test_near_duplicates_share_a_cluster_and_no_split_is_crossed(world: World) -> None:
    clusters = world.lake.dataset("deduplicated", DAY_ONE).read(["sha256", "cluster"])
    cluster_of = dict(
        zip(clusters["sha256"].to_pylist(), clusters["cluster"].to_pylist(), strict=True)
    )
    images = urls(world.lake.dataset("crawled", DAY_ONE))
    scenes: dict[str, set[str]] = {}
    for row in truth(SITE, f"http://127.0.0.1:{world.port}").to_pylist():
        sha = images.get(row["image_url"])
        if sha in cluster_of:
            scenes.setdefault(row["cluster"], set()).add(cluster_of[sha])
    assert {len(found) for found in scenes.values()} == {1}
    assert len({*map(min, scenes.values())}) == len(scenes) == SITE.images


def test_the_first_model_is_champion_with_scores_for_five_tasks(world: World) -> None:
    assert world.champion() == 1
    scores = json.loads(world.lake.dataset("evaluation", DAY_ONE).read_file("scores.json"))
    assert set(scores["tasks"]) == {"retrieval", "caption", "vqa", "tags", "sentiment"}
    assert {task["labels"] for task in scores["tasks"].values()} == {"gold"}
    assert b"<html" in world.lake.dataset("evaluation", DAY_ONE).read_file("report.html")[:400]


def test_dagster_shows_the_version_and_the_funnel_of_every_asset(world: World) -> None:
    event = world.instance.get_latest_materialization_event(dg.AssetKey("crawled"))
    assert event is not None and event.asset_materialization is not None
    materialization = event.asset_materialization
    assert materialization.partition == DAY_ONE
    digest = world.lake.dataset("crawled", DAY_ONE).digest
    assert materialization.metadata["digest"].value == digest
    assert "occurrences" in str(materialization.metadata["funnel"].value)
    assert materialization.metadata["cpu_seconds"].value > 0


def test_the_second_day_builds_on_the_first_and_the_gate_may_refuse(world: World) -> None:
    before = digests(world.lake, DAY_ONE)
    tokenizer = world.lake.dataset("tokenizer").digest
    first = world.champion()

    result = world.run(DAY_TWO)
    assert result.success, failures(result)

    dedup = world.lake.dataset("deduplicated", DAY_TWO).read(["reason", "kept", "cluster"])
    reasons = dedup["reason"].to_pylist()
    states = world.lake.dataset("crawled", DAY_TWO).read(["state"])["state"].to_pylist()
    assert states.count("unchanged") > 100  # most of the site was known from day one …
    assert len(reasons) < 100 and "seen_before" in reasons  # … and was not even decoded again
    assert sum(dedup["kept"].to_pylist()) == SITE.new_images
    assert digests(world.lake, DAY_ONE) == before
    assert world.lake.dataset("tokenizer").digest == tokenizer

    training = json.loads(world.lake.dataset("candidate", DAY_TWO).read_file("training.json"))
    assert training["start"].startswith("starting from the champion")
    second = world.champion()
    assert second == first + 1
    scores = json.loads(world.lake.dataset("evaluation", DAY_TWO).read_file("scores.json"))
    assert scores["tasks"]["vqa"]["champion"] is not None

    # The same day under a gate no model passes: the alias stays where it is.
    world.write_recipe(minima="{vqa.accuracy: 1.01}", minutes=0.04)
    try:
        refused = world.run(DAY_TWO)
    finally:
        world.write_recipe()
    assert not refused.success
    assert any("good_enough_to_promote refused" in line for line in failures(refused))
    assert world.champion() == second


def test_a_second_run_of_a_day_gives_the_same_digests(world: World) -> None:
    before = digests(world.lake, DAY_ONE)
    champion = world.champion()
    result = world.run(DAY_ONE)
    assert result.success, failures(result)
    assert digests(world.lake, DAY_ONE) == before
    assert world.champion() == champion
