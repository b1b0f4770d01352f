"""The samples of one split, numbered in storage order and read one by one.

`SampleStore` knows every sample from the indexes, as columns of about 40 bytes a sample, and reads
sample `i` with one ranged read. Samples are numbered in storage order (datasets in the order given,
then shards by number, then as they lie in the tar), which is what `mmcore.shards.order` permutes.
"""

from __future__ import annotations

import bisect
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset
from mmcore.shards.cache import ShardCache
from mmcore.shards.index import load_index, parse_name
from mmcore.shards.members import OnProblem, Problem, RawSample, ShardError, fail, split_sample
from mmcore.shards.writer import Sample

_OPEN_FILES = 256  # a window of the order spans 128 shards of the default size


@dataclass(frozen=True, eq=False)
class _Shard:
    """A tar and where its samples lie: UTF-8 keys, offsets and sizes [n], hashes uint8 [n, 32]
    where asked for."""

    dataset: Dataset
    part: int
    keys: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    hashes: NDArray[np.uint8] | None

    @property
    def where(self) -> str:
        """How messages name the shard."""
        return f"{self.dataset.label}/{self.dataset.parts[self.part].file}"

    def gone(self) -> bool:
        """Whether the lake no longer has the shard."""
        file = self.dataset.parts[self.part].file
        return not self.dataset.storage.exists(f"{self.dataset.manifest.folder}/{file}")

    def open_remote(self) -> pa.NativeFile:
        """The shard in the lake."""
        return self.dataset.open_part(self.part)


@dataclass
class SampleStore:
    """The samples of one split, read on demand. Threads may share one; picklable."""

    shards: list[_Shard]
    verify: bool = False
    cache: ShardCache | None = None
    _bounds: list[int] = field(init=False, repr=False)
    _files: OrderedDict[int, tuple[pa.NativeFile, bool]] = field(
        init=False, repr=False, default_factory=OrderedDict
    )
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._bounds = [0, *np.cumsum(self.sizes).tolist()]

    @classmethod
    def open(
        cls,
        datasets: Iterable[Dataset],
        split: str,
        verify: bool = False,
        cache: ShardCache | None = None,
    ) -> SampleStore:
        """All samples of `split` (`train`, `val`, `test`); reads the indexes only.

        `verify`: compare every sample with the hash in the index when it is read. `cache`: where
        shards that are not on a local disk are copied to.
        """
        shards = [shard for dataset in datasets for shard in _shards(dataset, split, verify)]
        return cls(shards, verify, cache)

    def __len__(self) -> int:
        return self._bounds[-1]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each shard, in storage order: what a `SampleOrder` asks for."""
        return np.array([len(shard.offsets) for shard in self.shards], np.int64)

    @property
    def keys(self) -> list[str]:
        """Keys in sample order."""
        return [key.decode() for shard in self.shards for key in shard.keys.tolist()]

    def raw(self, number: int) -> RawSample:
        """Sample `number` (0 <= number < len) as stored; `ShardError` where it cannot be read,
        `MmcoreError` where its shard was deleted: the other shards then go as well, so nobody may
        skip it."""
        at, row = self._locate(number)
        shard = self.shards[at]
        key, size = shard.keys[row].decode(), int(shard.sizes[row])
        try:
            data = self._file(at, shard).read_at(size, int(shard.offsets[row]))
        except OSError as error:
            if shard.gone():
                raise _deleted(shard.where) from error
            raise
        if len(data) < size:
            fail(Problem(shard.where, "truncated", f"the shard ends inside sample {key}"))
        if (
            shard.hashes is not None
            and hashlib.sha256(data).digest() != shard.hashes[row].tobytes()
        ):
            fail(Problem(shard.where, "wrong_checksum", f"sample {key} is not as it was written"))
        return split_sample(data, key, shard.where)

    def __getitem__(self, number: int) -> Sample:
        """Sample `number` with its labels decoded; `ShardError` where it cannot be read."""
        return self.raw(number).decode(self.where(number))

    def where(self, number: int) -> str:
        """The shard that holds a sample, for messages."""
        return self.shards[self._locate(number)[0]].where

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def _locate(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        at = bisect.bisect_right(self._bounds, number) - 1
        return at, number - self._bounds[at]

    def _file(self, at: int, shard: _Shard) -> pa.NativeFile:
        """The shard, from this disk if it is there; the file is closed once no thread reads it."""
        with self._lock:
            found = self._files.get(at)
        if found is None or not found[1]:  # opening may wait for the network: not under the lock
            found = self._open(shard, found)
        with self._lock:
            self._files[at] = found
            self._files.move_to_end(at)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        return found[0]

    def _open(
        self, shard: _Shard, remote: tuple[pa.NativeFile, bool] | None
    ) -> tuple[pa.NativeFile, bool]:
        """(file, whether it will stay the best one). A remote file gives way to its copy."""
        part = shard.dataset.parts[shard.part]
        location = shard.dataset.storage.location(f"{shard.dataset.manifest.folder}/{part.file}")
        if not urlsplit(location).scheme:
            return pa.OSFile(location), True
        if self.cache is not None:
            copy = self.cache.find(part.sha256)
            if copy is not None:
                try:
                    return pa.OSFile(str(copy)), True
                except FileNotFoundError:  # another process has just made room
                    pass
            self.cache.want(part.sha256, part.bytes, shard.open_remote)
        return remote or (shard.open_remote(), self.cache is None)

    def __getstate__(self) -> dict[str, object]:
        return {"shards": self.shards, "verify": self.verify, "cache": self.cache}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # open files and locks do not travel


class Skipped:
    """The samples that could not be read: counted, and each reported when it is first met."""

    def __init__(self, report: OnProblem, known: Mapping[int, Problem] | None = None) -> None:
        """known: samples that have been reported already."""
        self._report = report
        self._lock = threading.Lock()
        self.found: dict[int, Problem] = dict(known or {})

    def add(self, number: int, problem: Problem) -> None:
        """Sample `number` has been left out because of `problem`."""
        with self._lock:
            if number in self.found:
                return
            self.found[number] = problem
        self._report(problem)


def read_samples(
    datasets: Iterable[Dataset], split: str, on_problem: OnProblem = fail, verify: bool = False
) -> Iterator[Sample]:
    """Every sample of `split`, in storage order; unreadable ones go to `on_problem`."""
    store = SampleStore.open(datasets, split, verify)
    for number in range(len(store)):
        try:
            sample = store[number]
        except ShardError as error:
            on_problem(error.problem)
            continue
        yield sample


def _shards(dataset: Dataset, split: str, verify: bool) -> Iterator[_Shard]:
    files = [(parse_name(part.file), i) for i, part in enumerate(dataset.parts)]
    wanted = [(name, i) for name, i in files if name is not None and name.split == split]
    for name, i in sorted(wanted, key=lambda item: item[0].number):
        where = f"{dataset.label}/{name.index}"
        try:
            entries = load_index(dataset.read_file(name.index), where).samples
        except FileNotFoundError as error:
            raise _deleted(where) from error
        yield _Shard(
            dataset,
            i,
            # not Arrow arrays: making one of Python objects imports pandas, a third of a second
            np.array([entry.key.encode() for entry in entries], np.bytes_),
            np.array([entry.offset for entry in entries], np.int64),
            np.array([entry.size for entry in entries], np.int64),
            _digests([entry.sha256 for entry in entries]) if verify else None,
        )


def _deleted(where: str) -> MmcoreError:
    return MmcoreError(
        f"{where} of this version is gone: the shards were rewritten (a takedown) or swept; start "
        "again, with the current ones."
    )


def _digests(hexadecimal: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(hexadecimal)), np.uint8).reshape(-1, 32)
