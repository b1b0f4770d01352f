"""Training data of the tiny world: coloured squares on the left or the right."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.lake import Dataset, Lake
from mmcore.models.images import decode_images
from mmcore.shards.index import ShardName
from mmcore.shards.order import SampleOrder
from mmcore.shards.writer import Sample, pack_shard, sample_key
from mmcore.train.data import build_table
from mmcore.train.samples import MemorySamples
from tests.models import tiny

KINDS = list(itertools.product(tiny.COLOURS, tiny.PLACES))


def samples(count: int, first: int = 0) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Pictures and their labels; the ground's shade sets equal kinds apart."""
    kinds = [KINDS[n % len(KINDS)] for n in range(first, first + count)]
    pictures = [tiny.picture(*kind, shade=255 - 3 * n) for n, kind in enumerate(kinds)]
    return pictures, [tiny.record(*kind, number=first + n) for n, kind in enumerate(kinds)]


def training_data(count: int, seed: int = 0, captions: int = 1) -> MemorySamples:
    """What the loop reads: label arrays, a function that gives pixels, and the order. captions: of
    each sample."""
    pictures, records = samples(count)
    for number, record in enumerate(records):
        for more in range(1, captions):
            text = f"{'once more ' * more} a square {number}"
            record["captions"].append({"text": text, "lang": "en", "confidence": 0.7})
    table = build_table(records, tiny.LABELS, tiny.tokenizer(), 16)
    decoded: NDArray[np.uint8] = decode_images(pictures, 32)
    return MemorySamples(
        table, lambda numbers: decoded[numbers], SampleOrder(np.array([count]), seed)
    )


def write_shards(lake: Lake, day: str, train: int, val: int, first: int = 0) -> Dataset:
    """``shards@day`` and, where there is none, ``tokenizer``."""
    writer, parts = lake.writer("shards", day, format="tar"), []
    start = first
    for split, count in (("train", train), ("val", val)):
        pictures, records = samples(count, start)
        start += count
        packed = [
            Sample(sample_key(r["sha256"][::-1]), p, r["captions"][0]["text"], r)
            for p, r in zip(pictures, records, strict=True)
        ]
        name = ShardName(split, 0)
        tar, index = pack_shard(name, packed)
        parts.append(writer.write_file(name.tar, tar, rows=count, extra={"split": split}))
        parts.append(writer.write_file(name.index, index, extra={"split": split}))
    if lake.find("tokenizer") is None:
        built = lake.writer("tokenizer", format="files")
        text = tiny.tokenizer().json_text.encode()
        built.commit([built.write_file("tokenizer.json", text)], [], {})
    return writer.commit(parts, [], {})
