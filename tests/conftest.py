"""Fixtures every test may use: a lake in a temporary folder and one embedded Ray a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
