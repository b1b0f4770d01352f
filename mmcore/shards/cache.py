"""Local copies of remote shards, within a budget of bytes; any number of processes may share one.

A copy is named by the SHA-256 of the shard, so it serves every snapshot that holds the same shard.
It is written under a temporary name that its writer keeps locked (flock, which the kernel frees
when the writer is killed), at its full length from the start, so that its room is taken, and
renamed when complete. Room is made by removing the copies that were opened longest ago; who has one
open goes on reading it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

_CHUNK = 4 << 20
_FETCHERS = 2
_MOST_WAITING = 1024
_SUFFIX = ".partial"
_log = logging.getLogger(__name__)

Open = Callable[[], pa.NativeFile]


class ShardCache:
    """Copies in `folder`, of `budget` bytes together; picklable."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget = folder, budget
        self._wanted: queue.Queue[tuple[str, int, Open]] = queue.Queue(_MOST_WAITING)
        self._known: set[str] = set()
        self._fetchers: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ShardCache], tuple[Path, int]]:
        return ShardCache, (self.folder, self.budget)

    def find(self, sha256: str) -> Path | None:
        """The complete copy of a shard, which now counts as used, or None."""
        path = self.folder / sha256
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def want(self, sha256: str, size: int, open_remote: Open) -> None:
        """Fetch a shard in the background, unless it waits already or is larger than the budget.

        A fetch that fails is logged and leaves the reader with its ranged reads.
        """
        with self._lock:
            if size > self.budget or sha256 in self._known:
                return
            try:
                self._wanted.put_nowait((sha256, size, open_remote))
            except queue.Full:
                return
            self._known.add(sha256)
            if len(self._fetchers) < _FETCHERS:
                # a daemon: a program that ends does not wait for copies that nobody reads
                thread = threading.Thread(target=self._work, name="shard-cache", daemon=True)
                thread.start()
                self._fetchers.append(thread)

    def drain(self) -> None:
        """Wait until every shard that was wanted has been fetched or given up."""
        self._wanted.join()

    def fetch(self, sha256: str, size: int, open_remote: Open) -> bool:
        """Copy a shard of `size` bytes; False where another process is at it, where unfinished
        copies take all the room, or where the bytes differ."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / sha256
        partial = path.with_name(sha256 + _SUFFIX)
        with _exclusive(partial) as file:
            if file is None or path.exists():
                return False
            file.truncate(size)
            if not self._make_room():
                return False
            digest = hashlib.sha256()
            with open_remote() as remote:
                while chunk := remote.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                _log.warning("shard %s did not arrive as it was written", sha256)
                return False
            file.flush()
            os.replace(partial, path)
            return True

    def _work(self) -> None:
        while True:
            sha256, size, open_remote = self._wanted.get()
            try:
                self.fetch(sha256, size, open_remote)
            except OSError as error:
                _log.warning("shard %s cannot be copied to %s: %s", sha256, self.folder, error)
            finally:
                with self._lock:
                    self._known.discard(sha256)
                self._wanted.task_done()

    def _make_room(self) -> bool:
        """Remove copies until all that are here, unfinished ones included, fit; whether they do."""
        with _alone(self.folder):
            found = list(_entries(self.folder))
            total = sum(stat.st_size for _, stat in found)
            for path, stat in sorted(found, key=lambda entry: entry[1].st_mtime_ns):
                if total <= self.budget:
                    break
                if path.suffix == _SUFFIX and not _abandoned(path):
                    continue
                path.unlink(missing_ok=True)
                total -= stat.st_size
            return total <= self.budget


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.iterdir():
        if not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                yield path, path.stat()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the whole cache, for moments only."""
    with open(folder / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[BinaryIO | None]:
    """The file, created and locked, or None where another process has it; gone afterwards."""
    with contextlib.ExitStack() as opened:
        # a file that is created and not locked yet looks abandoned: nobody may make room meanwhile
        with _alone(path.parent):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            file = opened.enter_context(os.fdopen(handle, "r+b"))
            mine = _lock(file) and _is_at(file, path)
        if not mine:
            yield None
            return
        file.truncate(0)  # what a killed writer has left
        try:
            yield file
        finally:
            if _is_at(file, path):  # not after a rename: then it may be of another writer
                path.unlink()


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _abandoned(path: Path) -> bool:
    """Whether nobody is writing an unfinished copy any more."""
    try:
        with open(path, "rb") as file:
            return _lock(file)
    except FileNotFoundError:
        return False
