"""Ad-hoc work on a real Ray cluster of this machine: `ray job submit … -- mmcore run STAGE …`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mmcore import graph
from mmcore.demo import free_port
from mmcore.lake import Lake
from mmcore.recipe import load_recipe
from mmcore.samplesite import SiteConfig, render, scenes, truth

DAY = "2026-03-01"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """A head node started by this test, and how to reach it."""

    address: str
    environment: dict[str, str]

    def submit(self, *entrypoint: str) -> subprocess.CompletedProcess[str]:
        return self.ray("job", "submit", "--address", self.address, "--", *entrypoint)

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "ray"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """`ray start --head` on free ports with token authentication; ended with all its children."""
    # Ray's socket paths must stay short, which pytest's temporary folders are not.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    dashboard = free_port(0)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    ports = ("port", "node-manager-port", "object-manager-port", "dashboard-agent-listen-port")
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
        *(f"--{name}={free_port(0)}" for name in ports),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={free_port(0)}", "--num-cpus=4"),
        *(f"--temp-dir={folder}", "--object-store-memory=134217728"),
    ]
    with open(f"{folder}/head.log", "wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    made = Cluster(f"http://127.0.0.1:{dashboard}", environment)
    try:
        _wait_until_it_answers(made, head)
        yield made
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(cluster: Cluster, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while cluster.ray("job", "list", "--address", cluster.address).returncode != 0:
        assert head.poll() is None, "the head node ended"
        assert time.monotonic() < deadline, "the head node does not answer"


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head and what it started, by id; never `ray stop`, which ends every Ray there is."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(head.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    head.kill()
    head.wait()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder source of 60 drawn scenes with their captions and questions."""
    site = SiteConfig(seed=5, images=60)
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = {row["scene"]: row for row in truth(site, "http://127.0.0.1").to_pylist()}
    lines = []
    for number, scene in enumerate(scenes(site)):
        (photos / f"{number}.jpg").write_bytes(render(scene))
        row = rows[scene.id]
        lines.append(
            {
                "image": f"{number}.jpg",
                "captions": row["captions"],
                "qa": row["qa"],
                "tags": row["tags"],
                "sentiment": row["sentiment"],
            }
        )
    (photos / "annotations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: jobs\nsources: [{kind: folder, path: photos}]\n"
        "train: {budget_minutes: 0.04, workers: 2, batch_size: 16}\n"
    )
    return file


@pytest.mark.usefixtures("ray_session")
def test_a_data_stage_and_training_run_as_jobs(cluster: Cluster, recipe: Path, lake: Lake) -> None:
    where = ("--recipe", str(recipe), "--root", lake.root, "--day", DAY)

    crawl = cluster.submit("mmcore", "run", "crawl", *where)
    assert crawl.returncode == 0, crawl.stdout + crawl.stderr
    assert "succeeded" in crawl.stdout + crawl.stderr
    assert lake.dataset("crawled", DAY).rows >= 60

    job = graph.Job(load_recipe(recipe), lake, DAY)
    for stage in ("clean", "dedup", "tokenizer", "tokenize", "pairs", "shards"):
        graph.run_stage(stage, job)

    train = cluster.submit("mmcore", "run", "train", *where)
    assert train.returncode == 0, train.stdout + train.stderr
    names = {part.file for part in lake.dataset("candidate", DAY).parts}
    assert {"model.safetensors", "config.json", "labels.json", "tokenizer.json"} <= names


def test_a_job_with_a_users_mistake_fails_with_one_sentence(
    cluster: Cluster, tmp_path: Path
) -> None:
    missing = str(tmp_path / "none.yaml")
    job = cluster.submit("mmcore", "run", "crawl", "--recipe", missing, "--day", DAY)
    assert job.returncode != 0
    assert "There is no recipe" in job.stdout + job.stderr
