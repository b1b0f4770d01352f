"""Reading samples by number: exact, bounded, and honest about what is broken."""

from __future__ import annotations

import pickle
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shards.resume import Plan, run, write_split
from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake
from mmcore.shards.index import ShardName
from mmcore.shards.order import SampleOrder, Visits
from mmcore.shards.reader import (
    Problem,
    SampleStore,
    ShardError,
    Skipped,
    ahead,
    read_raw,
    read_shares,
)
from mmcore.shards.writer import Sample, pack_shard

DAY = "2026-11-23"
SAMPLES = [
    Sample(f"{i:020x}", b"\xff\xd8" + bytes([i]) * (300 + i), f"text {i}", {"n": i})
    for i in range(20)
]


@pytest.fixture
def shards(lake: Lake) -> Dataset:
    return write_shards(lake)


def write_shards(lake: Lake) -> Dataset:
    writer, parts = lake.writer("shards", DAY, format="tar"), []
    for number, at in enumerate(range(0, 20, 7)):
        name, samples = ShardName("train", number), SAMPLES[at : at + 7]
        tar, index = pack_shard(name, samples)
        parts.append(writer.write_file(name.tar, tar, rows=len(samples)))
        parts.append(writer.write_file(name.index, index))
    return writer.commit(parts, [], {})


def tar_path(shards: Dataset, number: int) -> Path:
    return Path(next(p for p in shards.paths() if p.endswith(f"train-{number:06d}.tar")))


def problem_of(store: SampleStore, number: int) -> Problem:
    with pytest.raises(ShardError) as caught:
        store.raw(number)
    return caught.value.problem


def test_samples_come_back_by_number(shards: Dataset) -> None:
    store = SampleStore.open([shards], "train", verify=True)
    assert [store[i] for i in range(20)] == SAMPLES
    assert store.keys == [s.key for s in SAMPLES] and store.sizes.tolist() == [7, 7, 6]
    for wrong in (-1, 20):
        with pytest.raises(IndexError):
            store[wrong]


def test_shards_that_a_takedown_deleted_stop_the_reader_and_are_not_skipped(
    shards: Dataset,
) -> None:
    store = SampleStore.open([shards], "train")
    assert store[0] == SAMPLES[0]
    shards.storage.delete(shards.manifest.folder)
    skipped = Skipped(lambda problem: None)
    with pytest.raises(MmcoreError, match=r"train-000001\.tar.*takedown.*start again"):
        read_raw(store, range(20), skipped)
    assert not skipped.found
    with pytest.raises(MmcoreError, match=r"train-000000\.index\.json.*takedown"):
        SampleStore.open([shards], "train")


def test_a_shard_on_s3_that_was_deleted_while_it_was_open_says_so(s3_lake: Lake) -> None:
    shards = write_shards(s3_lake)
    store = SampleStore.open([shards], "train")
    assert store[0] == SAMPLES[0]
    shards.storage.delete(shards.manifest.folder)
    for number in (1, 10):  # of the open shard, of another
        with pytest.raises(MmcoreError, match="takedown"):
            store.raw(number)


def test_a_store_travels_to_another_process(shards: Dataset) -> None:
    store = SampleStore.open([shards], "train")
    assert store[3] == SAMPLES[3]
    assert pickle.loads(pickle.dumps(store))[12] == SAMPLES[12]


def test_threads_share_a_store_that_keeps_fewer_files_open_than_there_are(
    shards: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcore.shards.store._OPEN_FILES", 1)
    store = SampleStore.open([shards], "train")
    wrong: list[int] = []

    def read(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 20, 300).tolist():
            if store[number] != SAMPLES[number]:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(store._files) == 1


def test_changed_bytes_are_noticed_when_asked_for(shards: Dataset) -> None:
    path = tar_path(shards, 0)
    data = bytearray(path.read_bytes())
    data[700] ^= 1  # in the image of the first sample
    path.write_bytes(data)
    assert (
        problem_of(SampleStore.open([shards], "train", verify=True), 0).reason == "wrong_checksum"
    )
    store = SampleStore.open([shards], "train")
    assert store.raw(0).image != SAMPLES[0].jpg  # not asked for, not paid for
    assert store[1] == SAMPLES[1]


@pytest.mark.parametrize(
    ("at", "reason"), [(5, "bad_header"), (150, "bad_header"), (130, "bad_header")]
)
def test_damaged_headers_are_noticed_without_hashes(shards: Dataset, at: int, reason: str) -> None:
    path = tar_path(shards, 1)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x15
    path.write_bytes(data)
    store = SampleStore.open([shards], "train")
    assert problem_of(store, 7).reason == reason
    assert store[8] == SAMPLES[8]


def test_a_shard_that_was_cut_off_loses_its_end_only(shards: Dataset) -> None:
    path = tar_path(shards, 1)
    path.write_bytes(path.read_bytes()[:-6000])
    store = SampleStore.open([shards], "train")
    problems: list[Problem] = []
    found = read_raw(store, range(20), Skipped(problems.append))
    assert {p.reason for p in problems} == {"truncated"}
    assert [n for n, _ in found] == [*range(12), *range(14, 20)]
    assert all(raw.image == SAMPLES[n].jpg for n, raw in found)


def test_names_that_need_extended_headers_are_read_too(lake: Lake) -> None:
    sample = Sample("ordner/" + "ü" * 90, b"\xff\xd8", "t", {"a": 1})
    tar, index = pack_shard(ShardName("train", 0), [sample])
    writer = lake.writer("shards", DAY, format="tar")
    parts = [
        writer.write_file("train-000000.tar", tar, rows=1),
        writer.write_file("train-000000.index.json", index),
    ]
    assert list(SampleStore.open([writer.commit(parts, [], {})], "train")) == [sample]


def test_a_bad_sample_is_reported_once_however_often_it_is_met(shards: Dataset) -> None:
    path = tar_path(shards, 0)
    path.write_bytes(b"\0" * 700 + path.read_bytes()[700:])
    problems: list[Problem] = []
    skipped = Skipped(problems.append)
    store = SampleStore.open([shards], "train")
    for _ in range(3):
        assert [n for n, _ in read_raw(store, range(4), skipped)] == [1, 2, 3]
    assert len(problems) == 1 and list(skipped.found) == [0]
    again = Skipped(problems.append, skipped.found)
    read_raw(store, [0], again)
    assert len(problems) == 1


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_work_ahead_keeps_its_order_and_its_bound(threads: int) -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return item * item

    results = ahead(work, range(1000), threads, 5)
    assert [next(results) for _ in range(10)] == [i * i for i in range(10)]
    assert max(started) <= 10 + 5
    results.close()


def test_an_error_ahead_is_raised_where_its_result_would_have_come() -> None:
    def work(item: int) -> int:
        return 1 // (3 - item)

    results = ahead(work, range(9), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_shares_of_ranks_are_the_global_batches(shards: Dataset) -> None:
    store = SampleStore.open([shards], "train")
    order = SampleOrder(store.sizes, 3, 8)

    def work(visits: Visits) -> list[str]:
        return [store.raw(n).key for n in visits.samples.tolist()]

    ranks = [read_shares(order, work, 4, 6, rank, 4, threads=2) for rank in range(4)]
    read: list[str] = []
    for step in range(9):
        shares = [next(rank) for rank in ranks]
        assert {share.next_cursor for share in shares} == {4 + 6 * (step + 1)}
        read += [key for share in shares for key in share.result]
    for rank in ranks:
        rank.close()
    assert read == [SAMPLES[n].key for n in order.slice(4, 4 + 54).samples.tolist()]


def test_killed_ranks_go_on_as_others_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    write_split(tmp_path, 200, 30)
    plan = Plan((3, 2), kill_after=(9,), victims=(1,), batch=10, window=64)
    found = run(tmp_path, plan, 2, random.Random(0))
    assert 0 < found.resumed_at[0] < 400
    assert (found.lost, found.repeated, found.same_order) == (0, 0, True)
    assert found.visits == 2 * 199  # one sample is damaged
    assert found.skipped >= 2  # and each group of ranks says so
