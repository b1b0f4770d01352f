"""Existing WebDataset tars as a source: img2dataset's output, LAION copies, our own shards.

A sample is the members that share a name up to the first dot of its last segment. Its image is the
member with an image's extension, its text the `txt`, `caption` or `text` member, and `json` may say
more (`url`, `caption`, `alt`, `title`, `license`, `lang`, `tags`, `qa`, `sentiment`, `split`).
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from mmcore.crawl.folder import BadRecord, FolderRows, parse_record
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.schemas import CRAWLED
from mmcore.crawl.sniff import image_type
from mmcore.crawl.urls import resolve_or_none
from mmcore.errors import UserError
from mmcore.lake import open_storage

_IMAGES = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jfif"])
_TEXTS = ("txt", "caption", "text")
_LABELS = ("captions", "text", "qa", "tags", "sentiment")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_FILES = 1_000_000
_MEMBER_BYTES = 64 << 20
_BLOCK_BYTES = 128 << 20


class WebdatasetSource(BaseModel):
    """Tars in WebDataset form, local or on S3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["webdataset"] = "webdataset"
    path: str = Field(
        description="A tar, a folder of tars, a glob, a range such as data/{00000..00012}.tar, or "
        "s3://bucket/prefix; relative to the recipe."
    )


def tar_files(source: WebdatasetSource) -> list[str]:
    """The tars in name order, as absolute paths or s3:// URIs. UserError if there is none."""
    if source.path.startswith("s3://"):
        files = _s3_files(source.path)
    else:
        named = [name for pattern in _expanded(source.path) for name in _local_files(pattern)]
        files = sorted(dict.fromkeys(named))
    if not files:
        raise UserError(
            f"The webdataset source {source.path} has no .tar: name a tar, a folder of tars, a "
            "glob or a range such as data/{00000..00012}.tar."
        )
    return files


def _expanded(pattern: str) -> list[str]:
    """`a/{00..02}.tar` as `a/00.tar`, `a/01.tar`, `a/02.tar`."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = int(match[1]), int(match[2])
    if last - first >= _MOST_FILES:
        raise UserError(f"The range in {pattern} names more than {_MOST_FILES:,} tars.")
    width = len(match[1])
    names = (
        f"{pattern[: match.start()]}{number:0{width}d}{pattern[match.end() :]}"
        for number in range(first, last + 1)
    )
    return [name for single in names for name in _expanded(single)]


def _local_files(pattern: str) -> list[str]:
    path = Path(pattern)
    if path.is_dir():
        return [str(file.absolute()) for file in path.glob("*.tar*") if file.is_file()]
    if path.is_file():
        return [str(path.absolute())]
    return [str(Path(name).absolute()) for name in glob.glob(pattern, recursive=True)]


def _s3_files(path: str) -> list[str]:
    if path.endswith((".tar", ".tar.gz")):
        return [f"s3://{name}" for name in (part.removeprefix("s3://") for part in _expanded(path))]
    storage = open_storage(path)
    return [storage.location(key) for key in storage.keys("") if key.endswith((".tar", ".tar.gz"))]


def read_tar(path: str, rows: int) -> Iterator[FolderRows]:
    """Stream a tar as blocks of at most `rows` samples; memory holds one block.

    Nothing is extracted to disk, so names cannot lead anywhere. What cannot be used is an outcome:
    a tar that breaks off gives what came before, and `bad_record` for itself.
    """
    block = _Block(path)
    try:
        with _open(path) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for key, members in _samples(tar):
                block.add(key, members)
                if block.samples >= rows or block.bytes >= _BLOCK_BYTES:
                    yield block.rows()
                    block = _Block(path)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        detail = f"it cannot be read from here on: {error}"
        block.outcomes.append(Outcome(_url(path), "archive", "bad_record", detail=detail))
    yield block.rows()


def _open(path: str) -> IO[bytes]:
    if path.startswith("s3://"):
        folder, _, name = path.rpartition("/")
        file: IO[bytes] = open_storage(folder).open(name)
        return file
    return open(path, "rb")


def _url(path: str) -> str:
    return path if path.startswith("s3://") else "file://" + quote(path)


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """(key, content by extension) of consecutive members with the same key; None: too large."""
    current: str | None = None
    members: dict[str, bytes | None] = {}
    for info in tar:
        if not info.isfile():
            continue
        folder, _, name = info.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if current is not None and key != current:
            yield current, members
            members = {}
        current = key
        file = tar.extractfile(info) if info.size <= _MEMBER_BYTES else None
        members[extension.lower()] = file.read() if file is not None else None
    if current is not None:
        yield current, members


class _Block:
    """Samples of one tar on their way to rows."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._crawled: list[dict[str, Any]] = []
        self._images: dict[str, tuple[str, str, bytes]] = {}
        self.outcomes: list[Outcome] = []
        self.samples = self.bytes = 0

    def rows(self) -> FolderRows:
        """What the block came to."""
        return FolderRows(self._crawled, self._images, self.outcomes)

    def add(self, key: str, members: dict[str, bytes | None]) -> None:
        """Take a sample."""
        self.samples += 1
        where = f"{_url(self._path)}#{quote(key)}"
        labels, problem = _labels(members.get("json"))
        extension = next((name for name in members if name in _IMAGES), None)
        data = members[extension] if extension is not None else b""
        url = _image_url(labels, where)
        reason, media = _judged(extension, data)
        sha = hashlib.sha256(data).hexdigest() if reason == "ok" and data else None
        self.outcomes.append(
            Outcome(
                url,
                "image",
                reason,
                bytes=len(data or b""),
                content_type=media,
                sha256=sha,
                referrer=_url(self._path),
                detail=problem,
                fetched_at=datetime.now(UTC),
            )
        )
        if sha is None or data is None or media is None:
            return
        self.bytes += len(data)
        known = self._images.get(sha)
        if known is None or url < known[0]:
            self._images[sha] = (url, media, data)
        self._crawled += self._occurrences(url, sha, _text(members), labels)

    def _occurrences(
        self, url: str, sha: str, text: str | None, labels: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One row a caption, or one without."""
        given = {name: labels[name] for name in _LABELS if labels.get(name) is not None}
        captions = labels.get("captions") or [labels.get("caption")]
        captions = list(dict.fromkeys(c for c in [text, *captions] if isinstance(c, str) and c))
        shared = dict.fromkeys(CRAWLED.names) | {
            "page_url": _url(self._path),
            "image_url": url,
            "sha256": sha,
            "position": self.samples - 1,
            "element": "record",
            **{name: _string(labels.get(name)) for name in ("alt", "title", "license", "lang")},
            "context": _string(labels.get("text")),
            "keywords": labels.get("tags") or [],
            "comments": [],
            "consent": json.dumps(labels["consent"]) if _is_object(labels, "consent") else "{}",
            "annotation": json.dumps(given, ensure_ascii=False, sort_keys=True) if given else None,
            "split": labels.get("split"),
            "source": "webdataset",
            "fetched_at": datetime.now(UTC),
        }
        return [shared | {"caption": caption} for caption in captions or [None]]


def _is_object(labels: dict[str, Any], name: str) -> bool:
    return isinstance(labels.get(name), dict)


def _judged(extension: str | None, data: bytes | None) -> tuple[str, str | None]:
    """(reason, media type) of a sample's image."""
    if extension is None:
        return "missing_file", None
    if data is None:
        return "too_large", None
    if not data:
        return "empty", None
    media = image_type(data[:1024], "image/unknown")
    return ("ok" if media else "wrong_content_type"), media


def _labels(data: bytes | None) -> tuple[dict[str, Any], str | None]:
    """(what the json says, what is wrong with it); labels that are malformed are left out."""
    if not data:
        return {}, None
    try:
        found = json.loads(data.decode("utf-8-sig"))
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return {}, f"its json is not JSON: {error}"
    if not isinstance(found, dict):
        return {}, "its json is not an object"
    record = {name: found[name] for name in (*_LABELS, "split") if found.get(name) is not None}
    try:
        checked = parse_record(json.dumps(record | {"image": "x"}).encode())
    except BadRecord as error:
        return {k: v for k, v in found.items() if k not in record}, f"its labels: {error}"
    return found | checked, None


def _text(members: dict[str, bytes | None]) -> str | None:
    data = next((members[name] for name in _TEXTS if members.get(name)), None)
    return data.decode("utf-8", errors="replace").strip() or None if data else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _image_url(labels: dict[str, Any], where: str) -> str:
    """The URL the sample was fetched from; its place in the tar where none is known.

    The place is added as a fragment, so that two samples of one URL stay two images.
    """
    named = _string(labels.get("url")) or _string(labels.get("image_url"))
    url = resolve_or_none("", named) if named else None
    return f"{url}#{where.rpartition('/')[2]}" if url else where
