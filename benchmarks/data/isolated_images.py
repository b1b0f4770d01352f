"""What it costs to decode in a process of its own: the same images measured with and without it.

    OMP_NUM_THREADS=1 python benchmarks/data/isolated_images.py --images FOLDER --rounds 5

Both sides take the images in chunks of 64 rows, in alternating order, and must give the same
tables. Figures are CPU seconds of this process and its children; starting the other process is
reported by itself, for it happens once per Ray worker. `restart` is a crash and the fork after it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa

from mmcore.clean.measure import Measure, lost
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.sandbox import Limits, Sandbox, Tables, chunks

_LIMITS = Limits(30, 300, 1536)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("set OMP_NUM_THREADS=1: idle BLAS threads would be counted as work")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = _table([p.read_bytes() for p in sorted(chosen.images.iterdir())])
    measure = Measure(PixelPolicy())
    box = Sandbox(measure, _LIMITS)
    first = rows.slice(0, 1)
    start = _seconds(lambda: box.map(first, lost))
    sides: dict[str, Callable[[pa.Table], list[Tables]]] = {
        "same process": lambda part: [measure(part)],
        "own process": lambda part: box.map(part, lost),
    }
    for side in sides.values():  # warm
        side(first)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[Tables]] = {}
    parts = list(chunks(rows, "bytes", 64, 32 << 20))
    for number in range(chosen.rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            before = _used()
            answers[name] = [tables for part in parts for tables in sides[name](part)]
            seconds[name].append(_used() - before)
    if answers["same process"] != answers["own process"]:
        raise SystemExit("the two sides differ")
    print(f"{rows.num_rows} images, {chosen.rounds} rounds; the same tables from both sides")
    for name, values in seconds.items():
        print(f"| {name} | {1000 * statistics.median(values) / rows.num_rows:.3f} ms/image |")
    module = importlib.import_module(Path(__file__).stem)  # a name that the other process knows
    crash = Sandbox(module._crash, _LIMITS)
    crash.map(first, lost)  # starts it
    took = statistics.median(_seconds(lambda: crash.map(first, lost)) for _ in range(9))
    print(f"start: {start:.2f} s once; restart after a crash: {1000 * took:.0f} ms")


def _crash(rows: pa.Table, started: Callable[[], None]) -> Tables:
    started()
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process and every process below it that is alive, or died within."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _table(images: list[bytes]) -> pa.Table:
    return pa.table(
        {
            "sha256": [hashlib.sha256(data).hexdigest() for data in images],
            "image": pa.array(images, pa.binary()),
            "bytes": [len(data) for data in images],
            "url": ["http://bench.test/"] * len(images),
        }
    )


if __name__ == "__main__":
    main()
