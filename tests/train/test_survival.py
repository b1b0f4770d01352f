"""A training that loses its workers or its driver, with processes that really end.

The model is tiny, because what takes time here is the start of processes, and the trainings are
long enough in steps that a harm always finds them at work.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake
from mmcore.models.config import load_preset
from mmcore.shards.order import SampleOrder
from mmcore.shards.reader import SampleStore
from mmcore.train.pixels import Neighbours
from mmcore.train.rank import Callbacks, Job, train_rank
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import TrainSettings
from mmcore.train.stage import Config, run
from tests.models import tiny
from tests.train import world
from tests.train.two_ranks import on_two_ranks

DAY, NAME, SEED = "2026-11-23", "test", 5
SAMPLES, BATCH, EPOCHS = 48, 8, 32
STEPS = SAMPLES * EPOCHS // BATCH
PATIENCE = 120.0

SETTINGS = {
    "budget_minutes": 1000.0,  # the schedule then follows the visits, not the clock
    "max_epochs": float(EPOCHS),
    "batch_size": BATCH,
    "min_tags": 1,
    "min_answers": 1,
    "amp": "off",
    "checkpoint_minutes": 1e-3,
    "ledger": True,
    "validations": 0,
    "hang_minutes": 0.5,
    "model": tiny.ARCHITECTURE,
}

pytestmark = pytest.mark.slow


def config(**changes: object) -> Config:
    return Config.model_validate({**SETTINGS, **changes})


def newest(lake: Lake) -> int:
    """Step of the unfinished run's newest checkpoint; 0 where there is none."""
    found = [RunFolder(lake.storage, name).steps() for name in lake.storage.folders("runs")]
    return max([step for steps in found for step in steps], default=0)


def wait_for(condition: Callable[[], bool], what: str, every: float = 0.02) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(every)


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """The training's worker processes among the descendants of a process that runs."""
    assert parent.status() != psutil.STATUS_ZOMBIE, "the driver ended"
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


def assert_each_visit_once(lake: Lake, ledger: bytes) -> None:
    """The ledger is the order of the data from its start to its end, whatever happened."""
    table = pq.read_table(pa.BufferReader(ledger))
    store = SampleStore.open([lake.dataset("shards", DAY)], "train")
    expected = SampleOrder(store.sizes, SEED, config().shuffle_window).slice(0, SAMPLES * EPOCHS)
    np.testing.assert_array_equal(table["sample"].to_numpy(), expected.samples)
    np.testing.assert_array_equal(
        table["step"].to_numpy(), np.repeat(np.arange(1, STEPS + 1), BATCH)
    )
    assert (np.bincount(table["sample"].to_numpy(), minlength=SAMPLES) == EPOCHS).all()


def assert_lost_nothing(lake: Lake, candidate: Dataset) -> None:
    assert_each_visit_once(lake, candidate.read_file("ledger.parquet"))
    assert lake.storage.folders("runs") == []


def _unbroken_rank(ranks: Ranks, lake: Lake) -> None:
    settings = TrainSettings.model_validate(
        config().model_dump(include=set(TrainSettings.model_fields))
    )
    job = Job(
        [lake.dataset("shards", DAY)],
        tiny.tokenizer().json_text,
        load_preset("nano", **tiny.ARCHITECTURE),
        settings,
        SEED,
        None,
    )
    neighbours = Neighbours("test-unbroken", ranks.rank, 2, dist.barrier)
    run, callbacks = RunFolder(lake.storage, "unbroken"), Callbacks(lambda line: None)
    assert train_rank(job, run, ranks, neighbours, torch.device("cpu"), callbacks)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of two ranks that nothing happened to, not even Ray."""
    folder = tmp_path_factory.mktemp("unbroken")
    lake = Lake(str(folder / "lake"))
    world.write_shards(lake, DAY, train=SAMPLES, val=0)
    on_two_ranks(_unbroken_rank, folder, lake)
    files = RunFolder(lake.storage, "unbroken").result()
    assert_each_visit_once(lake, files["ledger.parquet"])
    return files["model.safetensors"]


@pytest.fixture
def filled(lake: Lake) -> Lake:
    world.write_shards(lake, DAY, train=SAMPLES, val=0)
    return lake


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Where a training runs while the test does harm to it."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def workers_after(
    more: int, lake: Lake, count: int, driver: psutil.Process
) -> list[psutil.Process]:
    """So many workers, once they have gone on for so many steps."""
    step = newest(lake) + more
    wait_for(lambda: len(workers(driver)) == count, f"{count} workers", every=0.2)
    found = workers(driver)
    wait_for(lambda: newest(lake) >= step, f"step {step}")
    return found


def harm_after(
    more: int, lake: Lake, count: int, harm: Callable[[list[psutil.Process]], None]
) -> None:
    """Harm workers after so many steps and wait until all have ended."""
    found = workers_after(more, lake, count, psutil.Process())
    harm(found)
    wait_for(lambda: all_ended(found), "the end of the workers")


def resumed_at(said: str) -> list[int]:
    """Steps at which a training was gone on with, from the lines of its progress."""
    return [int(step) for step in re.findall(r"resuming at step (\d+), ", said)]


def test_killed_workers_and_a_notice_change_no_weight(
    filled: Lake,
    unbroken: bytes,
    beside: ThreadPoolExecutor,
    ray_session: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(7)
    training: Future[Dataset] = beside.submit(
        run, filled, DAY, config(retries=2), seed=SEED, run_name=NAME
    )
    reached = []
    for harm in (
        lambda found: chance.choice(found).kill(),
        lambda found: [process.kill() for process in found] and None,
        lambda found: chance.choice(found).terminate(),
    ):
        harm_after(chance.randrange(5, 15), filled, 2, harm)
        reached.append(newest(filled))
    candidate = training.result(timeout=PATIENCE)
    assert weights(candidate) == unbroken
    assert_lost_nothing(filled, candidate)
    said = ""

    def resumed_thrice() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return len(resumed_at(said)) == 3

    wait_for(resumed_thrice, "what the workers said")
    assert resumed_at(said) == reached


def start_driver(recipe: Path, lake: Lake) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmcore.cli", "run", "train", "--recipe", str(recipe)]
    return subprocess.Popen(
        [*command, "--root", lake.root, "--day", DAY],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Stopped:
    """A training of two workers whose driver was told to end, and the step it stands at."""

    lake: Lake
    recipe: Path
    step: int

    def copy(self, folder: Path) -> Lake:
        """The lake, to be gone on with in another way."""
        shutil.copytree(self.lake.root, folder)
        return Lake(str(folder))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    recipe, lake = folder / "recipe.yaml", Lake(str(folder / "lake"))
    train = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in SETTINGS.items())
    recipe.write_text(
        f"name: {NAME}\nseed: {SEED}\nsources: [{{kind: folder, path: .}}]\n"
        f"cluster: {{cpus: 4}}\ntrain:\n{train}\n"
    )
    world.write_shards(lake, DAY, train=SAMPLES, val=0)
    driver = start_driver(recipe, lake)
    workers_after(random.Random(11).randrange(5, 15), lake, 2, psutil.Process(driver.pid))
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 128 + signal.SIGTERM
    assert "goes on from it" in said
    step = newest(lake)
    assert step < STEPS
    return Stopped(lake, recipe, step)


def test_a_stopped_and_a_killed_driver_are_gone_on_with(
    stopped: Stopped, unbroken: bytes, tmp_path: Path
) -> None:
    lake = stopped.copy(tmp_path / "lake")
    driver = start_driver(stopped.recipe, lake)
    chance = random.Random(13)
    orphans = workers_after(chance.randrange(1, 10), lake, 2, psutil.Process(driver.pid))
    driver.kill()
    chance.choice(orphans).kill()  # or both would be quick enough to finish without a driver
    driver.communicate(timeout=PATIENCE)
    wait_for(lambda: all_ended(orphans), "the end of its workers")
    killed_at = newest(lake)
    assert killed_at < STEPS

    driver = start_driver(stopped.recipe, lake)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, said
    assert resumed_at(said) == [killed_at]
    candidate = lake.dataset("candidate", DAY)
    assert weights(candidate) == unbroken
    assert_lost_nothing(lake, candidate)


def test_another_number_of_workers_goes_on_without_losing_a_visit(
    stopped: Stopped, beside: ThreadPoolExecutor, ray_session: None, tmp_path: Path
) -> None:
    """Also: a run without retries left says where it can go on."""
    lake = stopped.copy(tmp_path / "lake")
    training = beside.submit(run, lake, DAY, config(retries=0, workers=1), seed=SEED, run_name=NAME)
    harm_after(10, lake, 1, lambda found: found[0].kill())
    with pytest.raises(MmcoreError, match=r"checkpoint of step \d+ is kept in .*goes on"):
        training.result(timeout=PATIENCE)
    candidate = run(lake, DAY, config(workers={"min": 2, "max": 3}), seed=SEED, run_name=NAME)
    assert_lost_nothing(lake, candidate)
