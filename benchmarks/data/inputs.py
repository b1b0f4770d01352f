"""Lakes with any number of rows for one stage to read, written straight, without the stages before.

Keys are SHA-256 digests, captions are all different (`Captions`), pixels may repeat: `raw` holds
2,000 small photographs, each file with a comment of its own. What a stage does not read is null.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.data.material import Captions, with_comment
from mmcore.clean.occurrences import TEXTS
from mmcore.clean.stage import CLEANED
from mmcore.crawl.schemas import CRAWLED, RAW
from mmcore.dedup.stage_rows import DEDUPLICATED
from mmcore.lake import Lake

DAY = "2026-01-01"
PHOTOS = 2000
PHOTO_SIDE = 112  # pixels: ten million of them would still fit on a disk
ROWS_PER_PART = {"raw": 1024, "crawled": 4096}
_OTHER_ROWS_PER_PART = 20_000  # what clean and dedup write
_COPIES = 0.2  # of the images, in `cleaned`: the picture of an earlier row with two other hash bits


def small_photos(tar: Path) -> list[bytes]:
    """Up to `PHOTOS` photographs of a tar, shrunk, as JPEG."""
    from PIL import Image

    photos: list[bytes] = []
    with tarfile.open(tar) as archive:
        for member in archive:
            if len(photos) < PHOTOS and member.name.endswith(".jpg"):
                file = archive.extractfile(member)
                assert file is not None
                image = Image.open(file).convert("RGB").resize((PHOTO_SIDE, PHOTO_SIDE))
                sink = io.BytesIO()
                image.save(sink, "JPEG", quality=85)
                photos.append(sink.getvalue())
    return photos


def write_inputs(
    lake: Lake, stage: str, rows: int, captions: Captions, photos: list[bytes]
) -> None:
    """The datasets that `stage` (clean, dedup or tokenize) reads, `rows` rows each."""
    if stage == "clean":
        _write(lake, "raw", RAW, rows, lambda at, n: _raw(at, n, photos))
        _write(lake, "crawled", CRAWLED, rows, lambda at, n: _crawled(at, n, captions, photos))
    elif stage == "dedup":
        _write(lake, "cleaned", CLEANED, rows, lambda at, n: _cleaned(at, n))
        _write(lake, "crawled", CRAWLED, rows, lambda at, n: _crawled(at, n, captions, None))
        _write(lake, "texts", TEXTS, rows, lambda at, n: _texts(at, n, captions))
    else:
        _write(lake, "deduplicated", DEDUPLICATED, rows, lambda at, n: _captions(at, n, captions))


def _write(lake: Lake, name: str, schema: pa.Schema, rows: int, columns) -> None:  # type: ignore[no-untyped-def]
    size = ROWS_PER_PART.get(name, _OTHER_ROWS_PER_PART)
    writer = lake.writer(name, DAY)
    parts = [
        writer.write_table(number, _table(schema, columns(start, min(size, rows - start))))
        for number, start in enumerate(range(0, rows, size))
    ]
    writer.commit(parts, [], {})


def _table(schema: pa.Schema, columns: dict[str, pa.Array]) -> pa.Table:
    count = len(next(iter(columns.values())))
    arrays = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type)
        for f in schema
    ]
    return pa.table(arrays, schema=schema)


def _files(start: int, count: int, photos: list[bytes]) -> Iterator[bytes]:
    for number in range(start, start + count):
        yield with_comment(photos[number % len(photos)], str(number).encode())


def _raw(start: int, count: int, photos: list[bytes]) -> dict[str, pa.Array]:
    files = list(_files(start, count, photos))
    return {
        "sha256": pa.array([hashlib.sha256(file).hexdigest() for file in files]),
        "image": pa.array(files, pa.binary()),
        "bytes": pa.array([len(file) for file in files]),
        "content_type": pa.repeat("image/jpeg", count),
        "url": _urls(start, count),
    }


def _crawled(
    start: int, count: int, captions: Captions, photos: list[bytes] | None
) -> dict[str, pa.Array]:
    if photos is None:
        names = _names(start, count)
    else:
        files = _files(start, count, photos)
        names = pa.array([hashlib.sha256(file).hexdigest() for file in files])
    return {
        "page_url": pa.array([f"http://127.0.0.1/page/{(start + i) // 4}" for i in range(count)]),
        "image_url": _urls(start, count),
        "sha256": names,
        "position": pa.array(np.arange(start, start + count) % 4),
        "element": pa.repeat("img", count),
        "alt": captions.take(start, count),
        "lang": pa.repeat("en", count),
        "consent": pa.repeat("{}", count),
        "source": pa.repeat("site", count),
        "state": pa.repeat("new", count),
    }


def _cleaned(start: int, count: int) -> dict[str, pa.Array]:
    number = np.arange(start, start + count)
    copied = np.random.default_rng(start).random(count) < _COPIES
    picture = np.where(copied, number // 2, number)
    flipped = np.where(copied, np.uint64(0b11), np.uint64(0)) << (number % 62).astype(np.uint64)
    thumbs = [_thumb(int(which)) for which in picture]
    return {
        "sha256": _names(start, count),
        "kept": pa.repeat(True, count),
        "reason": pa.repeat("ok", count),
        "width": pa.repeat(640, count),
        "height": pa.repeat(480, count),
        "phash": pa.array(_mixed(picture) ^ flipped),
        "thumb": pa.array(thumbs, pa.binary(768)),
        "pixels": _names(start, count),
        "url": _urls(start, count),
    }


def _thumb(picture: int) -> bytes:
    return hashlib.shake_128(str(picture).encode()).digest(768)


def _mixed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 well-mixed bits of each number (splitmix64, Steele et al. 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _texts(start: int, count: int, captions: Captions) -> dict[str, pa.Array]:
    return {
        "sha256": _names(start, count),
        "page_url": _urls(start, count),
        "image_url": _urls(start, count),
        "role": pa.repeat("alt", count),
        "text": captions.take(start, count),
        "lang": pa.repeat("en", count),
        "kept": pa.repeat(True, count),
        "reason": pa.repeat("ok", count),
        "places": pa.repeat(1, count),
    }


def _captions(start: int, count: int, captions: Captions) -> dict[str, pa.Array]:
    return deduplicated_columns(_names(start, count), captions.take(start, count))


def deduplicated_columns(names: pa.Array, texts: pa.Array) -> dict[str, pa.Array]:
    """Columns of `deduplicated`: kept images, each a cluster with one English alt text."""
    count = len(texts)
    kind = DEDUPLICATED.field("captions").type.value_type
    fields = {"text": texts, "count": pa.repeat(1, count), "lang": pa.repeat("en", count)}
    fields |= {"role": pa.repeat("alt", count), "page_url": pa.repeat("http://127.0.0.1/", count)}
    values = [fields[f.name].cast(f.type) for f in kind]
    structs = pa.StructArray.from_arrays(values, fields=list(kind))
    one_each = pa.array(np.arange(count + 1), pa.int32())
    return {
        "sha256": names,
        "cluster": names,
        "canonical": names,
        "kept": pa.repeat(True, count),
        "reason": pa.repeat("ok", count),
        "captions": pa.ListArray.from_arrays(one_each, structs),
        "day_first_seen": pa.repeat(DAY, count),
    }


def write_deduplicated(lake: Lake, texts: Iterator[pa.Array]) -> None:
    """`deduplicated@DAY` of given texts, one part an array."""
    writer, parts, start = lake.writer("deduplicated", DAY), [], 0
    for number, column in enumerate(texts):
        columns = deduplicated_columns(_names(start, len(column)), column)
        parts.append(writer.write_table(number, _table(DEDUPLICATED, columns)))
        start += len(column)
    writer.commit(parts, [], {})


def _names(start: int, count: int) -> pa.Array:
    numbers = range(start, start + count)
    return pa.array([hashlib.sha256(str(number).encode()).hexdigest() for number in numbers])


def _urls(start: int, count: int) -> pa.Array:
    return pa.array([f"http://127.0.0.1/{start + i}.jpg" for i in range(count)])
