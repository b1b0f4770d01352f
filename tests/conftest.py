"""Fixtures every test may use: a lake in a temporary folder and one embedded Ray a session."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

# before anything imports torch: many threads over tiny tensors, in many processes, only wait
os.environ.setdefault("OMP_NUM_THREADS", "1")
# before Ray Train starts: how often it looks after its workers; two seconds are long for a test
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

from mmcore.cluster import ClusterSettings, connect
from mmcore.lake import Lake


@pytest.fixture(scope="session", autouse=True)
def nobody_elses_work() -> Iterator[None]:
    """No test reads or writes what a user's environment points at."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MMCORE_ROOT", "MMCORE_RECIPE", "DAGSTER_HOME", "RAY_ADDRESS"):
            environment.delenv(name, raising=False)
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """An embedded Ray with four logical CPUs, shared by all tests of the session."""
    with connect(ClusterSettings(cpus=4)):
        yield


@pytest.fixture
def s3_lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake on a local server that speaks S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    from mmcore.lake import storage

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What another test stored is still there: the server's memory is this process's.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(storage, "_CLIENT", None)
    boto3.client("s3").create_bucket(Bucket="lake")
    yield Lake("s3://lake/team")
    server.stop()
