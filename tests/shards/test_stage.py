"""The stage: every image of the day in exactly one shard, the same bytes each time."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake
from mmcore.shards.reader import SampleStore, read_samples
from mmcore.shards.splits import SPLITS
from mmcore.shards.stage import Config, run
from tests.shards.helpers import DAY, PAIRS, World, commit, write_world

pytestmark = pytest.mark.usefixtures("ray_session")
CONFIG = Config(samples_per_shard=10, shards_per_task=2)


@pytest.fixture
def world() -> World:
    return World(images=60, split={0: "test", 1: "train", 2: "val", 4: "train"}, cluster={4: 0})


@pytest.fixture
def shards(lake: Lake, world: World) -> Dataset:
    write_world(lake, world)
    return run(lake, DAY, CONFIG)


def test_every_image_is_in_exactly_one_shard_with_its_bytes_and_labels(
    shards: Dataset, world: World
) -> None:
    samples = {s.labels["sha256"]: s for split in SPLITS for s in read_samples([shards], split)}
    assert len(samples) == world.images == shards.rows
    for i in range(world.images):
        sample = samples[world.sha256(i)]
        assert sample.jpg == world.jpeg(i)
        assert sample.key == world.sha256(i)[:20]
        assert sample.text == ("" if i % 7 == 3 else f"a green circle {i}")
        assert sample.labels["caption_ids"] == ([] if i % 7 == 3 else [[5, 6, 7]])
        assert sample.labels["page_url"] == "http://site/first"
        assert sample.labels["consent"] == {"robots": "allowed"}
        assert sample.labels["day"] == DAY


def test_asked_for_splits_are_kept_and_a_cluster_is_never_divided(
    shards: Dataset, world: World
) -> None:
    split = {s.labels["sha256"]: p for p in SPLITS for s in read_samples([shards], p)}
    assert split[world.sha256(1)] == "train"
    assert split[world.sha256(2)] == "val"
    # image 4 asked for train, its near-duplicate 0 for test: the most protected wins for both
    assert split[world.sha256(0)] == split[world.sha256(4)] == "test"


def test_shards_of_a_split_hold_equally_many_samples_within_a_task(shards: Dataset) -> None:
    sizes = [part.rows for part in shards.parts if part.rows]
    assert max(sizes) <= CONFIG.samples_per_shard
    assert shards.metadata["funnel"]["pairs"] == sum(sizes)


def test_rebuild_gives_the_same_bytes(lake: Lake, world: World, tmp_path: Path) -> None:
    write_world(lake, world)
    first = run(lake, DAY, CONFIG)
    other = Lake(str(tmp_path / "elsewhere"))
    write_world(other, world)
    second = run(other, DAY, CONFIG)
    assert [p.sha256 for p in first.parts] == [p.sha256 for p in second.parts]
    assert first.digest == second.digest
    assert run(lake, DAY, CONFIG).manifest == first.manifest  # nothing to do again


def test_day_without_images_gives_an_empty_dataset(lake: Lake) -> None:
    write_world(lake, World(images=0))
    shards = run(lake, DAY, CONFIG)
    assert shards.rows == 0
    assert list(read_samples([shards], "train")) == []
    assert len(SampleStore.open([shards], "test")) == 0


def test_labels_without_bytes_stop_the_run_with_a_clear_message(lake: Lake, world: World) -> None:
    write_world(lake, world)
    stranger = world.pairs_row(0) | {"sha256": "f" * 64}
    pairs = [PAIRS.empty_table().from_pylist([stranger], PAIRS)]
    commit(lake, "pairs", DAY, pairs)
    with pytest.raises(MmcoreError, match="no normalised bytes"):
        run(lake, DAY, CONFIG)


def test_random_access_agrees_with_reading_in_order(shards: Dataset) -> None:
    store = SampleStore.open([shards], "train", verify=True)
    listed = list(read_samples([shards], "train"))
    assert [store[i] for i in reversed(range(len(store)))] == listed[::-1]
    assert store.keys == [sample.key for sample in listed]


def test_webdataset_reads_the_shards(shards: Dataset) -> None:
    import webdataset

    paths = [p for p in shards.paths() if p.endswith(".tar")]
    reader = webdataset.WebDataset(paths, shardshuffle=False, empty_check=False)
    read = {s["__key__"]: s for s in reader}
    assert len(read) == shards.rows
    for split in SPLITS:
        for sample in read_samples([shards], split):
            assert read[sample.key]["jpg"] == sample.jpg
            assert json.loads(read[sample.key]["json"]) == sample.labels


def test_ray_data_reads_the_shards(shards: Dataset) -> None:
    import ray

    paths = [p for p in shards.paths() if p.endswith(".tar")]
    rows = ray.data.read_webdataset(paths, decoder=False).take_all()
    keys = Counter(row["__key__"] for row in rows)
    assert len(keys) == shards.rows and set(keys.values()) == {1}


def test_python_tarfile_sees_fixed_metadata_and_sorted_names(shards: Dataset) -> None:
    name = next(p.file for p in shards.parts if p.rows)
    with tarfile.open(fileobj=io.BytesIO(shards.read_file(name))) as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.mode, m.uid, m.uname, m.type) for m in members} == {
        (0, 0o644, 0, "", tarfile.REGTYPE)
    }
    assert [m.name for m in members] == sorted(m.name for m in members)
