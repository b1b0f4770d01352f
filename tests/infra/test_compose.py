"""The compose file: valid by the compose specification, complete, and without a default secret."""

from __future__ import annotations

import re

import pytest

from tests.infra import compose
from tests.infra.repository import broken, read

PATH = "infra/docker/compose.yaml"


def test_compose_file_is_valid_and_complete() -> None:
    assert compose.problems(read(PATH)) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  minio:\n    <<: *restart", "  minio:\n    restrt: always", "restrt"),
        ("stop_grace_period: 2m", "stop_grace_period: [2]", "is not of type 'string'"),
        ("interval: 5s", "intervall: 5s", "intervall"),
        ("condition: service_healthy", "condition: healthy", "is not one of"),
        ("      ray-head:\n", "      ray-hed:\n", "which is no service"),
        ("target: mlflow", "target: mlflo", "no target mlflo"),
        ('"127.0.0.1:3000:3000"', '"3000:3000"', "open to the network"),
        ("postgres:17.6-bookworm", "postgres:latest", "is not pinned"),
        ("${RAY_AUTH_TOKEN:?set it in .env}", "${RAY_AUTH_TOKEN:-ray}", "must be required"),
        ("${POSTGRES_PASSWORD:?set it in .env}", "postgres", "written in the compose file"),
        ("${MMCORE_VERSION:?", "${MMCORE_TAG:?", "not in .env.example"),
        ("./postgres:/docker", "./postgress:/docker", "is not there"),
        ("volumes:\n  postgres: {}\n", "volumes:\n", "is not declared"),
    ],
)
def test_broken_compose_file_is_refused(old: str, new: str, complaint: str) -> None:
    found = compose.problems(broken(read(PATH), old, new))
    assert any(complaint in problem for problem in found), found


def test_dagster_containers_have_every_variable_that_dagster_reads() -> None:
    wanted = set(
        re.findall(
            r"\{env: ([A-Z]+_\w+)\}",
            read("infra/dagster/dagster.yaml") + read("infra/dagster/workspace.yaml"),
        )
    )
    services = compose.load(read(PATH))["services"]
    assert wanted
    for name in ("dagster-init", "dagster-code", "dagster-webserver", "dagster-daemon"):
        assert wanted - set(services[name]["environment"]) == set(), name


def test_database_script_reads_only_what_the_container_has() -> None:
    used = set(re.findall(r"\$\{?([A-Z_]+)", read("infra/docker/postgres/10-databases.sh")))
    assert used <= set(compose.load(read(PATH))["services"]["postgres"]["environment"])


def test_bucket_script_reads_only_what_the_container_has() -> None:
    used = set(re.findall(r"\$\{?([A-Z_0-9]+)\b", read("infra/docker/minio/create-bucket.sh")))
    assert used <= set(compose.load(read(PATH))["services"]["bucket"]["environment"])
