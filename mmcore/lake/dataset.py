"""Immutable datasets: read one, write one.

On storage (`ROOT` is a local path or an s3:// prefix):

    ROOT/NAME/PARTITION/ATTEMPT/part-00000.parquet …   the parts, one folder an attempt
    ROOT/NAME/PARTITION/manifests/DIGEST.json          what they are
    ROOT/NAME/PARTITION/current.json                   which manifest is the dataset: written last

A writer that dies leaves an attempt folder nobody points to; `Lake.sweep` removes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcore.errors import MmcoreError
from mmcore.lake.manifest import (
    Format,
    Manifest,
    Parent,
    Part,
    content_digest,
    input_fingerprint,
)
from mmcore.lake.parquet import parquet_bytes
from mmcore.lake.storage import Sink, Storage, sha256_hex
from mmcore.lake.version import code_version


@dataclass(frozen=True)
class Dataset:
    """A committed dataset. Nothing about it ever changes."""

    storage: Storage
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def label(self) -> str:
        return self.manifest.label

    @property
    def parts(self) -> list[Part]:
        return self.manifest.parts

    @property
    def rows(self) -> int:
        return self.manifest.rows

    @property
    def metadata(self) -> dict[str, Any]:
        return self.manifest.metadata

    def read_part(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """One part as a table; `columns` in the order asked for."""
        with self.open_part(index) as file:
            return pq.ParquetFile(file).read(columns=columns)

    def iter_parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts in order, one in memory at a time."""
        for index in range(len(self.parts)):
            yield self.read_part(index, columns)

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The whole dataset: for keys and attributes, never for image bytes of a large corpus."""
        tables = list(self.iter_parts(columns))
        if not tables:
            raise MmcoreError(f"{self.label} has no parts to read.")
        return pa.concat_tables(tables)

    def read_file(self, name: str) -> bytes:
        """Bytes of one part by its file name."""
        return self.storage.read(f"{self.manifest.folder}/{name}")

    def open_part(self, index: int) -> pa.NativeFile:
        """Random access to one part."""
        return self.storage.open(f"{self.manifest.folder}/{self.parts[index].file}")

    def paths(self) -> list[str]:
        """Absolute paths or s3:// URIs of the parts."""
        return [self.storage.location(f"{self.manifest.folder}/{p.file}") for p in self.parts]

    def download(self, folder: Path) -> Path:
        """Copy every part into a local folder and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        for part in self.parts:
            target = folder / part.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read_file(part.file))
        return folder

    def verify(self) -> None:
        """Compare every part with the manifest; MmcoreError at the first that differs."""
        for part, path in zip(self.parts, self.paths(), strict=True):
            if sha256_hex(self.read_file(part.file)) != part.sha256:
                raise MmcoreError(f"{path} is not what {self.label} was committed with.")


class PartStream:
    """A part as it grows. Its SHA-256 is computed on the way: it is never read again."""

    def __init__(self, filename: str, sink: Sink) -> None:
        self._filename = filename
        self._sink = sink
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        self._sink.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def commit(self, rows: int = 0, extra: dict[str, Any] | None = None) -> Part:
        """Finish the file; the part for `DatasetWriter.commit`."""
        self._sink.commit()
        digest = self._hash.hexdigest()
        return Part(
            file=self._filename,
            rows=rows,
            bytes=self._bytes,
            sha256=digest,
            content_sha256=digest,
            extra=extra or {},
        )

    def abort(self) -> None:
        """Remove what was written; nothing happens after `commit`."""
        self._sink.abort()


@dataclass(frozen=True)
class DatasetWriter:
    """Writes the parts of one attempt, from any process, then commits them. Picklable."""

    storage: Storage
    name: str
    partition: str | None
    format: Format
    attempt: str
    volatile: tuple[str, ...] = field(default=())
    """Columns that are stored but not part of the digest."""

    @property
    def folder(self) -> str:
        return f"{base_key(self.name, self.partition)}/{self.attempt}"

    def write_table(self, index: int, table: pa.Table) -> Part:
        """Write part `index`. Writing an index again replaces it, so a task may be retried."""
        data = parquet_bytes(table)
        stable = table.drop_columns([c for c in self.volatile if c in table.column_names])
        columns = {f.name: str(f.type) for f in table.schema}
        part = self._write(f"part-{index:05d}.parquet", data, table.num_rows, {"columns": columns})
        if stable.num_columns == table.num_columns:
            return part
        return part.model_copy(update={"content_sha256": sha256_hex(parquet_bytes(stable))})

    def read_table(self, part: Part, columns: list[str] | None = None) -> pa.Table:
        """A table this attempt has written, before it is committed."""
        with self.storage.open(f"{self.folder}/{part.file}") as file:
            return pq.ParquetFile(file).read(columns=columns)

    def write_file(
        self, filename: str, data: bytes, rows: int = 0, extra: dict[str, Any] | None = None
    ) -> Part:
        """Write a part that is not a table: a tar, a model's weights, a report."""
        return self._write(filename, data, rows, extra or {})

    def stream_file(self, filename: str) -> PartStream:
        """A part that is written piece by piece, for what is larger than memory should be."""
        return PartStream(filename, self.storage.create(f"{self.folder}/{filename}"))

    def copy_part(self, dataset: Dataset, part: Part) -> Part:
        """A part of an earlier attempt in this one, byte for byte, without reading it."""
        source = f"{dataset.manifest.folder}/{part.file}"
        self.storage.copy(source, f"{self.folder}/{part.file}")
        return part

    def _write(self, filename: str, data: bytes, rows: int, extra: dict[str, Any]) -> Part:
        self.storage.write(f"{self.folder}/{filename}", data)
        digest = sha256_hex(data)
        return Part(
            file=filename,
            rows=rows,
            bytes=len(data),
            sha256=digest,
            content_sha256=digest,
            extra=extra,
        )

    def commit(
        self,
        parts: list[Part],
        parents: list[Dataset],
        config: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> Dataset:
        """Make the parts visible as the dataset: manifest first, then the pointer.

        Where the very same bytes are current already, their folder is kept and this attempt is
        removed: a second run changes nothing but the manifest's fingerprint and metadata.
        """
        # Length first: part-100000 comes after part-99999, not before it.
        ordered = sorted(parts, key=lambda part: (len(part.file), part.file))
        columns = {c: t for p in ordered for c, t in p.extra.get("columns", {}).items()}
        kept = [_without_columns(part) for part in ordered]
        current = read_current(self.storage, self.name, self.partition)
        unchanged = current is not None and current.parts == kept
        lineage = [Parent(label=p.label, digest=p.digest) for p in parents]
        manifest = Manifest(
            name=self.name,
            partition=self.partition,
            format=self.format,
            digest=content_digest(self.name, self.format, kept),
            fingerprint=input_fingerprint(self.name, config, lineage, code_version()),
            folder=current.manifest.folder if current and unchanged else self.folder,
            rows=sum(part.rows for part in kept),
            bytes=sum(part.bytes for part in kept),
            parts=kept,
            columns=columns,
            config=config,
            parents=lineage,
            code_version=code_version(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            metadata=metadata or {},
        )
        dataset = publish(self.storage, manifest)
        if unchanged:
            self.storage.delete(self.folder)
        return dataset


def publish(storage: Storage, manifest: Manifest) -> Dataset:
    """Write the manifest and swing the pointer to it."""
    base = base_key(manifest.name, manifest.partition)
    pointer = f"{base}/current.json"
    before = storage.read(pointer) if storage.exists(pointer) else None
    # Attempt and fingerprint are in the name: earlier manifests of the same content stay.
    attempt = manifest.folder.rsplit("/", 1)[1]
    key = f"{base}/manifests/{manifest.digest[:16]}-{attempt}-{manifest.fingerprint[:8]}.json"
    storage.write(key, manifest.model_dump_json(indent=1).encode())
    storage.write_if(pointer, key.encode(), before)
    return Dataset(storage, manifest)


def read_current(storage: Storage, name: str, partition: str | None) -> Dataset | None:
    """The dataset the pointer names, or None."""
    pointer = f"{base_key(name, partition)}/current.json"
    if not storage.exists(pointer):
        return None
    key = storage.read(pointer).decode()
    return Dataset(storage, Manifest.model_validate_json(storage.read(key)))


def base_key(name: str, partition: str | None) -> str:
    """Folder of all attempts of one partition; `_` stands for an unpartitioned dataset."""
    return f"datasets/{name}/{partition or '_'}"


def _without_columns(part: Part) -> Part:
    extra = {key: value for key, value in part.extra.items() if key != "columns"}
    return part.model_copy(update={"extra": extra})
