"""The manifest: what a dataset is made of, and the digests that name it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mmcore.lake.storage import sha256_hex

Format = Literal["parquet", "tar", "files"]


class Part(BaseModel):
    """One file of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    """Name inside the dataset's folder."""
    rows: int
    bytes: int
    sha256: str
    """Of the file, for integrity."""
    content_sha256: str
    """Of the content without volatile columns; the same as `sha256` where there are none."""
    extra: dict[str, Any] = {}
    """What the stage wants to say about this part, e.g. the split of a shard."""


class Parent(BaseModel):
    """A dataset this one was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    digest: str


class Manifest(BaseModel):
    """Everything known about a committed dataset. Immutable; written before the pointer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    partition: str | None
    format: Format
    digest: str
    """SHA-256 of the content: name, format and each part's rows and content digest."""
    fingerprint: str
    """SHA-256 of what it was made from: config, parents' digests, code version."""
    folder: str
    """Key of the folder that holds the parts."""
    rows: int
    bytes: int
    parts: list[Part]
    columns: dict[str, str]
    """Column name to Arrow type; empty where the parts are not tables."""
    config: dict[str, Any]
    parents: list[Parent]
    code_version: str
    created_at: str
    metadata: dict[str, Any]

    @property
    def label(self) -> str:
        """`NAME@PARTITION`, or `NAME` where it has none."""
        return label(self.name, self.partition)


def label(name: str, partition: str | None) -> str:
    """How a dataset is written on the command line."""
    return f"{name}@{partition}" if partition else name


def content_digest(name: str, format: Format, parts: list[Part]) -> str:
    """The dataset's name by content: parts in order, so that a reordering is a change."""
    body = [name, format, [[part.file, part.rows, part.content_sha256] for part in parts]]
    return sha256_hex(json.dumps(body, separators=(",", ":")).encode())


def input_fingerprint(
    name: str, config: dict[str, Any], parents: list[Parent], code_version: str
) -> str:
    """What a dataset would be made from: equal fingerprints mean that nothing needs to run."""
    body = [name, config, [[p.label, p.digest] for p in parents], code_version]
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
