"""Fixtures every test may use: a lake in a temporary folder and one embedded Ray a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmcore.cluster import ClusterSettings, connect
from mmcore.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """An embedded Ray with four logical CPUs, shared by all tests of the session."""
    with connect(ClusterSettings(cpus=4)):
        yield
