"""Texts brought to the part that their cluster lies in."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup import stage_rows
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
    route = Route.of(pa.chunked_array([_keys(*images)]), images // 2, images // 3)
    source = Source(texts, ["sha256", "text", "kept"], _kept, _clusters)
    found, notes = shuffle(source, route, lake.storage, "scratch", "test")
    for part in range(3):
        said = sorted(text for rows in found.read(part) for text in rows["text"].to_pylist())
        mine = [image for image in images.tolist() if image // 3 == part and image != 5]
        assert said == sorted(f"{number} of {image}" for number in range(4) for image in mine)
    (note,) = notes  # small parts share a file
    assert note["3 of 7"] == 3
    found.remove()
    assert lake.storage.keys("scratch") == []


def test_slices_do_not_cut_through_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_rows, "_ROWS_PER_PART", 4)
    names = pa.chunked_array([list("aabbbbbbbccd")])
    starts = stage_rows._starts(names)
    assert starts.tolist() == [0, 2, 9, 11]
    assert stage_rows._cuts(starts, 12) == [0, 2, 12]
    assert stage_rows._cuts(np.array([0]), 12) == [0, 12]
    assert stage_rows._cuts(np.empty(0, np.int64), 0) == [0, 0]
