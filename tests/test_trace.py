"""From the page to the model, and back: `mmcore trace` and `mmcore takedown`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmcore.cli import cli, run_command
from mmcore.dedup.stage_takedown import take_down
from mmcore.descent import models_with
from mmcore.lake import Dataset, Lake
from mmcore.shards.stage import Config
from mmcore.shards.stage import run as run_shards
from mmcore.shards.stage_takedown import rewrite_shards
from mmcore.trace import find_images, trace
from mmcore.withdrawal import withdraw
from tests.shards.helpers import DAY, World, commit, write_world

pytestmark = pytest.mark.usefixtures("ray_session")
WORLD = World(images=24, split={3: "train", 4: "test"}, cluster={5: 3})
LATER = "2026-11-25"


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """A day's shards with what came before them."""
    write_world(lake, WORLD)
    keys = [WORLD.sha256(i) for i in range(WORLD.images)]
    names = [WORLD.sha256(WORLD.cluster.get(i, i)) for i in range(WORLD.images)]
    n = len(keys)
    facts = {"sha256": keys, "kept": [True] * n, "reason": ["ok"] * n, "pixels": keys}
    cleaned = pa.table(facts | {"phash": pa.array(range(n), pa.uint64()), "width": [8] * n})
    commit(lake, "cleaned", DAY, [cleaned])
    dedup = {"sha256": keys, "cluster": names, "kept": [True] * n, "reason": ["ok"] * n}
    commit(lake, "deduplicated", DAY, [pa.table(dedup)])
    run_shards(lake, DAY, Config(samples_per_shard=8))
    return lake


def candidate(lake: Lake, day: str, shards: list[Dataset], start: str | None = None) -> Dataset:
    """A model made from shards, as train commits it; `start`: SHA-256 of the weights before it."""
    writer = lake.writer("candidate", day, format="files")
    part = writer.write_file("model.safetensors", f"weights of {day}".encode())
    return writer.commit([part], shards, {"init_from": start})


def test_a_trace_leads_from_the_page_to_the_model(filled: Lake) -> None:
    model = candidate(filled, DAY, [filled.dataset("shards", DAY)])
    (found,) = trace(filled, find_images(filled, WORLD.sha256(3)))
    assert [row["page_url"] for row in found.seen] == ["http://site/first", "http://site/second"]
    assert found.seen[0]["image_url"] == "http://site/3.png"
    assert found.seen[0]["consent"] == {"robots": "allowed"}
    assert found.cleaned[0]["reason"] == "ok" and found.cleaned[0]["width"] == 8
    assert found.deduplicated[0]["cluster"] == WORLD.sha256(3)
    assert found.members == [WORLD.sha256(5)]
    assert found.labels[0]["tags"] == [{"tag": "circle", "confidence": 0.5}]
    (place,) = found.shards
    assert place["split"] == "train"
    data = Path(place["path"]).read_bytes()[place["offset"] :][: place["size"]]
    assert WORLD.jpeg(3) in data
    assert [(m.digest, m.images) for m in found.models] == [
        (model.digest, {WORLD.sha256(3): "train"})
    ]


@pytest.mark.parametrize("digits", [8, 20, 64])
def test_an_image_is_found_by_the_first_digits_of_its_key(filled: Lake, digits: int) -> None:
    assert find_images(filled, WORLD.sha256(3)[:digits]) == [WORLD.sha256(3)]


def test_an_image_is_found_by_its_url_and_by_its_page(filled: Lake) -> None:
    assert find_images(filled, "http://site/3.png") == [WORLD.sha256(3)]
    assert len(find_images(filled, "http://site/first")) == WORLD.images


def run(*arguments: str) -> int:
    return run_command(lambda **options: cli.main(args=list(arguments), **options))


def test_the_command_prints_a_trace(filled: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trace", "http://site/3.png", "--root", filled.root) == 0
    printed = capsys.readouterr().out
    assert WORLD.sha256(3) in printed and "http://site/first" in printed and ".tar" in printed
    assert run("trace", "http://site/3.png", "--root", filled.root, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["seen"][0]["consent"] == {"robots": "allowed"}


@pytest.mark.parametrize(
    ("target", "why"), [("0" * 64, "No image"), ("abc", "neither a key nor"), ("x y", "neither")]
)
def test_what_is_not_there_or_not_understood_is_said(
    filled: Lake, capsys: pytest.CaptureFixture[str], target: str, why: str
) -> None:
    assert run("trace", target, "--root", filled.root) == 2
    assert why in capsys.readouterr().err


def test_a_takedown_leaves_the_shards_at_once_and_names_the_models(filled: Lake) -> None:
    before = filled.dataset("shards", DAY)
    model = candidate(filled, DAY, [before])
    weights = model.parts[0].sha256
    heir = candidate(filled, LATER, [], start=weights)
    candidate(filled, "2026-11-26", [])  # has seen nothing of it
    done = withdraw(filled, "http://site/3.png", "asked", DAY)
    assert set(done.listed.images) == {WORLD.sha256(3), WORLD.sha256(5)}
    (rewritten,) = done.rewritten
    assert set(rewritten.removed) == set(done.listed.images)
    assert [(m.digest, m.started_from) for m in done.models] == [
        (model.digest, None),
        (heir.digest, model.digest),
    ]
    (found,) = trace(filled, [WORLD.sha256(3)])
    assert found.shards == []
    assert found.taken_down[0]["reason"] == "asked"
    assert {m.digest for m in found.models} == {model.digest, heir.digest}
    later = candidate(filled, "2026-11-27", [filled.dataset("shards", DAY)])
    again = withdraw(filled, "http://site/3.png", "asked", DAY)
    assert again.rewritten == []
    assert {m.digest for m in again.models} == {model.digest, heir.digest}
    assert later.digest not in {m.digest for m in trace(filled, [WORLD.sha256(3)])[0].models}


def test_models_are_named_also_after_the_shards_were_made_again(filled: Lake) -> None:
    model = candidate(filled, DAY, [filled.dataset("shards", DAY)])
    withdraw(filled, "http://site/3.png", "asked", DAY)
    candidate(filled, LATER, [run_shards(filled, DAY, Config(samples_per_shard=4))])
    again = withdraw(filled, "http://site/3.png", "asked", DAY)
    assert [m.digest for m in again.models] == [model.digest]
    (found,) = trace(filled, [WORLD.sha256(3)])
    assert [m.digest for m in found.models] == [model.digest]


def tars_with(lake: Lake, image: int) -> list[Path]:
    tars = list(Path(lake.root).rglob("*.tar"))
    assert tars
    return [tar for tar in tars if WORLD.sha256(image).encode() in tar.read_bytes()]


def test_a_takedown_reaches_versions_that_others_have_superseded(filled: Lake) -> None:
    run_shards(filled, DAY, Config(samples_per_shard=4))
    at_work = filled.writer("shards", DAY, format="tar")
    at_work.write_file("train-000000.tar", b"not committed yet")
    assert len(tars_with(filled, 4)) == 2
    withdraw(filled, WORLD.sha256(4), "asked", DAY)
    assert tars_with(filled, 4) == []
    assert filled.storage.exists(f"{at_work.folder}/train-000000.tar")
    filled.dataset("shards", DAY).verify()


def test_a_takedown_that_was_killed_before_it_deleted_is_finished_by_a_repeat(
    filled: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mmcore.lake.storage.LocalStorage.delete", killed)
        with pytest.raises(KeyboardInterrupt):
            rewrite_after_listing(filled)
    assert tars_with(filled, 3)
    withdraw(filled, WORLD.sha256(3), "asked", DAY)
    assert tars_with(filled, 3) == []
    filled.dataset("shards", DAY).verify()


def rewrite_after_listing(lake: Lake) -> None:
    take_down(lake, WORLD.sha256(3), "asked", DAY)
    rewrite_shards(lake, DAY)


def test_the_command_says_what_it_did(filled: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    model = candidate(filled, DAY, [filled.dataset("shards", DAY)])
    assert run("takedown", WORLD.sha256(4), "--root", filled.root) == 0
    printed = capsys.readouterr().out
    assert "1 samples removed from test-000000.tar" in printed
    assert f"candidate@{DAY} {model.digest[:12]} has seen it (test)" in printed


def test_a_model_of_other_days_has_not_seen_it(filled: Lake) -> None:
    candidate(filled, DAY, [filled.dataset("shards", DAY)])
    held: dict[str, dict[str, Any]] = {LATER: {WORLD.sha256(3): "train"}}
    assert models_with(filled, held) == []
