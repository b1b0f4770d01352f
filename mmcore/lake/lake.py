"""The lake: find, list, write and sweep datasets below one root."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from mmcore.errors import UserError
from mmcore.lake.dataset import Dataset, DatasetWriter, base_key, read_current
from mmcore.lake.manifest import Format, Manifest, Parent, input_fingerprint, label
from mmcore.lake.storage import Storage, open_storage
from mmcore.lake.version import code_version

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


@dataclass(frozen=True)
class Lake:
    """All datasets below `root`, a local path or s3://bucket/prefix. Picklable."""

    root: str

    @property
    def storage(self) -> Storage:
        return open_storage(self.root)

    def find(self, name: str, partition: str | None = None) -> Dataset | None:
        """The current dataset, or None where nothing is committed."""
        _check(name, partition)
        return read_current(self.storage, name, partition)

    def dataset(self, name: str, partition: str | None = None) -> Dataset:
        """The current dataset; UserError where nothing is committed."""
        found = self.find(name, partition)
        if found is None:
            known = ", ".join(self.partitions(name)) or "none"
            raise UserError(
                f"There is no dataset {label(name, partition)} in {self.root}: run the stage that "
                f"makes it first (partitions of {name} that exist: {known})."
            )
        return found

    def version(self, name: str, partition: str | None, digest: str) -> Dataset:
        """A dataset as it was committed under `digest` (at least 16 hex digits of it), also where
        a later commit took its place; UserError where there is none or its parts were swept."""
        _check(name, partition)
        storage = self.storage
        for manifest in self.manifests(name, partition, digest):
            if all(storage.exists(f"{manifest.folder}/{part.file}") for part in manifest.parts):
                return Dataset(storage, manifest)
        raise UserError(
            f"There is no version {digest[:16]} of {label(name, partition)} in {self.root}: "
            "its digest is another, or its files were swept."
        )

    def manifests(self, name: str, partition: str | None, digest: str = "") -> list[Manifest]:
        """Every manifest ever committed (of one digest, at least 16 digits of it), oldest first;
        also of versions whose parts were swept."""
        _check(name, partition)
        storage = self.storage
        keys = storage.keys(f"{base_key(name, partition)}/manifests")
        named = [key for key in keys if key.rsplit("/", 1)[1].startswith(digest[:16])]
        found = [Manifest.model_validate_json(storage.read(key)) for key in named]
        kept = [manifest for manifest in found if manifest.digest.startswith(digest)]
        return sorted(kept, key=lambda manifest: (manifest.created_at, manifest.digest))

    def partitions(self, name: str) -> list[str]:
        """Committed partitions of a dataset, sorted; empty for an unpartitioned one."""
        storage = self.storage
        folders = storage.folders(f"datasets/{name}")
        keys = ((f, f"{base_key(name, f)}/current.json") for f in folders if f != "_")
        return [folder for folder, key in keys if storage.exists(key)]

    def history(self, name: str, before: str) -> list[Dataset]:
        """Committed datasets of partitions earlier than `before`, in order."""
        return [self.dataset(name, day) for day in self.partitions(name) if day < before]

    def up_to(self, name: str, day: str) -> list[Dataset]:
        """Committed datasets of `day` and every earlier partition, in order."""
        return [self.dataset(name, d) for d in self.partitions(name) if d <= day]

    def datasets(self) -> list[Dataset]:
        """Every committed dataset, by name and partition."""
        storage = self.storage
        found = (
            read_current(storage, name, None if part == "_" else part)
            for name in storage.folders("datasets")
            for part in storage.folders(f"datasets/{name}")
        )
        return [dataset for dataset in found if dataset is not None]

    def writer(
        self,
        name: str,
        partition: str | None = None,
        format: Format = "parquet",
        volatile: tuple[str, ...] = (),
    ) -> DatasetWriter:
        """A new attempt at a dataset; nothing is visible before `commit`."""
        _check(name, partition)
        return DatasetWriter(self.storage, name, partition, format, uuid.uuid4().hex[:12], volatile)

    def reusable(
        self, name: str, partition: str | None, config: dict[str, Any], parents: list[Dataset]
    ) -> Dataset | None:
        """The current dataset if made from these very inputs by this very code, else None."""
        found = self.find(name, partition)
        if found is None:
            return None
        lineage = [Parent(label=p.label, digest=p.digest) for p in parents]
        fingerprint = input_fingerprint(name, config, lineage, code_version())
        return found if found.manifest.fingerprint == fingerprint else None

    def sweep(self, name: str, partition: str | None = None) -> list[str]:
        """Remove attempts nobody points to; returns their keys. Only when no writer is at work."""
        _check(name, partition)
        storage, base = self.storage, base_key(name, partition)
        current = read_current(storage, name, partition)
        kept = {"manifests"} | ({current.manifest.folder.rsplit("/", 1)[1]} if current else set())
        orphans = [f"{base}/{folder}" for folder in storage.folders(base) if folder not in kept]
        for key in orphans:
            storage.delete(key)
        return orphans


def _check(name: str, partition: str | None) -> None:
    if not _NAME.match(name):
        raise UserError(f"{name!r} is not a dataset name: use lower-case letters, digits and _.")
    if partition is not None and not _PARTITION.match(partition):
        raise UserError(f"{partition!r} is not a partition: use a day such as 2026-11-23.")
