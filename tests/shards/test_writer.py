"""The writer: as a stream, in bounded memory, the same whatever the pieces."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import pyarrow as pa
import pytest

from mmcore.lake import Lake
from mmcore.shards.index import ShardName, load_index
from mmcore.shards.writer import Sample, ShardStream, pack_shard, views

NAME = ShardName("train", 0)
SAMPLES = [Sample(f"{i:020x}", bytes([i]) * (100 * i), f"text {i}", {"n": i}) for i in range(20)]


def columns(samples: list[Sample]) -> tuple[list[str], list[bytes], list[bytes], list[bytes]]:
    return (
        [s.key for s in samples],
        [s.jpg for s in samples],
        [json.dumps(s.labels, separators=(",", ":")).encode() for s in samples],
        [s.text.encode() for s in samples],
    )


@pytest.mark.parametrize("step", [1, 3, 20])
def test_a_tar_does_not_depend_on_how_its_samples_come(step: int) -> None:
    tar = bytearray()
    stream = ShardStream(NAME, tar.extend)
    for start in range(0, len(SAMPLES), step):
        stream.add(*columns(SAMPLES[start : start + step]))
    index = stream.close()
    assert (bytes(tar), index) == pack_shard(NAME, SAMPLES)
    for entry in load_index(index, "index").samples:
        data = tar[entry.offset : entry.offset + entry.size]
        assert hashlib.sha256(data).hexdigest() == entry.sha256


def test_a_large_shard_is_not_held_in_memory(lake: Lake) -> None:
    writer = lake.writer("shards", "2026-11-23", format="tar")
    part = writer.stream_file(NAME.tar)
    stream = ShardStream(NAME, part.write)
    image = [memoryview(bytes(1 << 20))] * 16
    tracemalloc.start()
    for start in range(0, 160, 16):
        keys = [f"{n:020x}" for n in range(start, start + 16)]
        stream.add(keys, image, [b"{}"] * 16, [b""] * 16)
    stream.close()
    written = part.commit(len(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written.bytes > 160 << 20
    assert peak < 24 << 20


def test_a_part_that_is_given_up_leaves_no_file(lake: Lake) -> None:
    part = lake.writer("shards", "2026-11-23", format="tar").stream_file(NAME.tar)
    part.write(b"half")
    part.abort()
    folder = lake.storage.location("datasets")
    assert [
        p
        for p in pa.fs.LocalFileSystem().get_file_info(pa.fs.FileSelector(folder, recursive=True))
        if p.is_file
    ] == []


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()])
def test_views_are_the_values_of_a_column_or_a_slice_of_it(kind: pa.DataType) -> None:
    column = pa.array(["a", "", "ccc", "dd"]).cast(kind)
    assert [bytes(v) for v in views(column)] == [b"a", b"", b"ccc", b"dd"]
    assert [bytes(v) for v in views(column.slice(1, 2))] == [b"", b"ccc"]
    assert views(column.slice(0, 0)) == []
    assert [bytes(v) for v in views(pa.array(["", ""]).cast(kind))] == [b"", b""]
