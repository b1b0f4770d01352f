"""The same lake on S3: the real client against a local server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from mmcore.lake import Conflict, Lake, storage


@pytest.fixture
def s3_lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(storage, "_CLIENT", None)
    boto3.client("s3").create_bucket(Bucket="lake")
    yield Lake("s3://lake/team")
    server.stop()


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
