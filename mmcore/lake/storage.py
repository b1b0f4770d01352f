"""Where bytes live: a local folder or an S3 prefix behind one small interface.

A key is a relative POSIX path. `write` is atomic everywhere: a reader sees the whole object or none
(local: temporary file, fsync, rename; S3: a single or multipart put, visible only when complete).
`write_if` is the compare-and-swap that makes a pointer safe against a second writer (S3 conditional
writes, RFC 9110 `If-Match` / `If-None-Match`; local: an exclusive lock file around the rename).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from mmcore.errors import MmcoreError, UserError
from mmcore.lake.multipart import MultipartSink

_COPY_BYTES = 8 << 20


class Conflict(MmcoreError):
    """Another writer moved the pointer first."""


class Sink(Protocol):
    """An object that is written piece by piece: nobody sees it before `commit`."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; the data may be changed afterwards."""

    def commit(self) -> None:
        """Make the object visible, whole, in the place of what was there."""

    def abort(self) -> None:
        """Forget what was written; nothing happens after `commit`."""


class Storage(Protocol):
    """What the lake needs of a place to keep bytes."""

    @property
    def uri(self) -> str:
        """The root, as it was given."""

    def read(self, key: str) -> bytes:
        """Whole object; raises FileNotFoundError."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object atomically, replacing what was there."""

    def create(self, key: str) -> Sink:
        """Write an object that is larger than memory should be; atomic as `write` is."""

    def copy(self, source: str, target: str) -> None:
        """The same object under another key, without reading it here (a hard link, a copy where
        the file system has none; S3: a copy on the server). What is there already stays."""

    def write_if(self, key: str, data: bytes, expected: bytes | None) -> None:
        """Write if the object still holds `expected` (None: is not there), else raise Conflict."""

    def exists(self, key: str) -> bool: ...

    def keys(self, prefix: str) -> list[str]:
        """Sorted keys below `prefix` (a folder, without trailing slash)."""

    def folders(self, prefix: str) -> list[str]:
        """Sorted names of the folders directly below `prefix`."""

    def open(self, key: str) -> pa.NativeFile:
        """Random access for Arrow readers."""

    def location(self, key: str) -> str:
        """Absolute local path or s3:// URI, for people and other programs."""

    def delete(self, prefix: str) -> None:
        """Remove everything below `prefix`; nothing there is not an error."""


def open_storage(uri: str) -> Storage:
    """Storage for a local path, a file:// URI or s3://bucket/prefix."""
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        return S3Storage(uri.rstrip("/"))
    if scheme == "file":
        return LocalStorage(str(Path(urlsplit(uri).path).absolute()))
    if scheme and len(scheme) > 1:
        raise UserError(
            f"Storage {uri!r} is not supported: use a local path or s3://bucket/prefix."
        )
    return LocalStorage(str(Path(uri).expanduser().absolute()))


@dataclass(frozen=True)
class LocalStorage:
    """A folder on this machine (or on a shared file system)."""

    uri: str

    def _path(self, key: str) -> Path:
        path = Path(self.uri, key)
        if not path.is_relative_to(self.uri) or ".." in Path(key).parts:
            raise MmcoreError(f"Key {key!r} leaves the storage root.")
        return path

    def read(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        sink = self.create(key)
        try:
            sink.write(data)
            sink.commit()
        finally:
            sink.abort()

    def create(self, key: str) -> Sink:
        return LocalSink(self._path(key))

    def copy(self, source: str, target: str) -> None:
        path = self._path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Objects are replaced, never changed, so two names may share one file.
        try:
            os.link(self._path(source), path)
        except (FileExistsError, FileNotFoundError):
            if not path.exists():
                raise
        except OSError:  # FAT and many network mounts have no hard links, or a file has too many
            if not path.exists():
                self._copy_bytes(source, target)
        _sync_folder(path.parent)

    def _copy_bytes(self, source: str, target: str) -> None:
        sink = LocalSink(self._path(target))
        try:
            with self._path(source).open("rb") as file:
                while data := file.read(_COPY_BYTES):
                    sink.write(data)
            sink.commit()
        finally:
            sink.abort()

    def write_if(self, key: str, data: bytes, expected: bytes | None) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f".{path.name}.lock")):
            found = path.read_bytes() if path.exists() else None
            if found != expected:
                raise Conflict(f"{self.location(key)} was moved by another writer.")
            self.write(key, data)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def keys(self, prefix: str) -> list[str]:
        base = self._path(prefix)
        # unlike rglob, a walk passes over folders that another process removes meanwhile
        found = (Path(top, name) for top, _, names in os.walk(base) for name in names)
        files = (path for path in found if not path.name.startswith("."))
        return sorted(path.relative_to(self.uri).as_posix() for path in files)

    def folders(self, prefix: str) -> list[str]:
        base = self._path(prefix)
        return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else []

    def open(self, key: str) -> pa.NativeFile:
        return pa.memory_map(str(self._path(key)))

    def location(self, key: str) -> str:
        return str(self._path(key))

    def delete(self, prefix: str) -> None:
        path = self._path(prefix)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class LocalSink:
    """A temporary file beside `path` that takes its name when it is complete."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # A retried task and its zombie may write the same key at once, even on two machines.
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        self._file = self._temporary.open("wb")

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        _sync_folder(self._path.parent)

    def abort(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: without it a power cut can lose the new directory entry."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; the kernel frees it when its owner is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class S3Storage:
    """A prefix of a bucket; credentials and endpoint come from the usual AWS variables."""

    uri: str

    @property
    def _bucket(self) -> str:
        return urlsplit(self.uri).netloc

    def _key(self, key: str) -> str:
        prefix = urlsplit(self.uri).path.strip("/")
        return f"{prefix}/{key}" if prefix else key

    def read(self, key: str) -> bytes:
        found = self._get(key)
        if found is None:
            raise FileNotFoundError(self.location(key))
        return found[0]

    def _get(self, key: str) -> tuple[bytes, str] | None:
        """(content, ETag), or None where there is no such object."""
        client = _s3_client()
        try:
            answer = client.get_object(Bucket=self._bucket, Key=self._key(key))
        except client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), answer["ETag"]

    def write(self, key: str, data: bytes) -> None:
        _s3_client().put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def create(self, key: str) -> Sink:
        return MultipartSink(_s3_client(), self._bucket, self._key(key))

    def copy(self, source: str, target: str) -> None:
        origin = {"Bucket": self._bucket, "Key": self._key(source)}
        _s3_client().copy(origin, self._bucket, self._key(target))

    def write_if(self, key: str, data: bytes, expected: bytes | None) -> None:
        from botocore.exceptions import ClientError

        found = self._get(key)
        if (found[0] if found else None) != expected:
            raise Conflict(f"{self.location(key)} was moved by another writer.")
        condition = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
        try:
            _s3_client().put_object(Bucket=self._bucket, Key=self._key(key), Body=data, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                raise Conflict(f"{self.location(key)} was moved by another writer.") from error
            raise

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            _s3_client().head_object(Bucket=self._bucket, Key=self._key(key))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def keys(self, prefix: str) -> list[str]:
        base = self._key("")
        pages = self._pages(Prefix=self._key(prefix.rstrip("/") + "/"))
        return sorted(o["Key"][len(base) :] for page in pages for o in page.get("Contents", []))

    def folders(self, prefix: str) -> list[str]:
        start = self._key(prefix.rstrip("/") + "/")
        pages = self._pages(Prefix=start, Delimiter="/")
        found = (p["Prefix"] for page in pages for p in page.get("CommonPrefixes", []))
        return sorted(name[len(start) :].rstrip("/") for name in found)

    def _pages(self, **query: str) -> Any:
        return _s3_client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **query)

    def open(self, key: str) -> pa.NativeFile:
        from pyarrow import fs

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        system = fs.S3FileSystem(endpoint_override=endpoint)
        return system.open_input_file(f"{self._bucket}/{self._key(key)}")

    def location(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"

    def delete(self, prefix: str) -> None:
        keys = [*self.keys(prefix), *([prefix] if self.exists(prefix) else [])]
        for start in range(0, len(keys), 1000):
            batch = [{"Key": self._key(key)} for key in keys[start : start + 1000]]
            _s3_client().delete_objects(Bucket=self._bucket, Delete={"Objects": batch})


def _s3_client() -> Any:
    """One client a process: creating one costs a tenth of a second."""
    global _CLIENT
    if _CLIENT is None:
        import boto3

        _CLIENT = boto3.client("s3")
    return _CLIENT


_CLIENT: Any = None


def sha256_hex(data: bytes | memoryview | pa.Buffer) -> str:
    """Hex SHA-256 of the data."""
    return hashlib.sha256(data).hexdigest()
