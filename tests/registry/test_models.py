"""Registering, promoting, finding and rolling back models in a real MLflow registry on SQLite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Dataset, Lake
from mmcore.registry import (
    Decision,
    Gate,
    RegistrySettings,
    champion,
    champion_folder,
    decide,
    list_models,
    promote,
    promote_if_better,
    register,
    resolve,
    rollback,
)
from tests.registry.test_gate import _scores

SETTINGS = RegistrySettings()
DAY = "2026-01-01"
PASSED = Decision(True, ())


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with its tables made and nothing in it: making them takes two seconds."""
    root = tmp_path_factory.mktemp("registry")
    assert list_models(SETTINGS, Lake(str(root))) == []
    return root / "mlflow"


@pytest.fixture
def lake(tmp_path: Path, empty_registry: Path) -> Lake:
    shutil.copytree(empty_registry, tmp_path / "lake" / "mlflow")
    return Lake(str(tmp_path / "lake"))


def _candidate(lake: Lake, weights: bytes, day: str = DAY) -> Dataset:
    writer = lake.writer("candidate", day, format="files")
    parts = [
        writer.write_file("config.json", b"{}"),
        writer.write_file("model.safetensors", weights),
    ]
    return writer.commit(parts, [], {"preset": "nano", "optimizer": {"lr": 0.001}})


def _evaluation(lake: Lake, low: float = 0.2) -> Dataset:
    scores = _scores((0.3, low, 0.4))
    scores["tasks"]["vqa"]["labels"] = "gold"
    scores |= {"scores": {"vqa": {"accuracy": 0.8}}, "sources": {"licenses": {"not stated": 3}}}
    scores["scores"]["retrieval"] = {"text_to_image": {"r@1": 0.5, "r@5": None}}
    writer = lake.writer("evaluation", DAY, format="files")
    parts = [
        writer.write_file("scores.json", json.dumps(scores).encode()),
        writer.write_file("report.html", b"<p>report</p>"),
    ]
    return writer.commit(parts, [], {})


def test_registered_version_carries_files_scores_and_origin(lake):
    candidate = _candidate(lake, b"weights")
    version = register(SETTINGS, lake, "demo", candidate, _evaluation(lake))
    assert (version.version, version.aliases) == (1, ("candidate",))
    assert version.scores == {"vqa.accuracy": 0.8}
    assert version.candidate == candidate.digest
    folder = resolve(SETTINGS, lake, "demo@1")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder.parent / "evaluation" / "report.html").read_bytes() == b"<p>report</p>"


def test_run_shows_settings_and_finite_scores(lake):
    from mmcore.registry.client import open_client
    from mmcore.registry.settings import locate

    version = register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    run = open_client(locate(SETTINGS, lake)).get_run(version.run_id)
    assert run.data.params == {"preset": "nano", "optimizer.lr": "0.001"}
    assert run.data.metrics == {"vqa.accuracy": 0.8, "retrieval.text_to_image.r_at_1": 0.5}
    assert run.info.status == "FINISHED"


def test_same_candidate_registered_twice_is_one_version_with_the_newer_evidence(lake):
    candidate = _candidate(lake, b"weights")
    register(SETTINGS, lake, "demo", candidate, _evaluation(lake))
    again = register(SETTINGS, lake, "demo", candidate, _evaluation(lake, low=0.25))
    assert again.version == 1
    assert len(list_models(SETTINGS, lake)) == 1
    folder = resolve(SETTINGS, lake, "demo@1").parent
    stored = json.loads((folder / "evaluation" / "scores.json").read_bytes())
    assert stored["tasks"]["vqa"]["blind"]["difference"]["accuracy"]["low"] == 0.25


def test_there_is_no_champion_before_the_first_promotion(lake):
    assert champion_folder(SETTINGS, lake, "demo") is None
    register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    assert champion(SETTINGS, lake, "demo") is None


def test_candidate_that_passes_becomes_champion(lake):
    done = promote_if_better(
        SETTINGS, lake, "demo", Gate(), _candidate(lake, b"one"), _evaluation(lake)
    )
    assert done.decision.passed
    assert done.version.aliases == ("candidate", "champion")
    folder = champion_folder(SETTINGS, lake, "demo")
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == b"one"
    assert json.loads((folder.parent / "decision.json").read_bytes())["passed"] is True


def test_refused_candidate_leaves_the_champion_and_keeps_the_reason(lake):
    promote_if_better(SETTINGS, lake, "demo", Gate(), _candidate(lake, b"one"), _evaluation(lake))
    done = promote_if_better(
        SETTINGS, lake, "demo", Gate(), _candidate(lake, b"two"), _evaluation(lake, low=-0.1)
    )
    assert not done.decision.passed
    found = champion(SETTINGS, lake, "demo")
    assert found is not None and found[0].version == 1
    folder = resolve(SETTINGS, lake, "candidate")
    decision = json.loads((folder.parent / "decision.json").read_bytes())
    assert "not clearly above" in decision["findings"][0]["message"]


def test_refused_decision_cannot_be_promoted(lake):
    version = register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    refused = decide(_scores((0.0, -0.1, 0.1)), Gate())
    with pytest.raises(MmcoreError, match="not clearly above"):
        promote(SETTINGS, lake, "demo", version.version, refused)


def test_rollback_restores_the_champion_before(lake):
    for weights in (b"one", b"two"):
        candidate = _candidate(lake, weights)
        version = register(SETTINGS, lake, "demo", candidate, _evaluation(lake))
        promote(SETTINGS, lake, "demo", version.version, PASSED)
        # Promoting the champion again must not make it its own predecessor.
        promote(SETTINGS, lake, "demo", version.version, PASSED)
    assert rollback(SETTINGS, lake, "demo").version == 1
    assert (resolve(SETTINGS, lake, "champion") / "model.safetensors").read_bytes() == b"one"
    with pytest.raises(UserError, match="first champion"):
        rollback(SETTINGS, lake, "demo")


def test_candidate_that_is_champion_is_compared_with_the_champion_before_it(lake):
    first = _candidate(lake, b"one")
    promote_if_better(SETTINGS, lake, "demo", Gate(), first, _evaluation(lake))
    assert champion_folder(SETTINGS, lake, "demo", other_than=first.digest) is None
    second = _candidate(lake, b"two")
    promote_if_better(SETTINGS, lake, "demo", Gate(), second, _evaluation(lake))
    folder = champion_folder(SETTINGS, lake, "demo", other_than=second.digest)
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == b"one"


def test_earlier_day_that_is_run_again_does_not_replace_a_later_days_champion(lake):
    first = _candidate(lake, b"one", "2026-01-01")
    promote_if_better(SETTINGS, lake, "demo", Gate(), first, _evaluation(lake))
    second = _candidate(lake, b"two", "2026-01-02")
    promote_if_better(SETTINGS, lake, "demo", Gate(), second, _evaluation(lake))
    again = promote_if_better(SETTINGS, lake, "demo", Gate(), first, _evaluation(lake))
    assert again.decision.passed
    assert (resolve(SETTINGS, lake, "champion") / "model.safetensors").read_bytes() == b"two"


def test_day_that_is_run_again_meets_the_champion_it_met_first(lake):
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        candidate = _candidate(lake, day.encode(), day)
        promote_if_better(SETTINGS, lake, "demo", Gate(), candidate, _evaluation(lake))
    for day, met in (("2026-01-04", b"2026-01-03"), ("2026-01-02", b"2026-01-01")):
        folder = champion_folder(SETTINGS, lake, "demo", before=day)
        assert folder is not None
        assert (folder / "model.safetensors").read_bytes() == met
    assert champion_folder(SETTINGS, lake, "demo", before="2026-01-01") is None


def test_version_promoted_twice_does_not_send_the_search_in_circles(lake):
    for weights in (b"one", b"two", b"one"):
        candidate = _candidate(lake, weights)
        version = register(SETTINGS, lake, "demo", candidate, _evaluation(lake))
        promote(SETTINGS, lake, "demo", version.version, PASSED)
    assert champion_folder(SETTINGS, lake, "demo", before=DAY) is None


def test_model_is_found_by_folder_alias_number_and_full_name(lake, tmp_path):
    register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    wanted = resolve(SETTINGS, lake, "candidate")
    assert resolve(SETTINGS, lake, "1") == wanted
    assert resolve(SETTINGS, lake, "demo@candidate") == wanted
    assert resolve(SETTINGS, lake, str(tmp_path)) == tmp_path


def test_unknown_model_is_answered_with_the_ones_there_are(lake):
    with pytest.raises(UserError, match="nothing is registered yet"):
        resolve(SETTINGS, lake, "champion")
    register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    with pytest.raises(UserError, match="demo@1, demo@candidate"):
        resolve(SETTINGS, lake, "champion")
    register(SETTINGS, lake, "other", _candidate(lake, b"w"), _evaluation(lake))
    with pytest.raises(UserError, match="demo@candidate, other@candidate"):
        resolve(SETTINGS, lake, "candidate")


def test_listing_shows_newest_first_and_is_json(lake):
    for weights in (b"one", b"two"):
        register(SETTINGS, lake, "demo", _candidate(lake, weights), _evaluation(lake))
    listed = json.loads(json.dumps(list_models(SETTINGS, lake)))
    assert [(model["version"], model["aliases"]) for model in listed] == [
        (2, ["candidate"]),
        (1, []),
    ]


def test_remote_root_needs_a_tracking_server():
    with pytest.raises(UserError, match=r"registry\.tracking_uri"):
        list_models(SETTINGS, Lake("s3://bucket/lake"))


def test_nothing_of_mlflow_is_printed(lake, capfd):
    register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    assert capfd.readouterr() == ("", "")


def test_files_of_a_remote_store_are_fetched_whole(lake, tmp_path):
    from mmcore.registry.client import open_client
    from mmcore.registry.files import fetch
    from mmcore.registry.settings import locate

    version = register(SETTINGS, lake, "demo", _candidate(lake, b"w"), _evaluation(lake))
    folder = tmp_path / "cache" / version.run_id
    fetch(open_client(locate(SETTINGS, lake)), version.run_id, folder)
    assert (folder / "model.safetensors").read_bytes() == b"w"
    assert [path.name for path in folder.parent.iterdir()] == [version.run_id]
