"""The leakage check sees what was written, whatever was planned."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup.bands import near_pairs
from mmcore.dedup.verify import same_picture
from mmcore.lake import Dataset, Lake
from mmcore.shards.index import ShardName
from mmcore.shards.leakage import Likeness
from mmcore.shards.stage_leakage import Eyes, Leakage, find_leaks
from mmcore.shards.writer import Sample, pack_shard, sample_key
from tests.shards.helpers import DAY, World, commit

LIKENESS = Likeness(
    partial(near_pairs, max_hamming=4, bucket_cap=1000),
    lambda a, b: same_picture(a, b, 4.0, 7.0)[0],
)
WORLD = World(images=12)
NEXT = "2026-11-24"


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)


def write_day(
    lake: Lake,
    splits: dict[int, str],
    day: str = DAY,
    cluster: dict[int, int] | None = None,
    phash: dict[int, int] | None = None,
    thumb: dict[int, int] | None = None,
) -> None:
    """Shards with images in given splits, and what clean and dedup said of the images."""
    writer = lake.writer("shards", day, format="tar")
    parts = []
    for split in sorted(set(splits.values())):
        images = [i for i, s in splits.items() if s == split]
        name = ShardName(split, 0)
        samples = [Sample(sample_key(WORLD.sha256(i)), bytes([i]), "") for i in images]
        tar, index = pack_shard(name, samples)
        parts += [
            writer.write_file(name.tar, tar, len(images)),
            writer.write_file(name.index, index),
        ]
    writer.commit(parts, [], {})
    keys = [WORLD.sha256(i) for i in splits]
    clusters = [WORLD.sha256((cluster or {}).get(i, i)) for i in splits]
    commit(lake, "deduplicated", day, [pa.table({"sha256": keys, "cluster": clusters})])
    hashes = [(phash or {}).get(i, (i * 0x9E3779B97F4A7C15) % 2**64) for i in splits]
    thumbs = [picture((thumb or {}).get(i, i)).tobytes() for i in splits]
    columns = [keys, pa.array(hashes, pa.uint64()), pa.array(thumbs, pa.binary(768))]
    commit(lake, "cleaned", day, [pa.table(columns, names=["sha256", "phash", "thumb"])])


def pairs(found: Leakage) -> list[tuple[str, set[str]]]:
    return [(leak.by, {leak.first, leak.second}) for leak in found.leaks]


def both(i: int, j: int) -> set[str]:
    return {WORLD.sha256(i), WORLD.sha256(j)}


SPLITS = {i: ("train", "val", "test")[i % 3] for i in range(9)}


def test_splits_that_share_nothing_pass(lake: Lake) -> None:
    write_day(lake, SPLITS)
    found = find_leaks(lake, DAY, LIKENESS)
    assert found == Leakage({"train": 3, "val": 3, "test": 3}, [], 0, [], 0)


def test_an_image_in_two_splits_of_two_nights_is_found(lake: Lake) -> None:
    write_day(lake, SPLITS)
    write_day(lake, {0: "test", 10: "train"}, NEXT)
    assert pairs(find_leaks(lake, DAY, LIKENESS)) == []
    by = [by for by, images in pairs(find_leaks(lake, NEXT, LIKENESS)) if images == both(0, 0)]
    assert by == ["sha256", "cluster", "look"]


def test_a_cluster_in_two_splits_is_found(lake: Lake) -> None:
    write_day(lake, SPLITS, cluster={4: 0})
    assert pairs(find_leaks(lake, DAY, LIKENESS)) == [("cluster", both(0, 4))]


def test_a_near_duplicate_in_another_split_is_found_and_a_near_hash_alone_is_counted(
    lake: Lake,
) -> None:
    near = {0: 0b1111, 1: 0b0111, 2: 0b0011}
    write_day(lake, SPLITS, phash=near, thumb={1: 0})  # 2 looks otherwise
    found = find_leaks(lake, DAY, LIKENESS)
    assert pairs(found) == [("look", both(0, 1))]
    assert found.hash_only == 2


def test_near_duplicates_within_a_split_are_no_leak(lake: Lake) -> None:
    write_day(lake, SPLITS, phash={0: 1, 3: 1}, thumb={3: 0}, cluster={3: 0})
    assert find_leaks(lake, DAY, LIKENESS).leaks == []


def test_a_day_whose_tables_were_removed_is_still_compared_by_key(lake: Lake) -> None:
    write_day(lake, SPLITS)
    write_day(lake, {0: "test"}, NEXT)
    for name in ("deduplicated", "cleaned"):
        lake.storage.delete(f"datasets/{name}")
    found = find_leaks(lake, NEXT, LIKENESS)
    assert [leak.by for leak in found.leaks] == ["sha256"]


@pytest.mark.usefixtures("ray_session")
def test_images_that_mean_the_same_to_the_champion_are_reported(lake: Lake) -> None:
    write_day(lake, SPLITS)
    found = find_leaks(lake, DAY, LIKENESS, Eyes(embed, 0.99))
    assert found.embedded == 9
    assert {frozenset((x.first, x.second)) for x in found.meaning} == {frozenset(both(0, 1))}
    assert found.leaks == []


def test_each_index_is_read_as_often_however_many_tars_there_are(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_day(lake, SPLITS)
    read: Counter[str] = Counter()
    original = Dataset.read_file

    def counted(dataset: Dataset, name: str) -> bytes:
        read[name] += 1
        return original(dataset, name)

    monkeypatch.setattr(Dataset, "read_file", counted)
    monkeypatch.setattr("mmcore.cluster.map_parts", lambda fn, items, **_: [fn(i) for i in items])
    assert find_leaks(lake, DAY, LIKENESS, Eyes(embed, 0.99)).embedded == 9
    # once for the keys, once by the task that embeds the images of its tar
    assert read == {f"{split}-000000.index.json": 2 for split in ("train", "val", "test")}


def embed(images: list[bytes]) -> np.ndarray:
    """Images 0 and 1 are one; all others stand at right angles."""
    vectors = np.zeros((len(images), 12), np.float32)
    vectors[np.arange(len(images)), [max(1, image[0]) for image in images]] = 1
    return vectors
