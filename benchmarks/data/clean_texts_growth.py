"""The text half of the clean stage from 10,000 to 1,000,000 occurrences: CPU per row, and memory.

A crawled day is made of real captions (one a line, as `filter_captions.py make` writes them):
pages of eight images on 200 sites, each with an alt text, every fourth with a caption, page titles
that end in the site's name, a paragraph per page, and one image in ten that stands on two pages.

    python benchmarks/data/clean_texts_growth.py CAPTIONS.txt --rows 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcore.clean import stage, stage_texts
from mmcore.cluster import ClusterSettings, connect
from mmcore.cluster.usage import measured
from mmcore.lake import Lake

DAY = "2026-01-01"
PER_PAGE = 8
SITES = 200
ROWS_PER_PART = 5000
STRINGS = (
    "page_url", "image_url", "sha256", "alt", "title", "caption", "context", "heading",
    "page_title", "lang",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in STRINGS),
        ("position", pa.int32()),
        ("keywords", pa.list_(pa.string())),
        ("comments", pa.list_(pa.string())),
    ]
)


def day(captions: Iterator[str], rows: int) -> Iterator[pa.Table]:
    """Parts of `crawled`."""
    made: list[dict[str, object]] = []
    for row in range(rows):
        page = row // PER_PAGE
        host = f"https://site{page % SITES}.test"
        image = hashlib.sha256(f"{row - 5000 if row % 10 == 9 and row > 5000 else row}".encode())
        caption = next(captions)
        if row % PER_PAGE == 0:
            title, paragraph = caption, " ".join(islice(captions, 3))
        made.append(
            {
                "page_url": f"{host}/{page}",
                "image_url": f"{host}/{row}.jpg",
                "sha256": image.hexdigest(),
                "alt": caption,
                "caption": next(captions) if row % 4 == 0 else None,
                "title": "Click for details" if row % 3 == 0 else None,
                "context": paragraph,
                "page_title": f"{title} | The pages of site {page % SITES}",
                "lang": "en" if page % 2 else None,
                "position": row % PER_PAGE,
                "keywords": [],
                "comments": [],
            }
        )
        if len(made) == ROWS_PER_PART or row + 1 == rows:
            yield pa.Table.from_pylist(made, schema=SCHEMA)
            made = []


def endless(path: Path) -> Iterator[str]:
    """The captions, again and again, numbered from the second time on."""
    turn = 0
    while True:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n") + (f" {turn}" if turn else "")
        turn += 1


def measure_rows(captions: Path, rows: int, folder: Path) -> None:
    """Write a day and measure its texts; prints a row of the table."""
    lake = Lake(str(folder))
    writer = lake.writer("crawled", DAY)
    tables = enumerate(day(endless(captions), rows))
    crawled = writer.commit([writer.write_table(i, t) for i, t in tables], [], {})
    config = stage.Config()
    policy = stage_texts.TextPolicy(
        **config.model_dump(include=set(stage_texts.TextPolicy.model_fields))
    )
    with measured() as usage:
        texts = stage_texts.measure_texts(lake, DAY, crawled, policy)
        stage_texts.decide_texts(lake, DAY, texts, *_rules(config))
    largest = max(pq.ParquetFile(path).metadata.num_rows for path in texts.paths())
    print(
        f"| {rows} | {texts.rows} | {usage.cpu_seconds:.1f} | {usage.cpu_seconds / rows * 1e6:.0f} "
        f"| {usage.cpu_seconds / texts.rows * 1e6:.1f} | {usage.wall_seconds:.0f} "
        f"| {usage.peak_memory_mb:.0f} | {largest} |",
        flush=True,
    )


def _rules(config: stage.Config) -> tuple[stage.TextRules, stage.LanguageRules]:
    def part(of: Any) -> Any:
        return of(**config.model_dump(include=set(of.model_fields)))

    return part(stage.TextRules), part(stage.LanguageRules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("captions", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    given = parser.parse_args()
    print("| rows | texts | CPU-s | µs a row | µs a text | s | peak MiB | largest part |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, connect(ClusterSettings(cpus=2)):
        measure_rows(given.captions, 2000, Path(folder) / "warm")  # starts Ray's workers
        for rows in given.rows:
            measure_rows(given.captions, rows, Path(folder) / str(rows))


if __name__ == "__main__":
    main()
