"""What the texts of a night of dedup cost, by how many texts earlier nights had.

    python benchmarks/data/nights_texts.py --out FOLDER --known 10000 100000 1000000

A night has 10,000 texts that no night had before: 5,000 like no other, 2,000 near copies of those
and 3,000 near copies of texts of earlier nights, of which there were ten. A text is 16 words of
65,536, a copy lacks the last. Measured is all the stage does with texts but the joining of captions
to images: read, sign, look up, verify, extend `text_index`; with an embedded Ray of two CPUs, whose
workers are warm.

CPU is user and system time of this process and all of Ray's, memory their proportional set size
(`mmcore.cluster.usage`). Then it is checked that every text has the cluster it has in one run over
all texts; they come leader first here.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.clean.occurrences import TEXTS
from mmcore.cluster import ClusterSettings, connect
from mmcore.cluster.usage import measured
from mmcore.dedup import stage, stage_text_index
from mmcore.dedup.stage_rows import DEDUPLICATED
from mmcore.dedup.text_index import NAME, TextHistory
from mmcore.lake import Lake

LIMITS = stage.Config().text_limits
DAYS = [f"2026-11-{day:02d}" for day in range(1, 12)]
NIGHT = 10_000
ROWS_PER_PART = 20_000


def texts(first: int, count: int, words: int = 16) -> pa.Array:
    """Texts number `first` to `first + count`, or near copies of them with a word less."""
    digests = [
        hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, first + count)
    ]
    ends = range(0, 4 * words, 4)
    return pa.array([" ".join(digest[at : at + 4] for at in ends) for digest in digests])


def write_day(lake: Lake, day: str, said: pa.Array) -> None:
    """`texts` and `deduplicated` of a day: a new image a text."""
    n = len(said)
    keys = [hashlib.sha256(f"{day}{at}".encode()).hexdigest() for at in range(n)]
    order = np.argsort(keys)
    shown = pa.array(keys).take(pa.array(order))
    given = {
        "sha256": shown,
        "cluster": shown,
        "role": pa.array(["alt"] * n),
        "text": said.take(pa.array(order)),
        "kept": pa.array([True] * n),
        "places": pa.array([1] * n, pa.int32()),
    }
    for name, schema in (("texts", TEXTS), ("deduplicated", DEDUPLICATED)):
        rows = pa.table([given.get(f.name, pa.nulls(n, f.type)) for f in schema], schema=schema)
        slices = [rows.slice(at, ROWS_PER_PART) for at in range(0, n, ROWS_PER_PART)]
        writer = lake.writer(name, day)
        writer.commit([writer.write_table(*part) for part in enumerate(slices)], [], {})


def run_night(lake: Lake, day: str) -> dict[str, float]:
    """Compare the texts of a day and extend the index by them; what it cost."""
    with measured() as usage:
        stage_text_index.extend(lake, stage_text_index.before(lake, day, LIMITS, None), day)
    return {"cpu": usage.cpu_seconds, "wall": usage.wall_seconds, "memory": usage.peak_memory_mb}


def nights(out: Path, known: int) -> None:
    """One row of the table."""
    lake = fresh(out / f"known-{known}")
    new = pa.concat_arrays([texts(10**8, 5000), texts(10**8, 2000, 15), texts(0, 3000, 15)])
    old = texts(0, known)
    size = -(-known // (len(DAYS) - 1))
    for number, day in enumerate(DAYS[:-1]):
        write_day(lake, day, old.slice(number * size, size))
    write_day(lake, DAYS[-1], new)
    with measured() as usage:
        stage_text_index.before(lake, DAYS[-1], LIMITS, None)
    cost = run_night(lake, DAYS[-1])
    index = lake.dataset(NAME, DAYS[-1])
    whole = fresh(out / "whole")
    write_day(whole, DAYS[0], pa.concat_arrays([old, new]))
    one = run_night(whole, DAYS[0])
    check(lake, whole, known)
    print(
        f"| {known:,} | {cost['cpu']:.1f} | {cost['wall']:.1f} | {cost['memory']:.0f} "
        f"| {index.metadata['written_rows']:,} | {usage.cpu_seconds:.1f} | {one['cpu']:.1f} |",
        flush=True,
    )
    shutil.rmtree(out)


def check(lake: Lake, whole: Lake, known: int) -> None:
    """Every text has the leader it has in one run over everything, and they are those made."""
    found, alone = (_leaders(some, day) for some, day in ((lake, DAYS[-1]), (whole, DAYS[0])))
    if not all(np.array_equal(*pair) for pair in zip(found, alone, strict=True)):
        raise SystemExit(f"after {known:,} texts: not the clusters of one run")
    if (len(found[0]), len(np.unique(found[1]))) != (known + NIGHT, known + 5000):
        raise SystemExit(f"after {known:,} texts: not the clusters that were made")


def _leaders(lake: Lake, day: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Hashes of all texts, sorted, and of the leader of each."""
    history: TextHistory = stage_text_index.opened(lake, lake.dataset(NAME, day))
    parts = list(history.parts("seen"))
    keys = np.concatenate([part["key"].to_numpy() for part in parts])
    ids = np.concatenate([part["id"].to_numpy() for part in parts])
    order = np.argsort(keys)
    return keys[order], history.leaders(np.arange(history.state.ids))[ids[order]]


def fresh(folder: Path) -> Lake:
    """An empty lake."""
    shutil.rmtree(folder, ignore_errors=True)
    return Lake(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--known", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    chosen = parser.parse_args()
    print(
        "| known texts | CPU s of the night | wall s | peak MB | rows written to the index "
        "| CPU s of the ten nights before | CPU s of one run over all |"
        "\n|---|---|---|---|---|---|---|"
    )
    with connect(ClusterSettings(cpus=2)):
        warm = fresh(chosen.out / "warm-up")
        write_day(warm, DAYS[0], texts(0, 1000))
        run_night(warm, DAYS[0])
        for known in chosen.known:
            nights(chosen.out, known)


if __name__ == "__main__":
    main()
