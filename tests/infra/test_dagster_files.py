"""Production's Dagster files: Dagster itself accepts them, and two trainings cannot collide."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from dagster import DagsterError

from tests.infra import compose, dagster_files, dockerfile
from tests.infra.repository import ROOT, broken, read

INSTANCE = "infra/dagster/dagster.yaml"
WORKSPACE = "infra/dagster/workspace.yaml"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a deployment sets, under the names that compose gives it."""
    service = compose.load(read("infra/docker/compose.yaml"))["services"]["dagster-code"]
    for name in service["environment"]:
        if name.startswith("DAGSTER_"):
            monkeypatch.setenv(name, f"{name.lower()}")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def problems(text: str, folder: Path) -> list[str]:
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    return dagster_files.instance_problems(folder)


def test_dagster_accepts_its_production_configuration(tmp_path: Path) -> None:
    assert problems(read(INSTANCE), tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("run_monitoring:", "run_monitorin:", "run_monitorin"),
        ("start_timeout_seconds: 300", "start_timeout_seconds: soon", "start_timeout_seconds"),
        ("granularity: run", "granularity: job", "granularity"),
        ("limit: 2", "limit: two", "limit"),
        ("S3ComputeLogManager", "S3ComputeLogsManager", "compute_logs"),
        ("dagster_aws.s3.compute_log_manager", "dagster_aws.s4", "compute_logs"),
        ("upload_interval: 30", "upload_intervall: 30", "upload_intervall"),
        ("dequeue_interval_seconds: 5", "dequeue_interval: 5", "dequeue_interval"),
        ("hostname: {env: DAGSTER_DB_HOST}", "host: {env: DAGSTER_DB_HOST}", "hostname"),
        # A driver that is not installed: what SQLAlchemy 2.1 makes of a plain "postgresql".
        ("scheme: postgresql+psycopg2", "scheme: postgresql", "psycopg"),
        ("storage:\n  postgres:", "storage:\n  postgresql:", "postgresql"),
    ],
)
def test_broken_configuration_is_refused(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    found = problems(broken(read(INSTANCE), old, new), tmp_path)
    assert any(complaint in problem for problem in found), found


def test_missing_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_DB_PASSWORD")
    assert any("DAGSTER_DB_PASSWORD" in problem for problem in problems(read(INSTANCE), tmp_path))


def test_pools_let_one_training_run_at_a_time() -> None:
    config = yaml.safe_load(read(INSTANCE))
    assert config["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    pools = {
        keyword.value.value
        for file in (ROOT / "pipelines").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "pool" and isinstance(keyword.value, ast.Constant)
    }
    assert "training" in pools
    # The queue creates a pool only after it let a first batch through: deployments do it before.
    init = compose.load(read("infra/docker/compose.yaml"))["services"]["dagster-init"]
    assert set(re.findall(r"concurrency set (\w+) 1", init["command"][-1])) == pools


def test_workspace_points_at_the_code_location() -> None:
    (origin,) = dagster_files.workspace_origins(ROOT / WORKSPACE)
    assert (origin.host, origin.port) == ("dagster_code_host", 4000)
    assert origin.location_name == "mmcore"
    known = dockerfile.stages(read("infra/docker/Dockerfile"))
    command = yaml.safe_load(known["dagster-code"].last("CMD") or "")
    assert command[command.index("-p") + 1] == str(origin.port)
    assert importlib.util.find_spec(command[command.index("-m") + 1]) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [("grpc_server:", "grpc:"), ("port: 4000", "port: four"), ("load_from:", "loads:")],
)
def test_broken_workspace_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "workspace.yaml"
    path.write_text(broken(read(WORKSPACE), old, new), encoding="utf-8")
    with pytest.raises(DagsterError):
        dagster_files.workspace_origins(path)
