"""Evaluation sets that must stay out of training, read as images and texts.

A set is one of: a folder with `annotations.jsonl` (as `kind: folder` sources), a folder of image
files, a `.tar` or a folder of `.tar` files in WebDataset form, a `.jsonl` of annotations whose
images lie beside it (or that has texts alone), a `.parquet` file or a folder of them. Texts are
what describes an image: captions and texts; questions and tags are not.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcore.annotated import ANNOTATIONS, OutsideFolder, read_image, tar_members
from mmcore.errors import UserError

SIGNATURES = pa.schema(
    [
        ("sha256", pa.string()),
        ("pixels", pa.string()),
        ("phash", pa.uint64()),
        ("thumb", pa.binary(768)),
    ]
)
KEYS = pa.schema([("key", pa.string())])
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_IMAGE_COLUMNS = ("image", "jpg", "png", "webp")
_TEXT_KEYS = ("captions", "caption", "text")
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Example:
    """What one record has: the bytes of its image, or None, and its texts."""

    image: bytes | None
    texts: tuple[str, ...]


def files(path: Path) -> list[Path]:
    """The files or folders a set is read from, each by one task. UserError where there are none."""
    if path.is_file() and path.suffix in (".tar", ".jsonl", ".parquet"):
        return [path]
    if path.is_dir():
        if (path / ANNOTATIONS).is_file():
            return [path / ANNOTATIONS]
        tables = sorted([*path.glob("*.tar"), *path.glob("*.parquet")])
        if tables:
            return tables
        if any(file.suffix.lower() in _IMAGES for file in path.rglob("*")):
            return [path]
    raise UserError(
        f"protect: {path} is not an evaluation set: give a folder with {ANNOTATIONS}, of images, "
        "of .tar or .parquet files, or one .tar, .jsonl or .parquet file."
    )


def stamp(paths: Iterable[Path]) -> str:
    """A digest of the names, sizes and times of all files of some sets: changes when they do."""
    digest = hashlib.sha256()
    for path in paths:
        # Images beside the annotations count too, so the whole folder is looked at.
        root = path.parent if path.name == ANNOTATIONS else path
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            facts = file.stat()
            digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read(path: Path) -> Iterator[Example]:
    """The records of one of `files`. Lines and members that cannot be read are passed over."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in _IMAGES and file.is_file():
                yield Example(file.read_bytes(), ())
    elif path.suffix == ".jsonl":
        yield from _annotated(path)
    elif path.suffix == ".tar":
        yield from _tar(path)
    else:
        yield from _parquet(path)


def in_blocks(examples: Iterable[Example]) -> Iterator[tuple[pa.Table, list[str]]]:
    """Images as `raw` rows (`sha256, image, bytes, url`), and texts, a bounded number at a time."""
    images: list[bytes] = []
    said: list[str] = []
    for example in examples:
        images += [example.image] if example.image else []
        said += [text for text in example.texts if text.strip()]
        if len(images) >= _ROWS_AT_ONCE or len(said) >= 100 * _ROWS_AT_ONCE:
            yield _raw(images), said
            images, said = [], []
    if images or said:
        yield _raw(images), said


def _raw(images: list[bytes]) -> pa.Table:
    return pa.table(
        {
            "sha256": pa.array([hashlib.sha256(data).hexdigest() for data in images], pa.string()),
            "image": pa.array(images, pa.binary()),
            "bytes": pa.array([len(data) for data in images], pa.int64()),
            "url": pa.array([""] * len(images), pa.string()),
        }
    )


def _annotated(path: Path) -> Iterator[Example]:
    members = tar_members(path.parent)
    with path.open("rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if not isinstance(record, dict):
                continue
            image = None
            if isinstance(name := record.get("image"), str):
                try:
                    image = read_image(path.parent, name, members)
                except (OutsideFolder, OSError):
                    image = None
            yield Example(image, _texts(record))


def _tar(path: Path) -> Iterator[Example]:
    """Members by themselves: an image and its text need not be together to be protected."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isfile() else None
                suffix = Path(member.name).suffix.lower()
                if source is None:
                    continue
                if suffix in _IMAGES:
                    yield Example(source.read(), ())
                elif suffix == ".txt":
                    yield Example(None, (source.read().decode("utf-8", "replace"),))
                elif suffix == ".json":
                    yield Example(None, _texts(_json(source.read())))
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"protect: {path} cannot be read as a tar: {error}.") from error


def _parquet(path: Path) -> Iterator[Example]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"protect: {path} cannot be read as Parquet: {error}.") from error
    wanted = [n for n in file.schema_arrow.names if n in (*_IMAGE_COLUMNS, *_TEXT_KEYS)]
    if not wanted:
        raise UserError(
            f"protect: {path} has none of the columns {', '.join((*_IMAGE_COLUMNS, *_TEXT_KEYS))}."
        )
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted):
        for row in batch.to_pylist():
            yield Example(_image(row), _texts(row))


def _image(row: dict[str, Any]) -> bytes | None:
    """Bytes of an image column, also in the form {bytes, path} that Hugging Face writes."""
    for name in _IMAGE_COLUMNS:
        value = row.get(name)
        value = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(value, bytes):
            return value
    return None


def _texts(record: Any) -> tuple[str, ...]:
    """What a record says of its image; of mmcore's own shards also the texts of its captions."""
    if not isinstance(record, dict):
        return ()
    found: list[str] = []
    for key in _TEXT_KEYS:
        value = record.get(key)
        for one in value if isinstance(value, list) else [value]:
            one = one.get("text") if isinstance(one, dict) else one
            found += [one] if isinstance(one, str) else []
    return tuple(found)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
