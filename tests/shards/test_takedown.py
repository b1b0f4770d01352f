"""Takedown: only the tars concerned are written again, as if the samples had never been there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmcore.lake import Dataset, Lake
from mmcore.shards.reader import SampleStore
from mmcore.shards.splits import SPLITS
from mmcore.shards.stage import Config, run
from mmcore.shards.stage_takedown import rewrite_shards
from tests.shards.helpers import DAY, World, commit, write_world

pytestmark = pytest.mark.usefixtures("ray_session")
CONFIG = Config(samples_per_shard=10, shards_per_task=2)
WORLD = World(images=60)


def listed(lake: Lake, images: list[int]) -> list[str]:
    gone = [WORLD.sha256(i) for i in images]
    commit(lake, "takedown", None, [pa.table({"sha256": pa.array(gone, pa.string())})])
    return gone


def keys(shards: Dataset) -> set[str]:
    return {key for split in SPLITS for key in SampleStore.open([shards], split).keys}


@pytest.fixture
def shards(lake: Lake) -> Dataset:
    write_world(lake, WORLD)
    return run(lake, DAY, CONFIG)


def test_only_the_tars_concerned_are_written_again(lake: Lake, shards: Dataset) -> None:
    inodes = {Path(p).name: Path(p).stat().st_ino for p in shards.paths()}
    gone = listed(lake, [3, 4])
    done = rewrite_shards(lake, DAY)
    assert done is not None and set(done.removed) == set(gone) and done.before == shards.digest
    after = lake.dataset("shards", DAY)
    assert after.digest == done.dataset.digest != shards.digest
    after.verify()
    changed = set(done.files) | {file.replace(".tar", ".index.json") for file in done.files}
    for part, path in zip(after.parts, after.paths(), strict=True):
        assert (Path(path).stat().st_ino == inodes[part.file]) == (part.file not in changed)
    store = SampleStore.open([after], "train", verify=True)
    assert len(list(store)) == after.metadata["splits"]["train"]["samples"]
    assert after.rows == shards.rows - 2
    assert not keys(after) & {key[:20] for key in gone}
    assert after.metadata["taken_down"][gone[0]]["was_in"] == shards.digest


def test_the_bytes_that_were_taken_down_are_gone_from_the_disk(lake: Lake, shards: Dataset) -> None:
    listed(lake, [3])
    rewrite_shards(lake, DAY)
    tars = list(Path(lake.root).rglob("*.tar"))
    assert tars and not any(WORLD.sha256(3).encode() in tar.read_bytes() for tar in tars)
    assert not Path(shards.paths()[0]).exists()


def test_what_is_left_is_what_a_rebuild_would_write(
    lake: Lake, shards: Dataset, tmp_path: Path
) -> None:
    other = Lake(str(tmp_path / "other"))
    write_world(other, WORLD)
    for place in (lake, other):
        listed(place, [3, 4, 31])
    done = rewrite_shards(lake, DAY)
    assert done is not None
    rebuilt = run(other, DAY, CONFIG)
    assert done.dataset.parts == rebuilt.parts and done.dataset.digest == rebuilt.digest
    for name in ("funnel", "splits"):
        assert done.dataset.metadata[name] == rebuilt.metadata[name]


def test_the_next_run_of_the_stage_has_nothing_to_do(lake: Lake, shards: Dataset) -> None:
    listed(lake, [3])
    done = rewrite_shards(lake, DAY)
    assert done is not None
    assert run(lake, DAY, CONFIG).manifest == done.dataset.manifest
    assert rewrite_shards(lake, DAY) is None


def test_a_tar_that_loses_all_its_samples_goes(lake: Lake) -> None:
    world = World(images=12, split={i: "val" if i == 5 else "train" for i in range(12)})
    write_world(lake, world)
    run(lake, DAY, CONFIG)
    listed(lake, [5])
    done = rewrite_shards(lake, DAY)
    assert done is not None and done.files == ["val-000000.tar"]
    assert {p.extra["split"] for p in done.dataset.parts} == {"train"}
    assert done.dataset.metadata["splits"]["val"]["shards"] == 0
    assert done.dataset.metadata["funnel"]["val"] == 0


def test_nothing_listed_or_nothing_written_is_no_work(lake: Lake, shards: Dataset) -> None:
    assert rewrite_shards(lake, DAY) is None
    assert rewrite_shards(lake, "2026-11-24") is None
    listed(lake, [999])
    assert rewrite_shards(lake, DAY) is None
    assert lake.dataset("shards", DAY).manifest == shards.manifest


def test_a_takedown_while_the_stage_runs_is_not_undone(
    lake: Lake, shards: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []

    def in_between(write: Any, tasks: list[Any], **_: Any) -> list[Any]:
        done = [write(task) for task in tasks]
        gone.extend(listed(lake, [3]))  # its tars are written, not committed
        assert rewrite_shards(lake, DAY) is not None
        return done

    monkeypatch.setattr("mmcore.cluster.map_parts", in_between)
    after = run(lake, DAY, Config(samples_per_shard=20))
    assert after.manifest == lake.dataset("shards", DAY).manifest
    assert after.rows == WORLD.images - 1 and gone[0][:20] not in keys(after)
    assert set(after.metadata["taken_down"]) == set(gone)
    tars = list(Path(lake.root).rglob("*.tar"))
    assert tars and not any(gone[0].encode() in tar.read_bytes() for tar in tars)


def test_shards_that_are_made_again_remember_what_was_taken_out(
    lake: Lake, shards: Dataset
) -> None:
    splits = {k: split for split in SPLITS for k in SampleStore.open([shards], split).keys}
    first = listed(lake, [3])
    done = rewrite_shards(lake, DAY)
    assert done is not None
    second = listed(lake, [3, 4])[1:]  # and the command was killed before it rewrote anything
    after = run(lake, DAY, Config(samples_per_shard=20))
    remembered = after.metadata["taken_down"]
    assert set(remembered) == {*first, *second}
    assert remembered[first[0]]["was_in"] == shards.digest
    assert remembered[second[0]]["was_in"] == done.dataset.digest
    for sha256, was in remembered.items():
        assert was["split"] == splits[sha256[:20]]


def test_what_the_labels_have_no_more_is_remembered_and_makes_no_work(
    lake: Lake, shards: Dataset
) -> None:
    gone = WORLD.sha256(59)
    listed(lake, [59])
    write_world(lake, World(images=59))  # dedup has left it out
    after = run(lake, DAY, CONFIG)
    assert after.manifest.config["removed"] == [gone]
    assert set(after.metadata["taken_down"]) == {gone}
    assert "taken_down" not in after.metadata["funnel"]
    assert run(lake, DAY, CONFIG).manifest == after.manifest


def test_takedown_works_on_s3(s3_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray's workers were started before the server was and do not know it.
    monkeypatch.setattr("mmcore.cluster.map_parts", lambda fn, items, **_: [fn(i) for i in items])
    write_world(s3_lake, WORLD)
    before = run(s3_lake, DAY, CONFIG)
    listed(s3_lake, [3])
    done = rewrite_shards(s3_lake, DAY)
    assert done is not None and done.dataset.rows == before.rows - 1
    done.dataset.verify()
    assert sum(p in before.parts for p in done.dataset.parts) == len(before.parts) - 2
