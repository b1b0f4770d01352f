"""Texts brought to the part that their cluster lies in."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup.hashing import short_digests
from mmcore.dedup.stage_shuffle import Route, Source, shuffle
from mmcore.lake import Lake


def _keys(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]


def _kept(rows: pa.Table) -> pa.Table:
    return rows.filter(rows["kept"])


def _clusters(rows: pa.Table, clusters: np.ndarray) -> dict[str, int]:
    return dict(zip(rows["text"].to_pylist(), clusters.tolist(), strict=True))


@pytest.mark.usefixtures("ray_session")
def test_every_part_gets_the_rows_of_its_images_and_no_others(lake: Lake) -> None:
    writer = lake.writer("texts", "2026-11-23")
    parts = []
    for number in range(4):
        rows = {
            "sha256": _keys(*range(8), 99),
            "text": [f"{number} of {image}" for image in [*range(8), 99]],
            "kept": [image != 5 for image in [*range(8), 99]],
        }
        parts.append(writer.write_table(number, pa.table(rows)))
    texts = writer.commit(parts, [], {})
    images = np.arange(8)
    keys = short_digests(pa.array(_keys(*images)))
    order = np.argsort(keys)
    cluster = (images // 2)[order].astype(np.int32)
    route = Route(keys[order], cluster, np.array([0, 0, 1, 2], np.int32))
    source = Source(texts, ["sha256", "text", "kept"], _kept, _clusters)
    found, notes = shuffle(source, route, lake.storage, "scratch", "test")
    for part in range(3):
        said = sorted(text for rows in found.read(part) for text in rows["text"].to_pylist())
        mine = [i for i in images.tolist() if route.part[i // 2] == part and i != 5]
        assert said == sorted(f"{number} of {image}" for number in range(4) for image in mine)
    (note,) = notes  # small parts share a file
    assert note["3 of 7"] == 3
    found.remove()
    assert lake.storage.keys("scratch") == []
