"""The images: what is built from the Dockerfile is pinned, healthy and not run by root."""

from __future__ import annotations

import re

import pytest
from docker.utils.build import PatternMatcher

from tests.infra import dockerfile
from tests.infra.repository import ROOT, broken, read

PATH = "infra/docker/Dockerfile"
TARGETS = {"dagster-webserver", "dagster-daemon", "dagster-code", "ray", "mlflow"}


def problems(text: str) -> list[str]:
    return dockerfile.lint(text) + dockerfile.policy(text, TARGETS)


def test_dockerfile_passes_hadolint_and_the_projects_rules() -> None:
    assert problems(read(PATH)) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("python:3.11.14-slim-bookworm", "python:latest", "not pinned"),
        ("python:3.11.14-slim-bookworm", "python:3.11-slim", "not pinned"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ("USER 10001:10001", "USER 0:0", "not as a numeric non-root user"),
        ("HEALTHCHECK --interval=15s", "LABEL health=none\n# HEALTHCHECK", "has no HEALTHCHECK"),
        ("COPY mmcore mmcore", "COPY moose mmcore", "there is no such file"),
        ("COPY mmcore mmcore", "COPY tests mmcore", ".dockerignore keeps it out"),
        ("--constraint constraints.txt mlflow", "mlflow", "DL3013"),
        ('CMD ["dagster-daemon", "run"', "CMD dagster-daemon run # ", "DL3025"),
        ("FROM dagster-control AS dagster-daemon", "FROM dagster-control AS daemon", "no such"),
        ("EXPOSE 5000", "EXPOSED 5000", "DL1000"),
    ],
)
def test_broken_dockerfile_is_refused(old: str, new: str, complaint: str) -> None:
    text = broken(read(PATH), old, new)
    assert any(complaint in problem for problem in problems(text)), problems(text)


def test_every_target_shares_one_project_environment() -> None:
    known = dockerfile.stages(read(PATH))
    sources = {
        target: [value for kind, value in known[target].steps if value.startswith("--from=")]
        for target in ("dagster-code", "ray")
    }
    assert sources["dagster-code"] == sources["ray"]
    assert "project-environment" in sources["ray"][0]


@pytest.mark.parametrize(
    "path",
    [".env", "infra/docker/.env", ".git/config", ".venv/bin/python", "var/demo/lake", "tests/x.py"],
)
def test_secrets_and_data_stay_out_of_the_build_context(path: str) -> None:
    context = PatternMatcher(dockerfile.ignore_patterns(read(".dockerignore")))
    assert context.matches(path)
    assert not context.matches("mmcore/cli.py")


def test_every_package_an_image_installs_by_name_is_pinned() -> None:
    pinned = {line.split("==")[0].lower() for line in read("constraints.txt").splitlines()}
    text = read(PATH)
    named = {
        word
        for line in re.findall(r"--constraint constraints.txt (.*)", text)
        for word in line.split()
        if re.fullmatch(r"[a-z0-9-]+", word)
    }
    assert {"dagster", "dagster-webserver", "mlflow", "boto3", "psycopg2-binary"} <= named
    assert named - pinned == set()
    assert (ROOT / "LICENSE").is_file()
