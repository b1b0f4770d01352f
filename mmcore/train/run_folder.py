"""Where an unfinished training is kept: its checkpoints and, at its end, the finished model.

`runs/NAME/checkpoints/STEP/` holds a checkpoint's files and, written last, `checkpoint.json` with
the SHA-256 of each. Without that file a checkpoint is not there, so one that was half-written at a
kill is never seen; one whose files are not what it says is passed over for the one before it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmcore.errors import MmcoreError
from mmcore.lake.storage import Storage, sha256_hex

if TYPE_CHECKING:
    from mmcore.train.checkpoint import Snapshot

KEPT = 2
_MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder ``runs/NAME`` of a lake. Picklable.

    token: of the driver for whom it is written (mmcore.train.owner). Once another driver owns the
    run, nothing is written: workers may live on for a while after their driver was killed.
    """

    storage: Storage
    name: str
    token: str = ""

    @property
    def prefix(self) -> str:
        """The folder's key."""
        return f"runs/{self.name}"

    @property
    def location(self) -> str:
        """The folder's path or URI, for people."""
        return self.storage.location(self.prefix)

    @property
    def owner_key(self) -> str:
        """Where the record of the run's driver is."""
        return f"{self.prefix}/owner.json"

    def write(self, step: int, files: Mapping[str, bytes]) -> None:
        """Add the checkpoint of a step, then remove all but the newest ``KEPT``; MmcoreError where
        the run is no longer ours."""
        self._check_owner()
        folder = self._folder(step)
        if not self.storage.exists(f"{folder}/{_MANIFEST}"):
            for name, data in files.items():
                self._put(f"{folder}/{name}", data)
            manifest = {name: sha256_hex(data) for name, data in files.items()}
            self.storage.write(f"{folder}/{_MANIFEST}", json.dumps(manifest).encode())
        for old in self.steps()[:-KEPT]:
            self._remove(old)

    def steps(self) -> list[int]:
        """Steps that have a complete checkpoint, ascending."""
        keys = self.storage.keys(f"{self.prefix}/checkpoints")
        return sorted(int(key.split("/")[-2]) for key in keys if key.endswith(f"/{_MANIFEST}"))

    def read(self, step: int) -> dict[str, bytes]:
        """A checkpoint's files; MmcoreError if one is missing or not what was written."""
        folder = self._folder(step)
        try:
            manifest = json.loads(self.storage.read(f"{folder}/{_MANIFEST}"))
            files = {name: self.storage.read(f"{folder}/{name}") for name in manifest}
        except (FileNotFoundError, ValueError) as error:
            raise MmcoreError(f"the checkpoint of step {step} is not complete: {error}") from error
        for name, data in files.items():
            if sha256_hex(data) != manifest[name]:
                raise MmcoreError(f"the checkpoint of step {step} is damaged: {name}")
        return files

    def newest(self, say: Callable[[str], None]) -> int | None:
        """The newest step whose checkpoint is whole; those after it are removed and named."""
        for step in reversed(self.steps()):
            try:
                self.read(step)
            except MmcoreError as error:
                say(f"{error}; going back to the one before it")
                self._remove(step)
                continue
            return step
        return None

    def write_result(self, files: Mapping[str, bytes]) -> None:
        """Store the finished model's files; MmcoreError where the run is no longer ours."""
        self._check_owner()
        for name, data in files.items():
            self._put(f"{self.prefix}/result/{name}", data)

    def result(self) -> dict[str, bytes]:
        """The finished model's files: name -> content."""
        keys = self.storage.keys(f"{self.prefix}/result")
        return {key.rsplit("/", 1)[1]: self.storage.read(key) for key in keys}

    def _check_owner(self) -> None:
        if not self.token:
            return
        try:
            owner = json.loads(self.storage.read(self.owner_key))["token"]
        except FileNotFoundError:
            owner = ""
        if owner != self.token:
            raise MmcoreError(f"{self.location} is no longer the run of this driver.")

    def _put(self, key: str, data: bytes) -> None:
        sink = self.storage.create(key)  # in pieces: S3 takes no single object above 5 GB
        try:
            sink.write(data)
            sink.commit()
        finally:
            sink.abort()

    def _folder(self, step: int) -> str:
        return f"{self.prefix}/checkpoints/{step:010d}"

    def _remove(self, step: int) -> None:
        # the manifest first: what is removed by half must not look whole
        self.storage.delete(f"{self._folder(step)}/{_MANIFEST}")
        self.storage.delete(self._folder(step))


class BackgroundWriter:
    """Writes checkpoints beside the training loop, one at a time."""

    def __init__(self, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def idle(self) -> bool:
        """Whether nothing is being written."""
        return self._thread is None or not self._thread.is_alive()

    def begin(self, snapshot: Snapshot) -> None:
        """Begin to write; waits for the one before, where that is not done yet.

        A checkpoint that cannot be written costs a line, not the training: the next may succeed.
        """
        self._join()
        if self._error is not None:
            self._say(f"a checkpoint could not be written: {self._error}")
            self._error = None
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for what is being written; raises MmcoreError if it could not be."""
        self._join()
        if self._error is not None:
            raise MmcoreError(f"The last checkpoint could not be written: {self._error}")

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._folder.write(snapshot.step, snapshot.files())
        except Exception as error:  # a full disk, a storage that does not answer
            self._error = error
