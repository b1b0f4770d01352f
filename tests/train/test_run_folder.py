"""Checkpoints on storage: whole or not there; the newest sound one counts; one driver at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmcore.errors import MmcoreError
from mmcore.lake import Lake
from mmcore.lake.storage import LocalStorage, Storage
from mmcore.train.checkpoint import Snapshot
from mmcore.train.owner import is_owned, owned
from mmcore.train.run_folder import BackgroundWriter, RunFolder


@pytest.fixture
def folder(lake: Lake) -> RunFolder:
    return RunFolder(lake.storage, "model-2026-11-23-0123456789abcdef")


def content(step: int) -> dict[str, bytes]:
    return {"state.json": b"%d" % step, "state.safetensors": bytes(1000)}


def path(folder: RunFolder, step: int, file: str) -> Path:
    return Path(folder.location, "checkpoints", f"{step:010d}", file)


def test_the_newest_two_checkpoints_are_kept(folder: RunFolder) -> None:
    for step in (3, 20, 100):
        folder.write(step, content(step))
    assert folder.steps() == [20, 100]
    assert folder.read(100) == content(100)
    assert not path(folder, 3, "").exists()


def test_a_half_written_checkpoint_is_never_gone_on_from(folder: RunFolder) -> None:
    folder.write(1, content(1))
    folder.write(2, content(2))
    path(folder, 2, "checkpoint.json").unlink()  # what a kill before the last write leaves
    assert folder.newest(pytest.fail) == 1
    folder.write(2, content(2))
    assert folder.newest(pytest.fail) == 2


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(folder: RunFolder, harm: str) -> None:
    folder.write(1, content(1))
    folder.write(2, content(2))
    file = path(folder, 2, "state.safetensors")
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(bytes(999) + b"x" if harm == "flipped" else bytes(10))
    said: list[str] = []
    assert folder.newest(said.append) == 1
    assert len(said) == 1 and "step 2" in said[0] and "the one before it" in said[0]
    folder.write(2, content(2))  # what was damaged is written anew, not believed
    assert folder.newest(pytest.fail) == 2


def test_checkpoints_live_on_s3_too(s3_lake: Lake) -> None:
    folder = RunFolder(s3_lake.storage, "model")
    for step in (1, 2, 3):
        folder.write(step, content(step))
    assert folder.steps() == [2, 3] and folder.newest(pytest.fail) == 3
    folder.write_result({"config.json": b"{}"})
    assert folder.result() == {"config.json": b"{}"}
    with owned(folder):
        assert is_owned(folder)
    assert not is_owned(folder)


class Slow(LocalStorage):
    """A disk that waits until it is told to go on, and may be full."""

    go = threading.Event()
    full = False

    def create(self, key: str) -> Any:
        self.go.wait(10)
        if type(self).full:
            raise OSError("No space left on device")
        return super().create(key)


@pytest.fixture
def slow(tmp_path: Path) -> RunFolder:
    Slow.go, Slow.full = threading.Event(), False
    return RunFolder(Slow(str(tmp_path)), "model")


def test_the_loop_does_not_wait_for_the_disk(slow: RunFolder) -> None:
    writer = BackgroundWriter(slow, pytest.fail)
    assert writer.idle()
    writer.begin(Snapshot(1, {}, "{}"))
    assert not writer.idle() and slow.steps() == []
    Slow.go.set()
    writer.finish()
    assert writer.idle() and slow.steps() == [1]


def test_a_checkpoint_that_cannot_be_written_is_said_and_the_last_one_is_an_error(
    slow: RunFolder,
) -> None:
    said: list[str] = []
    writer = BackgroundWriter(slow, said.append)
    Slow.go.set()
    Slow.full = True
    writer.begin(Snapshot(1, {}, "{}"))
    writer.begin(Snapshot(2, {}, "{}"))
    assert len(said) == 1 and "No space left" in said[0]
    with pytest.raises(MmcoreError, match="No space left"):
        writer.finish()


def test_a_run_has_one_driver_at_a_time(folder: RunFolder) -> None:
    with owned(folder):
        with pytest.raises(MmcoreError, match="at work already"), owned(folder):
            pytest.fail("two drivers")
        assert is_owned(folder)
    with owned(folder):  # what was left properly can be taken at once
        assert is_owned(folder)


def test_a_run_whose_driver_was_killed_is_taken_over(folder: RunFolder) -> None:
    code = (
        "import os, sys; from mmcore.lake.storage import LocalStorage; "
        "from mmcore.train.owner import owned; from mmcore.train.run_folder import RunFolder\n"
        "with owned(RunFolder(LocalStorage(sys.argv[1]), sys.argv[2])): os.kill(os.getpid(), 9)"
    )
    uri = folder.storage.uri
    assert subprocess.run([sys.executable, "-c", code, uri, folder.name], check=False).returncode
    assert folder.storage.exists(f"{folder.prefix}/owner.json")
    assert not is_owned(folder)
    with owned(folder):
        assert is_owned(folder)


def test_a_driver_elsewhere_is_believed_as_long_as_its_heart_beats(folder: RunFolder) -> None:
    record = {"host": "another", "process": 1, "began": 0.0, "beat": 0}
    key, done = f"{folder.prefix}/owner.json", threading.Event()

    def beat(storage: Storage) -> None:
        while not done.wait(0.05):
            record["beat"] = int(str(record["beat"])) + 1
            storage.write(key, json.dumps(record).encode())

    folder.storage.write(key, json.dumps(record).encode())
    thread = threading.Thread(target=beat, args=(folder.storage,))
    thread.start()
    with pytest.raises(MmcoreError, match="process 1 on another"), owned(folder, beat_seconds=0.4):
        pytest.fail("two drivers")
    assert is_owned(folder, beat_seconds=0.4)
    done.set()
    thread.join()
    assert not is_owned(folder, beat_seconds=0.1)
    with owned(folder, beat_seconds=0.1):
        assert b"another" not in folder.storage.read(key)


def test_a_driver_that_stood_still_learns_that_it_was_replaced(folder: RunFolder) -> None:
    with owned(folder, beat_seconds=0.05) as ours:
        ours.run.write(1, content(1))
        folder.storage.write(folder.owner_key, b'{"host": "another", "token": "theirs"}')
        assert ours.lost.wait(10)
        for write in (partial(ours.run.write, 2), ours.run.write_result):
            with pytest.raises(MmcoreError, match="no longer the run of this driver"):
                write(content(2))
    assert folder.steps() == [1]
    assert folder.storage.exists(f"{folder.prefix}/owner.json")  # the other's, left alone
