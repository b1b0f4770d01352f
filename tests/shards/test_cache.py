"""Local copies of remote shards: complete or not there, within their budget, safe for several."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from pathlib import Path

import pyarrow as pa

from mmcore.lake import Lake
from mmcore.shards.cache import ShardCache
from mmcore.shards.reader import SampleStore
from tests.train import world


def shard(number: int, size: int = 1000) -> tuple[str, bytes]:
    data = bytes([number]) * size
    return hashlib.sha256(data).hexdigest(), data


def fetch(cache: ShardCache, number: int, size: int = 1000) -> bool:
    name, data = shard(number, size)
    return cache.fetch(name, size, lambda: pa.BufferReader(data))


def held(cache: ShardCache) -> set[int]:
    return {n for n in range(10) if cache.find(shard(n)[0])}


def test_the_copies_opened_longest_ago_make_room(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 3500)
    for number in range(3):
        assert fetch(cache, number)
        os.utime(tmp_path / shard(number)[0], ns=(number, number))
    path = cache.find(shard(0)[0])  # now used
    assert path is not None and path.read_bytes() == shard(0)[1]
    assert fetch(cache, 3)
    assert {p.name for p in tmp_path.iterdir()} == {shard(n)[0] for n in (0, 2, 3)} | {".lock"}


def test_a_reader_keeps_the_copy_that_makes_room(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1000)
    assert fetch(cache, 1)
    path = cache.find(shard(1)[0])
    assert path is not None
    file = pa.OSFile(str(path))
    assert fetch(cache, 2) and held(cache) == {2}
    assert file.read_at(1000, 0) == shard(1)[1]


def test_bytes_that_do_not_match_are_not_kept(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 9000)
    assert not cache.fetch(shard(1)[0], 1000, lambda: pa.BufferReader(b"other"))
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_writer_left_is_taken_over_or_removed(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 2500)
    for number in (1, 2):
        (tmp_path / f"{shard(number)[0]}.partial").write_bytes(b"half")
    assert fetch(cache, 1)
    big = hashlib.sha256(bytes(2500)).hexdigest()
    assert cache.fetch(big, 2500, lambda: pa.BufferReader(bytes(2500)))
    assert {p.name for p in tmp_path.iterdir()} == {big, ".lock"}


def test_a_copy_is_fetched_once_while_another_thread_is_at_it(tmp_path: Path) -> None:
    cache, opened, go = ShardCache(tmp_path, 9000), threading.Event(), threading.Event()
    name, data = shard(1)

    def slow() -> pa.NativeFile:
        opened.set()
        go.wait(10)
        return pa.BufferReader(data)

    thread = threading.Thread(target=cache.fetch, args=(name, 1000, slow))
    thread.start()
    opened.wait(10)
    assert not fetch(ShardCache(tmp_path, 9000), 1) and held(cache) == set()
    go.set()
    thread.join()
    assert held(cache) == {1}


def _churn(folder: Path, seed: int, wrong: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    cache = ShardCache(folder, 3000)
    for turn in range(150):
        number = (turn * 7 + seed * 3) % 9
        fetch(cache, number)
        path = cache.find(shard(number)[0])
        try:
            if path is not None and path.read_bytes() != shard(number)[1]:
                wrong.put(number)
        except FileNotFoundError:  # another process made room meanwhile
            pass


def test_processes_that_share_a_cache_see_whole_shards_within_the_budget(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wrong = context.Queue()
    jobs = [context.Process(target=_churn, args=(tmp_path, seed, wrong)) for seed in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    assert wrong.empty()
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 3000
    assert not list(tmp_path.glob("*.partial"))


def test_remote_shards_are_read_by_range_until_their_copy_is_here(
    s3_lake: Lake, tmp_path: Path
) -> None:
    shards = world.write_shards(s3_lake, "2026-11-23", train=8, val=0)
    plain = SampleStore.open([shards], "train")
    cache = ShardCache(tmp_path, 1 << 20)
    store = SampleStore.open([shards], "train", verify=True, cache=cache)
    assert store[0] == plain[0]  # the first read does not wait for the copy
    cache.drain()
    part = next(p for p in shards.parts if p.file == "train-000000.tar")
    assert cache.find(part.sha256) is not None
    for key in s3_lake.storage.keys("datasets"):
        if key.endswith(".tar"):
            s3_lake.storage.delete(key)  # from now on there is the copy only
    assert [store[i].key for i in range(8)] == store.keys


def test_a_shard_larger_than_the_budget_stays_remote(s3_lake: Lake, tmp_path: Path) -> None:
    shards = world.write_shards(s3_lake, "2026-11-23", train=8, val=0)
    store = SampleStore.open([shards], "train", cache=ShardCache(tmp_path / "c", 100))
    assert [store[i].key for i in range(8)] == store.keys
    assert not (tmp_path / "c").exists()
