"""A training that loses its workers or its driver, with processes that really end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake
from mmcore.shards.order import SampleOrder
from mmcore.shards.reader import SampleStore
from mmcore.train.run_folder import RunFolder
from mmcore.train.stage import Config, run
from tests.train import world

DAY, NAME, SEED = "2026-11-23", "test", 5
SAMPLES, BATCH, EPOCHS = 48, 8, 16
STEPS = SAMPLES * EPOCHS // BATCH
PATIENCE = 120.0

SETTINGS = {
    "budget_minutes": 1000.0,  # the schedule then follows the visits, not the clock
    "max_epochs": float(EPOCHS),
    "batch_size": BATCH,
    "min_tags": 1,
    "min_answers": 1,
    "amp": "off",
    "checkpoint_minutes": 1e-4,
    "ledger": True,
    "validations": 0,
    "hang_minutes": 0.5,
    "model": {"image": {"size": 32}},
}

pytestmark = pytest.mark.slow


def config(**changes: object) -> Config:
    return Config.model_validate({**SETTINGS, **changes})


def steps(lake: Lake) -> list[int]:
    """Steps of the unfinished run's checkpoints."""
    found = [RunFolder(lake.storage, name).steps() for name in lake.storage.folders("runs")]
    return found[0] if found else []


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """The training's worker processes among the descendants of a process."""
    found = []
    for process in parent.children(recursive=True):
        try:
            if "TrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whether none runs any more; one that nobody has asked about yet has ended too."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def weights(candidate: Dataset) -> bytes:
    return candidate.read_file("model.safetensors")


def assert_each_visit_once(lake: Lake, candidate: Dataset) -> None:
    """The ledger is the order of the data from its start to its end, whatever happened."""
    table = pq.read_table(pa.BufferReader(candidate.read_file("ledger.parquet")))
    store = SampleStore.open([lake.dataset("shards", DAY)], "train")
    expected = SampleOrder(store.sizes, SEED, config().shuffle_window).slice(0, SAMPLES * EPOCHS)
    np.testing.assert_array_equal(table["sample"].to_numpy(), expected.samples)
    np.testing.assert_array_equal(
        table["step"].to_numpy(), np.repeat(np.arange(1, STEPS + 1), BATCH)
    )
    assert (np.bincount(table["sample"].to_numpy(), minlength=SAMPLES) == EPOCHS).all()


@pytest.fixture(scope="module")
def unbroken(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of two workers that nothing happened to."""
    lake = Lake(str(tmp_path_factory.mktemp("unbroken")))
    world.write_shards(lake, DAY, train=SAMPLES, val=0)
    candidate = run(lake, DAY, config(), seed=SEED, run_name=NAME)
    assert_each_visit_once(lake, candidate)
    return weights(candidate)


@pytest.fixture
def filled(lake: Lake) -> Lake:
    world.write_shards(lake, DAY, train=SAMPLES, val=0)
    return lake


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Where a training runs while the test does harm to it."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def harm_after(lake: Lake, step: int, harm: Callable[[list[psutil.Process]], None]) -> None:
    """Wait for the checkpoint of a step or a later one, then harm the workers."""
    wait_for(lambda: bool(steps(lake)) and steps(lake)[-1] >= step, f"step {step}")
    found = workers(psutil.Process())
    assert found
    harm(found)
    wait_for(lambda: all_ended(found), "the end of the workers")


def test_killed_workers_and_a_notice_change_no_weight(
    filled: Lake, unbroken: bytes, beside: ThreadPoolExecutor
) -> None:
    chance = random.Random(7)
    training: Future[Dataset] = beside.submit(
        run, filled, DAY, config(retries=2), seed=SEED, run_name=NAME
    )
    first, second, third = (chance.randrange(low, low + 10) for low in (5, 25, 45))
    harm_after(filled, first, lambda found: chance.choice(found).kill())
    harm_after(filled, second, lambda found: [process.kill() for process in found] and None)
    harm_after(filled, third, lambda found: chance.choice(found).terminate())
    candidate = training.result(timeout=PATIENCE)
    assert weights(candidate) == unbroken
    assert_each_visit_once(filled, candidate)
    assert filled.storage.folders("runs") == []


def test_another_number_of_workers_goes_on_without_losing_a_visit(
    filled: Lake, beside: ThreadPoolExecutor, ray_session: None
) -> None:
    """Also: a run without retries left says where it can go on."""
    for count, step in ((2, 20), (1, 50)):
        training = beside.submit(
            run, filled, DAY, config(retries=0, workers=count), seed=SEED, run_name=NAME
        )
        harm_after(filled, step, lambda found: found[0].kill())
        with pytest.raises(MmcoreError, match=r"checkpoint of step \d+ is kept in .*goes on"):
            training.result(timeout=PATIENCE)
    candidate = run(filled, DAY, config(workers={"max": 3}), seed=SEED, run_name=NAME)
    assert_each_visit_once(filled, candidate)


def wait_for_step(lake: Lake, step: int, driver: subprocess.Popen[str]) -> None:
    def reached() -> bool:
        assert driver.poll() is None, driver.communicate()
        return bool(steps(lake)) and steps(lake)[-1] >= step

    wait_for(reached, f"step {step}")


def start_driver(recipe: Path, lake: Lake) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmcore.cli", "run", "train", "--recipe", str(recipe)]
    return subprocess.Popen(
        [*command, "--root", lake.root, "--day", DAY],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    train = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in SETTINGS.items())
    file.write_text(
        f"name: {NAME}\nseed: {SEED}\nsources: [{{kind: folder, path: .}}]\n"
        f"cluster: {{cpus: 4}}\ntrain:\n{train}\n"
    )
    return file


def test_a_stopped_and_a_killed_driver_are_gone_on_with(
    filled: Lake, recipe: Path, unbroken: bytes
) -> None:
    chance = random.Random(11)
    driver = start_driver(recipe, filled)
    wait_for_step(filled, chance.randrange(5, 25), driver)
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 128 + signal.SIGTERM
    assert "goes on from it" in said
    stopped_at = steps(filled)[-1]
    assert stopped_at < STEPS

    driver = start_driver(recipe, filled)
    wait_for_step(filled, stopped_at + chance.randrange(1, 15), driver)
    orphans = workers(psutil.Process(driver.pid))
    driver.kill()
    _, said = driver.communicate(timeout=PATIENCE)
    assert f"resuming at step {stopped_at}, " in said
    wait_for(lambda: all_ended(orphans), "the end of its workers")

    driver = start_driver(recipe, filled)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said
    assert "resuming at step" in said
    candidate = filled.dataset("candidate", DAY)
    assert weights(candidate) == unbroken
    assert_each_visit_once(filled, candidate)
