"""How well an order shuffles and what it costs, beside webdataset's and mosaicml's defaults.

    python -m benchmarks.shards.order --peers PARENT

A million samples in shards of 512 that came page by page, ten samples a page, in storage order.
Measured on one epoch: the correlation of storage number and place; how far a sample of a page
stands from the page's next one (share of the mean distance, n / 3, of a random order); pairs of one
page in a batch of 256; shards that a batch, and 100 batches in a row, read; CPU time and memory of
making it. `--peers` holds the virtual environments webdataset and mosaicml-streaming; the orders of
the peers come from their own code.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHARD, PAGE, BATCH = 512, 10, 256


def ours(n: int, window: int) -> np.ndarray:
    """An epoch of `SampleOrder`, a window at a time."""
    from mmcore.shards.order import SampleOrder

    order = SampleOrder(np.diff([*range(0, n, SHARD), n]), 0, window)
    out = np.empty(n, np.int64)
    for start in range(0, n, window):
        stop = min(start + window, n)
        out[start:stop] = order.slice(start, stop).samples
    return out


def webdataset(n: int) -> np.ndarray:
    """`shardshuffle=100` and `.shuffle(1000)`, the usual settings, on numbers instead of bytes."""
    import random

    from webdataset import filters

    shards = [range(at, min(at + SHARD, n)) for at in range(0, n, SHARD)]
    mixed = filters._shuffle(iter(shards), 100, initial=100, rng=random.Random(0))
    samples = (number for shard in mixed for number in shard)
    return np.fromiter(filters._shuffle(samples, 1000, initial=100, rng=random.Random(1)), np.int64)


def mosaicml(n: int, setting: str) -> np.ndarray:
    """`ALGORITHM/BLOCK` for one canonical node."""
    from streaming.base.shuffle import get_shuffle

    sizes = np.diff([*range(0, n, SHARD), n])
    algorithm, _, block = setting.partition("/")
    return np.asarray(get_shuffle(algorithm, sizes, 1, 0, 0, int(block)), np.int64)


def quality(order: np.ndarray) -> dict[str, float]:
    """The figures of one epoch's order."""
    n = len(order)
    assert np.array_equal(np.sort(order), np.arange(n)), "not every sample exactly once"
    place = np.argsort(order)
    steps = np.abs(np.diff(place[: n // PAGE * PAGE].reshape(-1, PAGE), axis=1))
    batches = order[: n // BATCH * BATCH].reshape(-1, BATCH)
    pages = np.sort(batches // PAGE, axis=1)
    pairs = sum(
        ((pages[:, gap:] == pages[:, :-gap]) & (pages[:, gap:] >= 0)).sum()
        for gap in range(1, PAGE)
    )
    shards = [len(np.unique(batch)) for batch in batches[:200] // SHARD]
    hundred = [len(np.unique(b)) for b in (batches // SHARD)[: len(batches) // 100 * 100].reshape(
        -1, 100 * BATCH)[:20]]  # fmt: skip
    return {
        "correlation": float(abs(np.corrcoef(place, np.arange(n))[0, 1])),
        "spread": float(steps.mean() / (n / 3)),
        "pairs": float(pairs / len(batches)),
        "shards": float(np.mean(shards)),
        "hundred": float(np.mean(hundred)),
    }


def timed(make: Callable[[], np.ndarray]) -> dict[str, float]:
    """Quality, and what making the order cost."""
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    order = make()
    cpu = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return quality(order) | {"cpu_s": cpu, "mb": (peak - idle) / 1024}


def measure(which: str, n: int) -> dict[str, float]:
    """One order in this process."""
    name, _, setting = which.partition(":")
    if name == "mmcore":
        return timed(lambda: ours(n, int(setting)))
    if name == "webdataset":
        import webdataset as _webdataset  # noqa: F401

        return timed(lambda: webdataset(n))
    import streaming as _streaming  # noqa: F401

    return timed(lambda: mosaicml(n, setting))


def main() -> None:
    """Print the table, each order made in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--measure", help="one order, printed as JSON")
    options = parser.parse_args()
    n = options.samples
    if options.measure:
        print(json.dumps(measure(options.measure, n)))
        return
    python = {
        "mmcore": sys.executable,
        "webdataset": str(options.peers / "webdataset/bin/python"),
        "mosaicml": str(options.peers / "mosaicml-streaming/bin/python"),
    }
    print("| order | correlation | page spread | same-page pairs a batch | shards a batch |"
          " shards in 100 batches | CPU s | MB |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    print(f"| random | 0 | 1.00 | {BATCH * (PAGE - 1) * BATCH / n / 2:.2f} | | | | |")
    orders = (
        "mmcore:65536",
        f"mmcore:{n}",
        "mmcore:8192",
        "webdataset:",
        "mosaicml:py1e/4000000",  # the default of one canonical node
        "mosaicml:py1e/65536",
    )
    for which in orders:
        command = [python[which.partition(":")[0]], "-W", "ignore", __file__]
        answer = subprocess.run(
            [*command, "--samples", str(n), "--measure", which],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        found = json.loads(answer.stdout.strip().splitlines()[-1])
        print(
            f"| {which} | {found['correlation']:.3f} | {found['spread']:.2f} |"
            f" {found['pairs']:.2f} | {found['shards']:.0f} | {found['hundred']:.0f} |"
            f" {found['cpu_s']:.2f} | {found['mb']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
