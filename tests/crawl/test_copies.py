"""An image that several hosts serve is stored once, under the smallest of its URLs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.crawl.copies import copies
from mmcore.crawl.unit import PART_STRIDE
from mmcore.lake import DatasetWriter, Lake, Part


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def writer(tmp_path: Path) -> DatasetWriter:
    return Lake(str(tmp_path)).writer("raw", "2026-01-01")


def write(writer: DatasetWriter, index: int, rows: dict[int, str]) -> tuple[int, Part]:
    table = pa.table({"sha256": [sha(n) for n in rows], "url": list(rows.values())})
    return index, writer.write_table(
        index, table.cast(pa.schema({n: "string" for n in table.column_names}))
    )


def test_the_smallest_url_keeps_an_image_and_ties_go_to_the_earlier_unit(
    writer: DatasetWriter,
) -> None:
    parts = dict(
        [
            write(writer, 0, {1: "http://b/1", 2: "http://a/2", 3: "http://a/3"}),
            write(writer, 1, {4: "http://a/4"}),
            write(writer, PART_STRIDE, {1: "http://a/1", 2: "http://b/2", 5: "http://b/5"}),
            write(writer, 2 * PART_STRIDE, {4: "http://a/4", 2: "http://c/2"}),
        ]
    )
    assert copies(writer, parts) == {
        0: [sha(1)],
        PART_STRIDE: [sha(2)],
        2 * PART_STRIDE: [sha(4), sha(2)],
    }


def test_digests_that_only_begin_alike_are_two_images(
    writer: DatasetWriter,
) -> None:
    tables = [pa.table({"sha256": [sha(1)[:16] + c * 48], "url": [f"http://{c}/"]}) for c in "ab"]
    parts = {i * PART_STRIDE: writer.write_table(i * PART_STRIDE, t) for i, t in enumerate(tables)}
    assert copies(writer, parts) == {}


def test_nothing_stored_has_no_copies(writer: DatasetWriter) -> None:
    assert copies(writer, {}) == {}
    assert copies(writer, dict([write(writer, 0, {})])) == {}
