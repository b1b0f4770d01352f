"""A training in MLflow while it runs: curves, pictures, one run for training and version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmcore.cluster import Listener
from mmcore.lake import Lake
from mmcore.registry import RegistrySettings, register, tracked
from mmcore.registry.client import open_client
from mmcore.registry.settings import locate
from tests.registry.test_models import DAY, SETTINGS, _candidate, _evaluation, empty_registry

__all__ = ["empty_registry"]

INPUTS = {"preset": "nano", "optimizer": {"lr": 0.001}, "parents": {"shards@2026-01-01": "abc"}}


@pytest.fixture
def lake(tmp_path: Path, empty_registry: Path) -> Lake:
    shutil.copytree(empty_registry, tmp_path / "lake" / "mlflow")
    return Lake(str(tmp_path / "lake"))


def _runs(lake: Lake, name: str = "demo"):
    client = open_client(locate(SETTINGS, lake))
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def _train(listener: Listener, steps: int = 3) -> None:
    for step in range(1, steps + 1):
        losses = {"vqa": 1 / step, "caption": float("nan")}
        listener({"samples": 64 * step, "seconds": 2.0 * step, "losses": losses})
    listener({"samples": 64 * steps, "validation": {"score": 0.5}})
    listener({"samples": 64 * steps, "predictions": b"png"})


def test_curves_settings_and_pictures_are_in_one_run(lake):
    with tracked(SETTINGS, lake, "demo", DAY, "demo-run", INPUTS) as listener:
        _train(listener)
        listener({"candidate": "d" * 64})
    (run,) = _runs(lake)
    assert run.info.status == "FINISHED" and run.info.run_name == "demo-run"
    assert run.data.tags["mmcore.day"] == DAY
    assert run.data.params == {
        "preset": "nano",
        "optimizer.lr": "0.001",
        "parents.shards_2026-01-01": "abc",
    }
    assert run.data.metrics == {"losses/vqa": pytest.approx(1 / 3), "validation/score": 0.5}
    client = open_client(locate(SETTINGS, lake))
    curve = client.get_metric_history(run.info.run_id, "losses/vqa")
    assert [(point.step, point.value) for point in curve] == [(64, 1.0), (128, 0.5), (192, 1 / 3)]
    (picture,) = client.list_artifacts(run.info.run_id, "progress")
    assert picture.path == "progress/predictions-000000000192.png"


def test_the_version_points_to_the_run_of_its_training(lake):
    candidate = _candidate(lake, b"weights")
    with tracked(SETTINGS, lake, "demo", DAY, "demo-run", candidate.manifest.config) as listener:
        _train(listener)
        listener({"candidate": candidate.digest})
    version = register(SETTINGS, lake, "demo", candidate, _evaluation(lake))
    (run,) = _runs(lake)
    assert version.run_id == run.info.run_id
    assert {"losses/vqa", "vqa.accuracy"} <= set(run.data.metrics)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_training_that_ends_early_is_marked(lake, error, status):
    with (
        pytest.raises(error),
        tracked(SETTINGS, lake, "demo", DAY, "demo-run", INPUTS) as listener,
    ):
        _train(listener)
        raise error
    (run,) = _runs(lake)
    assert run.info.status == status
    candidate = _candidate(lake, b"weights")
    assert register(SETTINGS, lake, "demo", candidate, _evaluation(lake)).run_id != run.info.run_id


def test_a_server_that_fails_costs_one_line_and_no_training(lake, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    broken = RegistrySettings(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    with tracked(broken, lake, "demo", DAY, "demo-run", INPUTS) as listener:
        _train(listener)
        listener({"candidate": "d" * 64})
    said = [line for line in capsys.readouterr().err.splitlines() if "not in MLflow" in line]
    assert len(said) == 1 and _runs(lake) == []
