"""Small datasets as the stages before `shards` would have written them."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from PIL import Image

from mmcore.lake import Dataset, Lake

DAY = "2026-11-23"
CAPTION = pa.struct(
    [
        ("text", pa.string()),
        ("lang", pa.string()),
        ("confidence", pa.float64()),
        ("source", pa.string()),
    ]
)
PAIRS = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("split", pa.string()),
        ("caption", CAPTION),
        ("captions", pa.list_(CAPTION)),
        ("qa", pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))),
        ("tags", pa.list_(pa.struct([("tag", pa.string()), ("confidence", pa.float64())]))),
        ("sentiment", pa.struct([("label", pa.string()), ("confidence", pa.float64())])),
    ]
)
TOKENIZED = pa.schema(
    [
        ("sha256", pa.string()),
        ("text", pa.string()),
        ("ids", pa.list_(pa.int32())),
        ("tokenizer", pa.string()),
    ]
)
CRAWLED = pa.schema(
    [(n, pa.string()) for n in ("sha256", "page_url", "image_url", "license", "consent")]
)


@dataclass
class World:
    """Images by number; `split` may be given per image."""

    images: int
    parts: int = 3
    split: dict[int, str] = field(default_factory=dict)
    cluster: dict[int, int] = field(default_factory=dict)

    def sha256(self, i: int) -> str:
        return hashlib.sha256(f"raw {i}".encode()).hexdigest()

    def jpeg(self, i: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (8 + i % 5, 8), (i % 256, 90, 20)).save(out, "JPEG")
        return out.getvalue()

    def pairs_row(self, i: int) -> dict[str, Any]:
        caption = {"text": f"a green circle {i}", "lang": "en", "confidence": 0.9, "source": "alt"}
        return {
            "sha256": self.sha256(i),
            "cluster": self.sha256(self.cluster.get(i, i)),
            "split": self.split.get(i),
            "caption": None if i % 7 == 3 else caption,
            "captions": [] if i % 7 == 3 else [caption],
            "qa": [{"question": "what colour is the circle?", "answer": "green"}],
            "tags": [{"tag": "circle", "confidence": 0.5}],
            "sentiment": None,
        }


def write_world(lake: Lake, world: World, day: str = DAY) -> None:
    """Commit `pairs`, `tokenized`, `normalized` and `crawled` for a day."""
    rows = list(range(world.images))
    size = max(1, -(-world.images // world.parts))
    chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
    tables: dict[str, list[pa.Table]] = {
        "pairs": [pa.Table.from_pylist([world.pairs_row(i) for i in c], PAIRS) for c in chunks],
        "tokenized": [_tokenized(world, chunk) for chunk in chunks],
        # images lie in another order and other parts than labels
        "normalized": [_normalized(world, rows[i :: world.parts]) for i in range(world.parts)],
        "crawled": [_crawled(world, rows[::-1])],
    }
    for name, parts in tables.items():
        commit(lake, name, day, parts)


def commit(lake: Lake, name: str, day: str | None, tables: list[pa.Table]) -> Dataset:
    """Commit tables as a dataset without parents."""
    writer = lake.writer(name, day)
    return writer.commit([writer.write_table(i, t) for i, t in enumerate(tables)], [], {})


def _tokenized(world: World, chunk: list[int]) -> pa.Table:
    rows = [world.pairs_row(i) for i in chunk]
    listed = [
        {"sha256": row["sha256"], "text": c["text"], "ids": [5, 6, 7], "tokenizer": "d1"}
        for row in rows
        for c in row["captions"]
    ]
    return pa.Table.from_pylist(listed, TOKENIZED)


def _normalized(world: World, chunk: list[int]) -> pa.Table:
    found = sorted((world.sha256(i), world.jpeg(i)) for i in chunk)
    names = [("sha256", pa.string()), ("image", pa.binary())]
    return pa.table([[k for k, _ in found], [v for _, v in found]], schema=pa.schema(names))


def _crawled(world: World, chunk: list[int]) -> pa.Table:
    rows = [
        {
            "sha256": world.sha256(i),
            "page_url": f"http://site/{copy}",
            "image_url": f"http://site/{i}.png",
            "license": None,
            "consent": json.dumps({"robots": "allowed"}),
        }
        for i in chunk
        for copy in ("first", "second")
    ]
    return pa.Table.from_pylist(rows, CRAWLED)
