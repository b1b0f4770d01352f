"""One driver at a time for one run: a record with a beating heart beside the checkpoints.

The owner rewrites `owner.json` every few seconds. Whoever finds a record of a process that has
ended here, or one that does not change while watched, takes the run over; whoever finds a living
owner is refused. No two machines' clocks are compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psutil

from mmcore.cluster import say
from mmcore.errors import MmcoreError
from mmcore.lake.storage import Conflict
from mmcore.train.run_folder import RunFolder

BEAT_SECONDS = 5.0
_BEATS_WATCHED = 3


@dataclass(frozen=True)
class Ownership:
    """run: the folder as its owner writes it. lost: set if another driver took the run over,
    because this process stood still."""

    run: RunFolder
    lost: threading.Event


@contextlib.contextmanager
def owned(run: RunFolder, beat_seconds: float = BEAT_SECONDS) -> Iterator[Ownership]:
    """Own the run for the block; MmcoreError where another driver does."""
    key = run.owner_key
    mine = _take(run, key, beat_seconds)
    ended, lost = threading.Event(), threading.Event()

    def beat() -> None:
        record: dict[str, Any] | None = mine
        silent = False
        while record is not None and not ended.wait(beat_seconds):
            try:
                record = _beat(run, key, record)
            except Exception as error:  # what does not answer now may do so at the next beat
                if not silent:
                    say("train", f"the owner of {run.location} cannot be written: {error}")
                silent = True
                continue
            silent = False
        if record is None:
            lost.set()

    thread = threading.Thread(target=beat, name="owner", daemon=True)
    thread.start()
    try:
        yield Ownership(replace(run, token=mine["token"]), lost)
    finally:
        ended.set()
        thread.join()
        if not lost.is_set():
            run.storage.delete(key)


def _beat(run: RunFolder, key: str, record: dict[str, Any]) -> dict[str, Any] | None:
    """The record of the owner after one more beat; None if that is no longer us."""
    after = record | {"beat": record["beat"] + 1}
    try:
        run.storage.write_if(key, _text(after), _text(record))
    except Conflict:
        # perhaps our own beat, which was written though its answer was lost
        found = _read(run, key)
        after = json.loads(found) if found is not None else {}
    return after if after.get("token") == record["token"] else None


def is_owned(run: RunFolder, beat_seconds: float = BEAT_SECONDS) -> bool:
    """Whether a living driver owns the run; watches some beats where it is of another machine."""
    key = run.owner_key
    found = _read(run, key)
    return found is not None and _alive(run, key, found, beat_seconds)


def _take(run: RunFolder, key: str, beat_seconds: float) -> dict[str, Any]:
    mine = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": psutil.Process().create_time(),
        "token": uuid.uuid4().hex,
        "beat": 0,
    }
    found = _read(run, key)
    if found is not None and _alive(run, key, found, beat_seconds):
        owner = json.loads(found)
        raise MmcoreError(
            f"The same training is at work already (process {owner['process']} on "
            f"{owner['host']}, {run.location}): wait for it, or stop it first."
        )
    try:
        run.storage.write_if(key, _text(mine), found)
    except Conflict:
        raise MmcoreError(
            f"The training in {run.location} was just taken on by another process."
        ) from None
    return mine


def _alive(run: RunFolder, key: str, found: bytes, beat_seconds: float) -> bool:
    """A process of this machine is looked up; of another, its heart must beat while we watch."""
    owner = json.loads(found)
    if owner["host"] != socket.gethostname():
        return _changes(run, key, found, beat_seconds * _BEATS_WATCHED)
    try:
        process = psutil.Process(owner["process"])
        same = abs(process.create_time() - owner["began"]) < 1  # a number may be used again
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _changes(run: RunFolder, key: str, found: bytes, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(1.0, seconds / 10))
        if _read(run, key) != found:
            return True
    return False


def _read(run: RunFolder, key: str) -> bytes | None:
    try:
        return run.storage.read(key)
    except FileNotFoundError:
        return None


def _text(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True).encode()
