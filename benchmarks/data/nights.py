"""What a night of dedup costs: by its own size, and by the size of what earlier nights had.

    python benchmarks/data/nights.py growth --out FOLDER --rows 10000 100000 1000000
    python benchmarks/data/nights.py history --out FOLDER --clusters 10000 100000 1000000
    python benchmarks/data/nights.py rerun --out FOLDER --rows 100000

The days are signatures as clean writes them (hash, thumbnail, digests) in parts of 256 rows; one
image in five is a near copy of another. Each image has one caption, of words of its own, or with
`growth --captions template` all of one mould. No pixels are decoded: this measures the whole dedup
stage and nothing else, with an embedded Ray of two CPUs.

`growth` deduplicates one day of each size. `history` gives a night of 10,000 images histories of
different sizes. `rerun` deduplicates a corpus and then a tenth more on the next day, and compares
the clusters with those of one run over all.

CPU is user and system time of this process and all of Ray's, memory their proportional set size
(`mmcore.cluster.usage`). First it is checked that the copies, and only those, were found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.clean.occurrences import TEXTS
from mmcore.clean.stage import CLEANED
from mmcore.cluster import ClusterSettings, connect
from mmcore.cluster.usage import measured
from mmcore.crawl.schemas import CRAWLED
from mmcore.dedup import stage, stage_index, stage_text_index
from mmcore.lake import Dataset, Lake

Indices = npt.NDArray[np.int64]
ROWS_PER_PART, TEXTS_PER_PART = 256, 20_000
COPIES = 5  # one image in five is a copy
CAPTIONS = {"own": "{} {} {} {} {}", "template": "A picture of {}{} and {}{}"}
DAYS = [f"2026-11-{day:02d}" for day in range(1, 31)]


# -- days of signatures --


def images(first: int, rows: int) -> Indices:
    """Numbers of a day's images [rows]: picture * 8 + copy. Every fifth is a copy of another."""
    originals = rows - rows // COPIES
    pictures = np.arange(first, first + originals)
    copied = pictures[: rows // COPIES]
    return np.concatenate([pictures * 8, copied * 8 + 1 + copied % 3])


def _noise(numbers: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.uint64]:
    """A well mixed 64-bit number for each (splitmix64)."""
    x = numbers + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def keys(numbers: Indices, of: str) -> pa.Array:
    """Hex digests, one a number."""
    return pa.array([hashlib.sha256(f"{of}{n}".encode()).hexdigest() for n in numbers.tolist()])


def signatures(numbers: Indices) -> pa.Table:
    """`cleaned` rows. A copy differs from its picture in some bits of the hash and in noise."""
    picture, copy = (numbers // 8).astype(np.uint64), numbers % 8
    hashes = _noise(picture, 1)
    for bit in range(4):
        flip = np.uint64(1) << (_noise(numbers.astype(np.uint64), 2 + bit) % np.uint64(64))
        hashes = np.where(copy > bit % 3, hashes ^ flip, hashes)
    cells = np.arange(96, dtype=np.uint64)
    values = _noise(picture[:, None] * np.uint64(96) + cells, 9).view(np.uint8)
    thumbs = 30 + (values.reshape(len(numbers), 768) % 180)
    thumbs = (thumbs + (copy % 3)[:, None]).astype(np.uint8)
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(768), len(numbers), [None, pa.py_buffer(thumbs.tobytes())]
    )
    side = 800 - 100 * (copy > 0)
    given = {
        "sha256": keys(numbers, "image"),
        "kept": pa.array(np.ones(len(numbers), np.bool_)),
        "reason": pa.array(["ok"] * len(numbers)),
        "width": pa.array(side),
        "height": pa.array(side),
        "phash": pa.array(hashes),
        "thumb": column,
        "pixels": keys(numbers, "pixels"),
    }
    rows = len(numbers)
    return pa.table(
        {f.name: given.get(f.name, pa.nulls(rows, f.type)) for f in CLEANED}, schema=CLEANED
    )


def write_day(lake: Lake, day: str, numbers: Indices, said: str = "own") -> None:
    """`cleaned`, `crawled` and `texts` of a day, in parts as the stages before write them.

    said: which of CAPTIONS the images have."""
    shuffled = np.random.default_rng(1).permutation(numbers)
    cleaned, crawled = lake.writer("cleaned", day), lake.writer("crawled", day)
    parts: dict[str, list[Any]] = {"cleaned": [], "crawled": [], "texts": []}
    shown: list[str] = []
    for index, start in enumerate(range(0, max(1, len(numbers)), ROWS_PER_PART)):
        rows = signatures(shuffled[start : start + ROWS_PER_PART])
        parts["cleaned"].append(cleaned.write_table(index, rows))
        found = {
            "sha256": rows["sha256"],
            "page_url": pa.array([f"https://a.test/{index}"] * rows.num_rows),
            "image_url": pa.array(
                [f"https://a.test/{key}.jpg" for key in rows["sha256"].to_pylist()]
            ),
        }
        table = pa.table(
            {f.name: found.get(f.name, pa.nulls(rows.num_rows, f.type)) for f in CRAWLED},
            schema=CRAWLED,
        )
        parts["crawled"].append(crawled.write_table(index, table))
        shown += rows["sha256"].to_pylist()
    texts = lake.writer("texts", day)
    for index, some in enumerate(_slices(sorted(shown), TEXTS_PER_PART)):
        parts["texts"].append(texts.write_table(index, _captions(some, said)))
    for writer in (cleaned, crawled, texts):
        writer.commit(parts[writer.name], [], {})


def _words(key: str) -> list[str]:
    """Five words of a vocabulary of 65,536."""
    return [key[at : at + 4] for at in range(0, 20, 4)]


def _captions(shown: list[str], said: str) -> pa.Table:
    n = len(shown)
    given = {
        "sha256": pa.array(shown),
        "page_url": pa.array(["https://a.test/"] * n),
        "role": pa.array(["alt"] * n),
        "text": pa.array([CAPTIONS[said].format(*_words(key)) for key in shown]),
        "kept": pa.array([True] * n),
        "reason": pa.array(["ok"] * n),
        "places": pa.array([1] * n, pa.int32()),
    }
    return pa.table({f.name: given.get(f.name, pa.nulls(n, f.type)) for f in TEXTS}, schema=TEXTS)


def _slices(values: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, max(1, len(values)), size):
        yield values[start : start + size]


# -- the gate --


def check(found: Dataset, numbers: Indices, known: Indices | None = None) -> None:
    """Every image lies with the copies of its picture and with nothing else."""
    rows = found.read(["sha256", "cluster", "reason"])
    clusters = dict(zip(rows["sha256"].to_pylist(), rows["cluster"].to_pylist(), strict=True))
    picture = dict(zip(keys(numbers, "image").to_pylist(), (numbers // 8).tolist(), strict=True))
    pairs = {(picture[key], cluster) for key, cluster in clusters.items()}
    if len(pairs) != len(set(picture.values())) or len({c for _, c in pairs}) != len(pairs):
        raise SystemExit(f"{found.label}: clusters are not the pictures")
    old = 0 if known is None else int(np.isin(numbers // 8, known // 8).sum())
    seen = sum(reason == "seen_before" for reason in rows["reason"].to_pylist())
    if seen != old:
        raise SystemExit(f"{found.label}: {seen} of {old} known images were recognised")


# -- the measurements --


def run_night(lake: Lake, day: str) -> dict[str, float]:
    """Deduplicate a day; what it cost."""
    with measured() as usage:
        stage.run(lake, day, stage.Config())
    return {"cpu": usage.cpu_seconds, "wall": usage.wall_seconds, "memory": usage.peak_memory_mb}


def growth(out: Path, sizes: list[int], said: str) -> None:
    print("| rows | CPU s | CPU µs/row | peak MB | wall s |\n|---|---|---|---|---|")
    for rows in sizes:
        lake = _lake(out / f"growth-{rows}")
        numbers = images(0, rows)
        write_day(lake, DAYS[0], numbers, said)
        cost = run_night(lake, DAYS[0])
        check(lake.dataset("deduplicated", DAYS[0]), numbers)
        print(
            f"| {rows:,} | {cost['cpu']:.1f} | {cost['cpu'] / rows * 1e6:.0f} "
            f"| {cost['memory']:.0f} | {cost['wall']:.1f} |",
            flush=True,
        )


def history(out: Path, sizes: list[int], rows: int) -> None:
    """A night of `rows` images, a fifth of them known, after histories of different sizes."""
    print(
        "| known clusters | CPU s | wall s | rows written to the index | peak MB |\n"
        "|---|---|---|---|---|"
    )
    for clusters in sizes:
        lake = _lake(out / f"history-{clusters}")
        old = np.arange(clusters) * 8
        _known(lake, old)
        numbers = np.concatenate([images(10**7, rows - rows // 5), old[: rows // 5] + 3])
        write_day(lake, DAYS[-1], numbers)
        cost = run_night(lake, DAYS[-1])
        check(lake.dataset("deduplicated", DAYS[-1]), numbers, old)
        written = lake.dataset(stage_index.NAME, DAYS[-1]).metadata["written_rows"]
        print(
            f"| {clusters:,} | {cost['cpu']:.1f} | {cost['wall']:.1f} | {written:,} "
            f"| {cost['memory']:.0f} |",
            flush=True,
        )


def _known(lake: Lake, numbers: Indices) -> None:
    """Indexes of ten nights that had these images, each its own cluster, without running them."""
    for day, some in zip(DAYS, np.array_split(numbers, 10), strict=False):
        write_day(lake, day, some)
        names = keys(np.sort(some), "image").sort()
        rows = {
            "sha256": names,
            "cluster": names,
            "canonical": names,
            "kept": pa.array([True] * len(names)),
            "reason": pa.array(["ok"] * len(names)),
            "day_first_seen": pa.array([day] * len(names)),
        }
        schema = stage.stage_rows.DEDUPLICATED
        table = pa.table(
            {f.name: rows.get(f.name, pa.nulls(len(names), f.type)) for f in schema}, schema=schema
        )
        writer = lake.writer("deduplicated", day)
        writer.commit([writer.write_table(0, table)], [], {})
        stage_index.extend(lake, stage_index.before(lake, day), day)
    stage_text_index.before(lake, DAYS[-1], stage.Config().text_limits, None)


def rerun(out: Path, rows: int) -> None:
    """A tenth more on the next day, against everything in one run."""
    numbers = images(0, rows)
    mixed = np.random.default_rng(2).permutation(numbers)
    first, more = mixed[: rows * 10 // 11], mixed[rows * 10 // 11 :]
    costs = {}
    lake = _lake(out / "nights")
    for name, day, some in (("first day", DAYS[0], first), ("a tenth more", DAYS[1], more)):
        write_day(lake, day, some)
        costs[name] = run_night(lake, day)
    whole = _lake(out / "whole")
    write_day(whole, DAYS[0], numbers)
    costs["all in one run"] = run_night(whole, DAYS[0])
    nights = [lake.dataset("deduplicated", day) for day in DAYS[:2]]
    one = [whole.dataset("deduplicated", DAYS[0])]
    same = _partition(nights) == _partition(one)
    print(f"same clusters: {same}\n\n| | rows | CPU s | CPU µs/row |\n|---|---|---|---|")
    counts = (len(first), len(more), rows)
    for (name, cost), count in zip(costs.items(), counts, strict=True):
        print(f"| {name} | {count:,} | {cost['cpu']:.1f} | {cost['cpu'] / count * 1e6:.0f} |")


def _partition(days: list[Dataset]) -> set[frozenset[str]]:
    """Clusters as sets of images, whatever they are called."""
    members: dict[str, set[str]] = {}
    for dataset in days:
        rows = dataset.read(["sha256", "cluster"])
        for key, cluster in zip(
            rows["sha256"].to_pylist(), rows["cluster"].to_pylist(), strict=True
        ):
            members.setdefault(cluster, set()).add(key)
    return {frozenset(some) for some in members.values()}


def _lake(folder: Path) -> Lake:
    shutil.rmtree(folder, ignore_errors=True)
    return Lake(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("growth", "history", "rerun"):
        command = commands.add_parser(name)
        command.add_argument("--out", type=Path, required=True)
        if name == "history":
            command.add_argument("--clusters", type=int, nargs="+", default=[10_000, 100_000])
        if name == "growth":
            command.add_argument("--captions", choices=sorted(CAPTIONS), default="own")
        many: dict[str, Any] = {"nargs": "+"} if name == "growth" else {}
        command.add_argument(
            "--rows", type=int, default=[10_000, 100_000] if many else 10_000, **many
        )
    chosen = parser.parse_args()
    start = time.monotonic()
    with connect(ClusterSettings(cpus=2)):
        warm_up(chosen.out)
        if chosen.command == "growth":
            growth(chosen.out, chosen.rows, chosen.captions)
        elif chosen.command == "history":
            history(chosen.out, chosen.clusters, chosen.rows)
        else:
            rerun(chosen.out, chosen.rows)
    print(json.dumps({"seconds in all": round(time.monotonic() - start)}))


def warm_up(out: Path) -> None:
    """Ray's workers import what they need once; that is not what is measured."""
    lake = _lake(out / "warm-up")
    write_day(lake, DAYS[0], images(0, 2000))
    run_night(lake, DAYS[0])


if __name__ == "__main__":
    main()
