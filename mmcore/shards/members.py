"""From the bytes of a tar to samples: what is sound is read, what is not gets a reason.

`split_sample` takes one sample's range of our own shards apart; `read_tar` reads any WebDataset
tar, ours or not, without an index.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from mmcore.errors import MmcoreError
from mmcore.shards.tarformat import BLOCK, Member, TarError, scan
from mmcore.shards.writer import Sample

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
MAX_MEMBER_BYTES = 256 << 20


@dataclass(frozen=True)
class Problem:
    """One sample or archive that cannot be read.

    Reasons: `truncated`, `bad_header` (the archive is lost from there on), `not_a_file`,
    `duplicate_member`, `too_large` (a member is left out), `missing_image`, `bad_json`,
    `wrong_checksum` (a sample is left out), `decode_error` (its image cannot be decoded).
    """

    where: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail} ({self.reason})"


class ShardError(MmcoreError):
    """A shard holds something unreadable and nobody asked to skip it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[type[ShardError], tuple[Problem]]:
        return ShardError, (self.problem,)


OnProblem = Callable[[Problem], None]


def fail(problem: Problem) -> None:
    """The default for `on_problem`: raise `ShardError`. Pass `list.append` to skip and collect."""
    raise ShardError(problem)


class RawSample(NamedTuple):
    """A sample as it is stored: encoded image, caption and labels (`b""` where there are none)."""

    key: str
    image: bytes
    text: bytes
    json: bytes

    def decode(self, where: str) -> Sample:
        """With text and labels decoded; `ShardError` where the labels are not a JSON object."""
        try:
            labels = json.loads(self.json or b"{}")
        except (ValueError, RecursionError):
            labels = None
        if not isinstance(labels, dict):
            fail(Problem(where, "bad_json", f"the labels of {self.key!r} are not a JSON object"))
        return Sample(self.key, self.image, self.text.decode("utf-8", "replace"), labels)


def split_sample(data: bytes, key: str, where: str) -> RawSample:
    """The one sample that `data`, its range of a tar, holds; `ShardError` where it is another."""
    members = _plain_members(data, key)
    if members is None:  # a long name, another writer, or damage: the careful reader says which
        found = list(_raw_samples(io.BytesIO(data), where, fail, len(data)))
        if len(found) != 1 or found[0].key != key:
            fail(Problem(where, "wrong_checksum", f"the index does not point at {key}"))
        return found[0]
    return _assemble(key, members, where)


def read_tar(file: BinaryIO, name: str, on_problem: OnProblem = fail) -> Iterator[Sample]:
    """Samples of any WebDataset tar, in order; `name` is for messages.

    Members of a sample stand side by side and share a name up to the last dot, so keys may hold
    dots and folders. The image may be any of `IMAGE_EXTENSIONS`; a missing `.txt` reads as "", a
    missing `.json` as {}; members with other extensions are ignored.
    """
    for raw in _raw_samples(file, name, on_problem, None):
        try:
            yield raw.decode(name)
        except ShardError as error:
            on_problem(error.problem)


def _plain_members(data: bytes, key: str) -> dict[str, bytes] | None:
    """Content by extension of a sample as our writer packs it; None where anything differs.

    Ten times faster than `scan`: one pass without a file, and a header's checksum is compared
    modulo 255, which is what the bytes of a header, read as one number, leave over.
    """
    start = f"{key}.".encode()
    at, end = 0, len(data)
    members: dict[str, bytes] = {}
    while at < end:
        header = data[at : at + BLOCK]
        stored, digits = header[148:154], header[124:135]
        if (
            len(header) < BLOCK
            or not header.startswith(start)
            or header[156:157] != b"0"
            or header[257:265] != b"ustar\x0000"
            or header[345] != 0
            or not (digits.isdigit() and stored.isdigit())
        ):
            return None
        name = header[len(start) : header.find(0, len(start))]
        try:
            size, checksum = int(digits, 8), int(stored, 8)
            extension = name.decode("ascii").lower()
        except ValueError:
            return None
        rest = int.from_bytes(header[:148] + header[156:], "big")
        content = at + BLOCK
        at = content + size + -size % BLOCK
        odd = b"." in name or extension in members or size > MAX_MEMBER_BYTES
        if odd or at > end or (rest + 8 * ord(" ") - checksum) % 255:
            return None
        members[extension] = data[content : content + size]
    return members


def _raw_samples(
    file: BinaryIO, name: str, on_problem: OnProblem, end: int | None
) -> Iterator[RawSample]:
    key, members = "", dict[str, bytes]()
    for next_key, extension, content in _files(file, name, on_problem, end):
        if members and next_key != key:
            yield from _sound(key, members, name, on_problem)
            members = {}
        key = next_key
        if extension in members:
            detail = f"{key}.{extension} appears twice in a row"
            on_problem(Problem(name, "duplicate_member", detail))
            continue
        members[extension] = content
    if members:
        yield from _sound(key, members, name, on_problem)


def _sound(
    key: str, members: dict[str, bytes], name: str, on_problem: OnProblem
) -> Iterator[RawSample]:
    try:
        yield _assemble(key, members, name)
    except ShardError as error:
        on_problem(error.problem)


def _assemble(key: str, members: dict[str, bytes], where: str) -> RawSample:
    image = next((members[e] for e in IMAGE_EXTENSIONS if members.get(e)), None)
    if image is None:
        raise ShardError(Problem(where, "missing_image", f"sample {key!r} has no image"))
    return RawSample(key, image, members.get("txt", b""), members.get("json", b""))


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
