"""What cleaning costs as a day grows: the image half of the stage on Ray, from bytes to decisions.

    python benchmarks/data/clean_growth.py --rows 10000,100000,300000
    python benchmarks/data/clean_growth.py --images FOLDER

`--rows`: days of that many images: 64 pictures of 96x96, each row with bytes of its own behind
them, in parts of 256 rows, and a row of `outcomes` each. `--images`: every file of a folder once.
Each run is a process of its own; CPU seconds and peak memory (PSS) are of its whole tree, Ray and
the decoding processes included. A run of 64 rows is measured first and its CPU time, which is Ray
and the decoders starting, is taken off.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcore.lake import Lake

DAY = "2026-01-01"
_PART_ROWS, _PART_BYTES = 256, 128 << 20


def pictures(rows: int) -> Iterator[bytes]:
    """`rows` JPEGs, all different as files, 64 as pictures."""
    from PIL import Image

    rng, made = np.random.default_rng(0), []
    for _ in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        sink = io.BytesIO()
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=85)
        made.append(sink.getvalue())
    for row in range(rows):
        yield made[row % 64] + row.to_bytes(8, "little")


def files(folder: Path) -> Iterator[bytes]:
    """Every file below a folder, links left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.read_bytes()


def write_day(lake: Lake, images: Iterator[bytes]) -> int:
    """`raw`, `outcomes` and an empty `crawled` of a day; returns the rows of `raw`."""
    raw, outcomes, crawled = (lake.writer(name, DAY) for name in ("raw", "outcomes", "crawled"))
    parts: tuple[list[Any], list[Any]] = ([], [])
    seen, batch, size = set[str](), list[bytes](), 0

    def close() -> None:
        index = len(parts[0])
        keys = [hashlib.sha256(data).hexdigest() for data in batch]
        urls = [f"http://bench.test/{key[:16]}" for key in keys]
        sizes = pa.array([len(data) for data in batch], pa.int64())
        table = {"sha256": keys, "image": pa.array(batch, pa.binary()), "bytes": sizes, "url": urls}
        parts[0].append(raw.write_table(index, pa.table(table)))
        n = len(keys)
        table = {"url": urls, "kind": ["image"] * n, "reason": ["ok"] * n, "sha256": keys}
        parts[1].append(outcomes.write_table(index, pa.table(table)))
        batch.clear()

    for data in images:
        key = hashlib.sha256(data).hexdigest()
        if key in seen:
            continue
        seen.add(key)
        batch.append(data)
        size += len(data)
        if len(batch) == _PART_ROWS or size > _PART_BYTES:
            close()
            size = 0
    if batch:
        close()
    raw.commit(parts[0], [], {})
    outcomes.commit(parts[1], [], {})
    crawled.commit([crawled.write_table(0, _no_pages())], [], {})
    return len(seen)


def _no_pages() -> pa.Table:
    from mmcore.crawl.schemas import CRAWLED

    return CRAWLED.empty_table()


def clean(root: str) -> dict[str, object]:
    """Run the stage in this process and measure it."""
    from mmcore.clean.stage import Config, run
    from mmcore.cluster import ClusterSettings, connect
    from mmcore.cluster.usage import measured

    lake = Lake(root)
    with measured() as usage, connect(ClusterSettings(cpus=2)):
        cleaned = run(lake, DAY, Config())
    return {
        "rows": cleaned.rows,
        "cpu_s": usage.cpu_seconds,
        "wall_s": usage.wall_seconds,
        "peak_mb": usage.peak_memory_mb,
        "funnel": cleaned.metadata["funnel"],
    }


def measure(images: Iterator[bytes]) -> dict[str, object]:
    """Write a day and clean it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_day(Lake(folder), images)
        command = [sys.executable, __file__, "--clean", folder]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    answer: dict[str, object] = json.loads(said.decode().splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default="10000")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--clean", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.clean:
        print(json.dumps(clean(chosen.clean)))
        return
    days = [files(chosen.images)] if chosen.images else map(pictures, _sizes(chosen.rows))
    idle = measure(pictures(64))["cpu_s"]
    print("| images | CPU ms an image | images a second | peak memory, MiB |\n|---|---|---|---|")
    for day in days:
        run = measure(day)
        cost = 1000 * (run["cpu_s"] - idle) / run["rows"]  # type: ignore[operator]
        rate = run["rows"] / run["wall_s"]  # type: ignore[operator]
        print(f"| {run['rows']:,} | {cost:.2f} | {rate:,.0f} | {run['peak_mb']:,.0f} |")
        print(f"  {run['funnel']}", file=sys.stderr)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


if __name__ == "__main__":
    main()
