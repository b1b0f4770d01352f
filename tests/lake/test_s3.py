"""The same lake on S3: the real client against a local server that speaks S3."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from mmcore.lake import Conflict, Lake
from mmcore.lake.multipart import PART_BYTES


def test_datasets_work_on_s3_as_on_a_disk(s3_lake: Lake) -> None:
    writer = s3_lake.writer("numbers", "2026-01-02")
    assert s3_lake.find("numbers", "2026-01-02") is None
    parts = [writer.write_table(i, pa.table({"value": [i]})) for i in range(3)]
    committed = writer.commit(parts, [], {})
    found = s3_lake.dataset("numbers", "2026-01-02")
    assert found.read()["value"].to_pylist() == [0, 1, 2]
    assert found.digest == committed.digest
    assert found.paths()[0].startswith("s3://lake/team/datasets/numbers/2026-01-02/")
    assert s3_lake.partitions("numbers") == ["2026-01-02"]
    assert [d.label for d in s3_lake.datasets()] == ["numbers@2026-01-02"]


def test_sweep_on_s3_removes_only_what_nobody_points_to(s3_lake: Lake) -> None:
    writer = s3_lake.writer("numbers")
    writer.commit([writer.write_table(0, pa.table({"value": [1]}))], [], {})
    s3_lake.writer("numbers").write_table(0, pa.table({"value": [2]}))
    assert len(s3_lake.sweep("numbers")) == 1
    s3_lake.dataset("numbers").verify()


def test_a_pointer_moved_by_another_writer_is_not_overwritten_on_s3(s3_lake: Lake) -> None:
    place = s3_lake.storage
    place.write_if("pointer", b"one", None)
    with pytest.raises(Conflict):
        place.write_if("pointer", b"two", None)
    with pytest.raises(Conflict):
        place.write_if("pointer", b"two", b"other")
    place.write_if("pointer", b"two", b"one")
    assert place.read("pointer") == b"two"


def test_a_part_larger_than_memory_should_be_is_uploaded_in_pieces(s3_lake: Lake) -> None:
    writer = s3_lake.writer("big", format="files")
    stream = writer.stream_file("big.bin")
    piece = bytes(range(256)) * 4096
    for _ in range(20):
        stream.write(memoryview(piece))
    assert s3_lake.storage.keys("datasets/big") == []  # not yet
    part = stream.commit(rows=20)
    data = piece * 20
    assert len(data) > 2 * PART_BYTES
    assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    dataset = writer.commit([part], [], {})
    assert dataset.read_file("big.bin") == data
    stream.abort()  # too late to do anything
    dataset.verify()


def test_a_part_that_is_given_up_leaves_nothing_on_s3(s3_lake: Lake) -> None:
    import boto3

    stream = s3_lake.writer("big", format="files").stream_file("big.bin")
    stream.write(bytes(PART_BYTES + 1))
    assert "Uploads" in boto3.client("s3").list_multipart_uploads(Bucket="lake")
    stream.abort()
    assert "Uploads" not in boto3.client("s3").list_multipart_uploads(Bucket="lake")
    assert s3_lake.storage.keys("datasets") == []


def test_a_part_is_copied_on_the_server(s3_lake: Lake) -> None:
    first = s3_lake.writer("numbers")
    old = first.commit([first.write_table(0, pa.table({"value": [1]}))], [], {})
    second = s3_lake.writer("numbers")
    part = second.copy_part(old, old.parts[0])
    new = second.commit([part, second.write_table(1, pa.table({"value": [2]}))], [], {})
    assert new.read()["value"].to_pylist() == [1, 2]
    assert new.parts[0] == old.parts[0]
