"""The evaluation stage on Ray: from shards and a candidate to scores, examples and a report."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcore.errors import UserError
from mmcore.evaluate.stage import Config, run
from mmcore.lake import Dataset, Lake
from tests.evaluate.colours import Square, load_colours, write_candidate, write_shards

DAY = "2026-01-02"
CONFIG = Config(replicates=200)
pytestmark = pytest.mark.usefixtures("ray_session")


def _scores(evaluation: Dataset) -> dict:
    return json.loads(evaluation.read_file("scores.json"))


def _examples(evaluation: Dataset) -> pa.Table:
    return pq.read_table(pa.BufferReader(evaluation.read_file("examples.parquet")))


def _world(lake: Lake, mistaken: tuple[int, ...] = (), split: str = "test") -> None:
    write_candidate(lake, DAY, mistaken)
    write_shards(lake, DAY, [Square(n).sample(split) for n in range(30)], split)


def test_evaluation_holds_scores_examples_and_report(lake):
    _world(lake, mistaken=(1,))
    evaluation = run(lake, DAY, CONFIG, load=load_colours)
    assert evaluation.label == f"evaluation@{DAY}"
    scores = _scores(evaluation)
    assert list(scores["tasks"]) == ["retrieval", "caption", "vqa", "tags", "sentiment"]
    assert scores["tasks"]["vqa"]["labels"] == "weak"
    assert scores["scores"]["vqa"]["accuracy"] == pytest.approx(59 / 60, abs=1e-6)
    assert scores["tasks"]["vqa"]["blind"]["difference"]["accuracy"]["low"] > 0
    assert scores["champion"] is None
    examples = _examples(evaluation)
    vqa = examples.filter(pa.compute.equal(examples["task"], "vqa"))
    assert vqa.num_rows == 60
    assert sum(vqa["model"].to_pylist()) == 59
    assert evaluation.read_file("report.html").startswith(b"<!doctype html>")


def test_second_run_is_reused_and_another_lake_gives_the_same_bytes(lake, tmp_path):
    other = Lake(str(tmp_path / "other"))
    for place in (lake, other):
        _world(place)
    first = run(lake, DAY, CONFIG, load=load_colours)
    assert run(lake, DAY, CONFIG, load=load_colours).manifest == first.manifest
    assert run(other, DAY, CONFIG, load=load_colours).digest == first.digest
    # How the work is cut changes nothing either.
    more = run(other, DAY, CONFIG.model_copy(update={"tasks": 3}), load=load_colours)
    assert more.digest == first.digest


def test_champion_is_compared_on_the_same_images(lake, tmp_path):
    _world(lake, mistaken=(0, 1, 2, 3))
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "mistaken.json").write_text("[]")
    evaluation = run(lake, DAY, CONFIG, champion=tmp_path / "champion", load=load_colours)
    rival = _scores(evaluation)["tasks"]["vqa"]["champion"]
    assert rival["metrics"]["accuracy"] == 1.0
    assert rival["difference"]["accuracy"]["value"] == pytest.approx(-4 / 60, abs=1e-6)
    assert rival["difference"]["accuracy"]["high"] <= 0
    examples = _examples(evaluation)
    vqa = examples.filter(pa.compute.equal(examples["task"], "vqa"))
    assert sum(vqa["champion"].to_pylist()) - sum(vqa["model"].to_pylist()) == 4


def test_shards_of_later_days_are_not_looked_at(lake):
    _world(lake)
    write_shards(lake, "2026-01-03", [Square(n).sample("test") for n in range(40, 60)])
    write_shards(lake, "2026-01-01", [Square(n).sample("test") for n in range(30, 40)])
    assert _scores(run(lake, DAY, CONFIG, load=load_colours))["images"] == 40


def test_val_split_is_used_where_test_is_empty(lake):
    _world(lake, split="val")
    assert _scores(run(lake, DAY, CONFIG, load=load_colours))["split"] == "val"


def test_gold_replaces_weak_labels_and_unknown_images_are_counted(lake, tmp_path):
    _world(lake)
    squares = [Square(n) for n in range(30)]
    _write_origins(lake, squares)
    records = [
        {"image": f"http://site.example/{s.number}.png", "tags": ["purple"]} for s in squares[:25]
    ]
    records.append({"image": "http://site.example/never-seen.png", "tags": ["red"]})
    gold = tmp_path / "gold.jsonl"
    gold.write_text("\n".join(json.dumps(record) for record in records) + "\nnot json\n")
    scores = _scores(run(lake, DAY, CONFIG, gold=gold, load=load_colours))
    assert (scores["tasks"]["tags"]["labels"], scores["tasks"]["tags"]["images"]) == ("gold", 25)
    assert scores["tasks"]["vqa"]["labels"] == "weak"
    assert scores["scores"]["tags"]["micro_f1"] == 0.0
    assert scores["inputs"]["gold"] == {"read": 27, "bad": {"not_json": 1, "unknown_image": 1}}


def test_images_with_gold_are_evaluated_first(lake, tmp_path):
    _world(lake)
    squares = [Square(n) for n in range(30)]
    _write_origins(lake, squares)
    gold = tmp_path / "gold.jsonl"
    gold.write_text(
        "\n".join(json.dumps({"image": s.sha256, "tags": ["red"]}) for s in squares[:5])
    )
    config = Config(replicates=200, max_images=5, min_checked=5)
    scores = _scores(run(lake, DAY, config, gold=gold, load=load_colours))
    assert scores["tasks"]["tags"]["labels"] == "gold"
    assert scores["tasks"]["tags"]["images"] == 5


def test_changed_gold_is_evaluated_anew(lake, tmp_path):
    _world(lake)
    _write_origins(lake, [Square(n) for n in range(30)])
    gold = tmp_path / "gold.jsonl"
    gold.write_text("")
    first = run(lake, DAY, CONFIG, gold=gold, load=load_colours)
    gold.write_text("{}\n")
    second = run(lake, DAY, CONFIG, gold=gold, load=load_colours)
    assert _scores(second)["inputs"]["gold"]["bad"] == {"no_image": 1}
    assert second.digest != first.digest


def test_nothing_to_evaluate_on_is_the_users_to_mend(lake):
    write_candidate(lake, DAY)
    write_shards(lake, DAY, [Square(1).sample("train")], "train")
    with pytest.raises(UserError, match="nothing to evaluate on"):
        run(lake, DAY, CONFIG, load=load_colours)


def test_missing_gold_file_is_named(lake, tmp_path: Path):
    _world(lake)
    with pytest.raises(UserError, match="gold file"):
        run(lake, DAY, CONFIG, gold=tmp_path / "none.jsonl", load=load_colours)


def _write_origins(lake: Lake, squares: list[Square]) -> None:
    """What crawl and dedup would have written about these images."""
    shas = [square.sha256 for square in squares]
    urls = [f"http://site.example/{square.number}.png" for square in squares]
    for name, table in (
        ("crawled", pa.table({"image_url": urls, "sha256": shas})),
        ("deduplicated", pa.table({"sha256": shas, "cluster": shas})),
    ):
        writer = lake.writer(name, DAY)
        writer.commit([writer.write_table(0, table)], [], {})
