"""One rank that reads its shares and writes down what it got, until it is killed or done.

    python -m benchmarks.shards.rank_process ROOT DAY FOLDER RANK WORLD BATCH STOP STEP_MS WINDOW

The ranks of a run stand in one folder. They step together, as all-reduce makes trainers do, by a
file of step counts that all of them map. A line of `ledger-RANK` is `CURSOR KEY SHA256-OF-IMAGE`,
written before the step counts as done, or `CURSOR skipped REASON`. Rank 0 writes `checkpoint`, the
cursor, by rename, every few steps; a run that finds one goes on from there.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np

from mmcore.lake import Lake
from mmcore.shards.order import SampleOrder, Visits
from mmcore.shards.reader import RawSample, SampleStore, Skipped, read_raw, read_shares

SEED = 11
STEPS_PER_CHECKPOINT = 5


def main(arguments: list[str]) -> None:
    """Read from the checkpoint, if there is one, to STOP."""
    root, day, folder = arguments[0], arguments[1], Path(arguments[2])
    rank, world, batch, stop, step_ms, window = map(int, arguments[3:])
    problems: list[str] = []
    skipped = Skipped(lambda problem: problems.append(problem.reason))
    store = SampleStore.open(Lake(root).up_to("shards", day), "train", verify=True)
    order = SampleOrder(store.sizes, SEED, window)
    saved = folder / "checkpoint"
    cursor = int(saved.read_text()) if saved.exists() else 0

    def work(visits: Visits) -> list[tuple[int, RawSample]]:
        return read_raw(store, visits.samples.tolist(), skipped)

    steps = Steps(folder, rank, world)
    ledger = os.open(folder / f"ledger-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for share in read_shares(order, work, cursor, batch, rank, world, threads=2):
        lines = [f"{cursor} {s.key} {hashlib.sha256(s.image).hexdigest()}" for _, s in share.result]
        lines += [f"{cursor} skipped {reason}" for reason in _taken(problems)]
        os.write(ledger, "".join(f"{line}\n" for line in lines).encode())
        time.sleep(step_ms / 1000)
        steps.done()
        cursor = share.next_cursor
        if rank == 0 and cursor // batch % STEPS_PER_CHECKPOINT == 0:
            partial = folder / ".checkpoint"
            partial.write_text(str(cursor))
            os.replace(partial, saved)
        if cursor >= stop:
            return


def _taken(problems: list[str]) -> list[str]:
    found = problems[:]
    del problems[: len(found)]
    return found


class Steps:
    """How many steps each rank has done."""

    def __init__(self, folder: Path, rank: int, world: int) -> None:
        self.rank, self.count = rank, 0
        with open(folder / "steps", "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8 * world)
        self._counts = np.frombuffer(self._memory, np.int64)

    def done(self) -> None:
        """Count a step and wait until all ranks have done it."""
        self.count += 1
        self._counts[self.rank] = self.count
        while self._counts.min() < self.count:
            time.sleep(0.0002)


if __name__ == "__main__":
    main(sys.argv[1:])
