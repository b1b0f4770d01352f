"""Reading samples back: in storage order, or any of them by number.

`SampleStore` opens the shards of one split of some datasets, knows every sample from the indexes
and reads sample `i` with one ranged read; samples are numbered in storage order (datasets in the
order given, then shards by number, then keys), which is what `mmcore.shards.order` permutes.
`read_tar` reads any WebDataset tar, ours or not, without an index.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset
from mmcore.shards.index import SampleEntry, load_index, parse_name
from mmcore.shards.tarformat import Member, TarError, scan
from mmcore.shards.writer import Sample

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
MAX_MEMBER_BYTES = 256 << 20
_OPEN_FILES = 64


@dataclass(frozen=True)
class Problem:
    """One sample or archive that cannot be read.

    Reasons: `truncated`, `bad_header` (the archive is lost from there on), `not_a_file`,
    `duplicate_member`, `too_large` (a member is left out), `missing_image`, `bad_json`,
    `wrong_checksum` (a sample is left out).
    """

    where: str
    reason: str
    detail: str


class ShardError(MmcoreError):
    """A shard holds something unreadable and nobody asked to skip it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.where}: {problem.detail} ({problem.reason})")
        self.problem = problem


OnProblem = Callable[[Problem], None]


def fail(problem: Problem) -> None:
    """The default for `on_problem`: raise `ShardError`. Pass `list.append` to skip and collect."""
    raise ShardError(problem)


@dataclass
class _Shard:
    dataset: Dataset
    part: int
    file: str
    samples: list[SampleEntry]


@dataclass
class SampleStore:
    """The samples of one split, numbered from 0, read on demand. Threads may share one."""

    shards: list[_Shard]
    verify: bool = False
    _bounds: np.ndarray = field(init=False, repr=False)
    _files: OrderedDict[int, pa.NativeFile] = field(
        init=False, repr=False, default_factory=OrderedDict
    )
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._bounds = np.cumsum([0, *(len(shard.samples) for shard in self.shards)])

    @classmethod
    def open(cls, datasets: Iterable[Dataset], split: str, verify: bool = False) -> SampleStore:
        """All samples of `split` (`train`, `val`, `test`); reads the indexes only.

        `verify`: compare every sample with the hash in the index when it is read.
        """
        return cls([shard for ds in datasets for shard in _shards(ds, split)], verify)

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def keys(self) -> list[str]:
        """Keys in sample order."""
        return [entry.key for shard in self.shards for entry in shard.samples]

    def __getitem__(self, number: int) -> Sample:
        """Sample `number` (0 <= number < len); `ShardError` where it cannot be read."""
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        at = int(np.searchsorted(self._bounds, number, side="right")) - 1
        shard = self.shards[at]
        return self._read(at, shard, shard.samples[number - int(self._bounds[at])])

    def _read(self, at: int, shard: _Shard, entry: SampleEntry) -> Sample:
        where = f"{shard.dataset.label}/{shard.file}"
        data = self._file(at, shard).read_at(entry.size, entry.offset)
        if self.verify and hashlib.sha256(data).hexdigest() != entry.sha256:
            fail(Problem(where, "wrong_checksum", f"sample {entry.key} is not as it was written"))
        found = list(_samples(io.BytesIO(data), where, fail, len(data)))
        if len(found) != 1 or found[0].key != entry.key:
            fail(Problem(where, "wrong_checksum", f"the index does not point at {entry.key}"))
        return found[0]

    def _file(self, at: int, shard: _Shard) -> pa.NativeFile:
        with self._lock:
            if at not in self._files:
                self._files[at] = shard.dataset.open_part(shard.part)
            self._files.move_to_end(at)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)  # closed once no thread reads it any more
            return self._files[at]

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, object]:
        return {"shards": self.shards, "verify": self.verify}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # open files and locks do not travel


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


def read_tar(file: BinaryIO, name: str, on_problem: OnProblem = fail) -> Iterator[Sample]:
    """Samples of any WebDataset tar, in order; `name` is for messages.

    Members of a sample stand side by side and share a name up to the last dot, so keys may hold
    dots and folders. The image may be any of `IMAGE_EXTENSIONS`; a missing `.txt` reads as "", a
    missing `.json` as {}; members with other extensions are ignored.
    """
    yield from _samples(file, name, on_problem, None)


def _shards(dataset: Dataset, split: str) -> Iterator[_Shard]:
    files = [(parse_name(part.file), i) for i, part in enumerate(dataset.parts)]
    wanted = [(name, i) for name, i in files if name is not None and name.split == split]
    for name, i in sorted(wanted, key=lambda item: item[0].number):
        index = load_index(dataset.read_file(name.index), f"{dataset.label}/{name.index}")
        yield _Shard(dataset, i, name.tar, index.samples)


def _samples(file: BinaryIO, name: str, on_problem: OnProblem, end: int | None) -> Iterator[Sample]:
    key, members = "", dict[str, bytes]()
    for next_key, extension, content in _files(file, name, on_problem, end):
        if members and next_key != key:
            yield from _build(key, members, name, on_problem)
            members = {}
        key = next_key
        if extension in members:
            detail = f"{key}.{extension} appears twice in a row"
            on_problem(Problem(name, "duplicate_member", detail))
            continue
        members[extension] = content
    if members:
        yield from _build(key, members, name, on_problem)


def _files(
    file: BinaryIO, name: str, on_problem: OnProblem, end: int | None
) -> Iterator[tuple[str, str, bytes]]:
    """(key, extension, content) of the regular files of an archive."""
    members = scan(file, 0, end)
    while True:
        try:
            member = next(members)
        except StopIteration:
            return
        except TarError as error:
            on_problem(Problem(name, error.reason, str(error)))
            return
        problem = _refused(member, name)
        if problem is not None:
            on_problem(problem)
        elif member.is_file and "." in member.name.rsplit("/", 1)[-1]:
            file.seek(member.offset)
            key, _, extension = member.name.rpartition(".")
            yield key, extension.lower(), file.read(member.size)


def _refused(member: Member, name: str) -> Problem | None:
    if member.size > MAX_MEMBER_BYTES:
        detail = f"{member.name!r} has {member.size} bytes"
        return Problem(name, "too_large", detail)
    if not member.is_file and member.kind != "5":  # folders are harmless
        return Problem(name, "not_a_file", f"{member.name!r} is a link or a device")
    return None


def _build(
    key: str, members: dict[str, bytes], name: str, on_problem: OnProblem
) -> Iterator[Sample]:
    image = next((members[e] for e in IMAGE_EXTENSIONS if members.get(e)), None)
    if image is None:
        on_problem(Problem(name, "missing_image", f"sample {key!r} has no image"))
        return
    try:
        labels = json.loads(members.get("json", b"{}"))
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict):
        on_problem(Problem(name, "bad_json", f"the labels of {key!r} are not a JSON object"))
        return
    yield Sample(key, image, members.get("txt", b"").decode("utf-8", "replace"), labels)
