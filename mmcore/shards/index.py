"""The index beside each tar: where every sample lies and what its bytes hash to.

`SPLIT-000000.index.json` holds `{"tar": name, "bytes": size of the tar, "samples": [...]}` with
`{"key", "offset", "size", "sha256"}` for each sample, in the order of the tar. A sample's range
covers all its members, headers included, so one ranged read fetches it and `sha256` checks it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from mmcore.errors import MmcoreError

_TAR = re.compile(r"(?P<split>[a-z]+)-(?P<number>\d{6,})\.tar\Z")


class SampleEntry(BaseModel):
    """One sample of a tar: `size` bytes from `offset`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    offset: NonNegativeInt
    size: NonNegativeInt
    sha256: str


class ShardIndex(BaseModel):
    """All samples of one tar."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tar: str
    bytes: NonNegativeInt
    samples: list[SampleEntry]


@dataclass(frozen=True)
class ShardName:
    """The parts of `SPLIT-000000.tar`."""

    split: str
    number: int

    @property
    def tar(self) -> str:
        return f"{self.split}-{self.number:06d}.tar"

    @property
    def index(self) -> str:
        return f"{self.split}-{self.number:06d}.index.json"


def parse_name(file: str) -> ShardName | None:
    """The shard a file name stands for, or None where it is not a tar of a split."""
    found = _TAR.match(file)
    return ShardName(found["split"], int(found["number"])) if found else None


def dump_index(index: ShardIndex) -> bytes:
    """The index as canonical JSON."""
    return dump_samples(index.tar, index.bytes, [entry.model_dump() for entry in index.samples])


def dump_samples(tar: str, size: int, samples: list[dict[str, str | int]]) -> bytes:
    """The index of a tar of `size` bytes whose samples have the fields of `SampleEntry`."""
    index = {"tar": tar, "bytes": size, "samples": samples}
    return json.dumps(index, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def load_index(data: bytes, name: str) -> ShardIndex:
    """The index of a file; `MmcoreError` where it is not one. `name` is for the message."""
    try:
        return ShardIndex.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise MmcoreError(f"{name} is not a shard index: {where}: {first['msg']}") from error
