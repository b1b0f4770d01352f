"""Small worlds for the clean and dedup tests: images as bytes, and `raw` and `crawled` of a day."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mmcore.lake import Dataset, Lake

CRAWLED = pa.schema(
    [
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("sha256", pa.string()),
        ("position", pa.int32()),
        ("alt", pa.string()),
        ("title", pa.string()),
        ("caption", pa.string()),
        ("context", pa.string()),
        ("heading", pa.string()),
        ("page_title", pa.string()),
        ("keywords", pa.list_(pa.string())),
        ("comments", pa.list_(pa.string())),
        ("lang", pa.string()),
        ("license", pa.string()),
        ("consent", pa.string()),
        ("annotation", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("fetched_at", pa.timestamp("ms", tz="UTC")),
    ]
)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture(seed: int = 0, size: tuple[int, int] = (160, 120), mode: str = "RGB") -> Image.Image:
    """Soft random colours: a photograph as far as hashes and codecs are concerned."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def raw_table(images: Sequence[bytes]) -> pa.Table:
    """Rows of `raw` in the order of the images, with the columns that are measured."""
    keys = [sha(data) for data in images]
    return pa.table(
        {
            "sha256": pa.array(keys, pa.string()),
            "image": pa.array(images, pa.binary()),
            "bytes": pa.array([len(data) for data in images], pa.int64()),
            "url": pa.array([f"http://site.test/{key[:8]}" for key in keys], pa.string()),
        }
    )


def write_raw(lake: Lake, day: str, images: Sequence[bytes], rows_per_part: int = 1000) -> Dataset:
    """`raw@DAY` as the crawl writes it."""
    rows = sorted({sha(data): data for data in images}.items())
    writer = lake.writer("raw", day)
    parts = []
    for index, start in enumerate(range(0, max(len(rows), 1), rows_per_part)):
        chunk = rows[start : start + rows_per_part]
        table = pa.table(
            {
                "sha256": pa.array([key for key, _ in chunk], pa.string()),
                "image": pa.array([data for _, data in chunk], pa.binary()),
                "bytes": pa.array([len(data) for _, data in chunk], pa.int64()),
                "content_type": pa.array(["image/png"] * len(chunk), pa.string()),
                "url": pa.array([f"http://site.test/{k[:8]}" for k, _ in chunk], pa.string()),
            }
        )
        parts.append(writer.write_table(index, table))
    return writer.commit(parts, [], {})


def write_crawled(
    lake: Lake, day: str, rows: Sequence[Mapping[str, Any]], rows_per_part: int = 100_000
) -> Dataset:
    """`crawled@DAY`; a row needs a `sha256` and what its test is about."""
    full = [
        {
            "page_url": f"http://site.test/page{i}",
            "image_url": f"http://site.test/{row['sha256'][:8]}",
            "position": 0,
            "keywords": [],
            "comments": [],
            "consent": "{}",
            "source": "site",
            **row,
        }
        for i, row in enumerate(rows)
    ]
    columns = {f.name: [row.get(f.name) for row in full] for f in CRAWLED}
    table = pa.table(columns, schema=CRAWLED)
    writer = lake.writer("crawled", day, volatile=("fetched_at",))
    starts = range(0, max(len(full), 1), rows_per_part)
    parts = [writer.write_table(i, table.slice(s, rows_per_part)) for i, s in enumerate(starts)]
    return writer.commit(parts, [], {})
