"""Readers that are killed and go on with another number of ranks: what is lost, what comes twice.

    python -m benchmarks.shards.resume --runs 20

Each run reads three epochs of a split with one damaged sample. One to four rank processes
(`rank_process.py`) are started; at a random moment one of them is killed with SIGKILL, then the
others, as a scheduler does; another number of ranks goes on from the last checkpoint; that happens
twice, then a last group reads to the end. What counts of a killed group is what lies before the
checkpoint that its successor starts from, for the weights in a checkpoint know no more. The visits
of all groups, put together by step and rank, must be the very order that one process computes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.shards.rank_process import SEED
from mmcore.lake import Lake
from mmcore.shards.index import ShardName
from mmcore.shards.order import SampleOrder
from mmcore.shards.reader import SampleStore
from mmcore.shards.writer import Sample, pack_shard, sample_key

ROOT = Path(__file__).parents[2]
DAY = "2026-01-01"


@dataclass(frozen=True)
class Plan:
    """One run: the ranks of its groups, and in which step (counted in a group) each is killed."""

    worlds: tuple[int, ...]
    kill_after: tuple[int, ...]
    victims: tuple[int, ...]
    batch: int = 25
    step_ms: int = 2
    window: int = 300


@dataclass(frozen=True)
class Outcome:
    """Visits that count, and how they differ from the order of one process."""

    visits: int
    resumed_at: tuple[int, ...]
    thrown_away: int
    lost: int
    repeated: int
    same_order: bool
    skipped: int


def write_split(root: Path, samples: int, per_shard: int) -> None:
    """`shards@DAY`: random bytes as images, one of them damaged after it was hashed."""
    writer, parts = Lake(str(root)).writer("shards", DAY, format="tar"), []
    for number, first in enumerate(range(0, samples, per_shard)):
        made = [_sample(i) for i in range(first, min(first + per_shard, samples))]
        name = ShardName("train", number)
        tar, index = pack_shard(name, made)
        if number == 0:
            tar = tar.replace(made[0].jpg, bytes(len(made[0].jpg)))
        parts.append(writer.write_file(name.tar, tar, rows=len(made), extra={"split": "train"}))
        parts.append(writer.write_file(name.index, index, extra={"split": "train"}))
    writer.commit(parts, [], {})


def _sample(number: int) -> Sample:
    digest = hashlib.sha256(f"image {number}".encode())
    return Sample(sample_key(digest.hexdigest()), digest.digest() * 20, str(number), {})


def random_plan(numbers: random.Random, kills: int) -> Plan:
    """Groups of 1 to 4 ranks, neighbours of different size, killed after 4 to 60 steps."""
    worlds = [numbers.randint(1, 4)]
    while len(worlds) <= kills:
        worlds.append(numbers.choice([w for w in (1, 2, 3, 4) if w != worlds[-1]]))
    killed = worlds[:kills]
    return Plan(
        tuple(worlds),
        tuple(numbers.randint(4, 60) for _ in killed),
        tuple(numbers.randrange(world) for world in killed),
    )


def run(root: Path, plan: Plan, epochs: int, numbers: random.Random) -> Outcome:
    """Carry out a plan and compare."""
    store = SampleStore.open(Lake(str(root)).up_to("shards", DAY), "train", verify=True)
    order = SampleOrder(store.sizes, SEED, plan.window)
    steps = -(-epochs * order.epoch_length // plan.batch)
    stop = steps * plan.batch
    read: list[str] = []
    resumed, thrown = [], 0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        for group, world in enumerate(plan.worlds):
            here = Path(folder) / str(group)
            here.mkdir()
            if checkpoint.exists():
                os.replace(checkpoint, here / "checkpoint")
            kill = group < len(plan.kill_after)
            _run_group(root, here, plan, group, world, stop, numbers if kill else None)
            saved = here / "checkpoint"
            until = int(saved.read_text()) if kill and saved.exists() else 0 if kill else stop
            lines = _ledger(here, world)
            kept = [line for cursor, line in lines if cursor < until]
            thrown += len(lines) - len(kept)
            read += kept
            if kill:
                resumed.append(until)
                if saved.exists():
                    os.replace(saved, checkpoint)
    return _compare(store, order, stop, read, tuple(resumed), thrown)


def _run_group(
    root: Path,
    folder: Path,
    plan: Plan,
    group: int,
    world: int,
    stop: int,
    numbers: random.Random | None,
) -> None:
    """Start the ranks of a group; kill them, or wait until they have read to the end."""
    (folder / "steps").write_bytes(bytes(8 * world))
    common = [sys.executable, "-m", "benchmarks.shards.rank_process", str(root), DAY, str(folder)]
    rest = [str(n) for n in (world, plan.batch, stop, plan.step_ms, plan.window)]
    ranks = [
        subprocess.Popen([*common, str(rank), *rest], cwd=ROOT, start_new_session=True)
        for rank in range(world)
    ]
    try:
        if numbers is not None:
            _wait_for_step(folder, ranks, plan.kill_after[group])
            time.sleep(numbers.random() * 0.01)  # anywhere within a step
            ranks[plan.victims[group]].send_signal(signal.SIGKILL)
            time.sleep(numbers.random() * 0.01)
        else:
            for rank in ranks:
                if rank.wait(timeout=300):
                    raise RuntimeError(f"a rank ended with status {rank.returncode}")
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def _wait_for_step(folder: Path, ranks: list[subprocess.Popen[bytes]], step: int) -> None:
    while np.frombuffer((folder / "steps").read_bytes(), np.int64).max() < step:
        if any(rank.poll() for rank in ranks):
            raise RuntimeError("a rank failed before it was killed")
        time.sleep(0.0005)


def _ledger(folder: Path, world: int) -> list[tuple[int, str]]:
    """(cursor, rest of the line) of all ranks, by step and rank; a line cut by the kill is none."""
    lines = []
    for rank in range(world):
        file = folder / f"ledger-{rank}"
        text = file.read_text() if file.exists() else ""
        for place, line in enumerate(text[: text.rfind("\n") + 1].splitlines()):
            cursor, _, rest = line.partition(" ")
            lines.append((int(cursor), rank, place, rest))
    return [(cursor, rest) for cursor, _, _, rest in sorted(lines)]


def _compare(
    store: SampleStore,
    order: SampleOrder,
    stop: int,
    read: list[str],
    resumed: tuple[int, ...],
    thrown: int,
) -> Outcome:
    keys = store.keys
    content = {}
    for number, key in enumerate(keys):
        if number != _damaged(store):
            content[number] = f"{key} {hashlib.sha256(store.raw(number).image).hexdigest()}"
    expected = [content[n] for n in order.slice(0, stop).samples.tolist() if n in content]
    found = [line for line in read if not line.startswith("skipped")]
    lost, repeated = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    return Outcome(
        len(found),
        resumed,
        thrown,
        lost.total(),
        repeated.total(),
        found == expected,
        len(read) - len(found),
    )


def _damaged(store: SampleStore) -> int:
    """The number of the one sample that cannot be read."""
    from mmcore.shards.reader import Problem, Skipped, read_raw

    problems: list[Problem] = []
    skipped = Skipped(problems.append)
    read_raw(store, range(len(store)), skipped)
    (number,) = skipped.found
    return number


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first run: its seed")
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    print("| run | ranks | killed after step (rank) | resumed at | read | read anew | lost |"
          " repeated | same order |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), options.samples, 64)
        for number in range(options.first, options.first + options.runs):
            numbers = random.Random(number)
            plan = random_plan(numbers, kills=2)
            found = run(Path(folder), plan, 3, numbers)
            ranks = " → ".join(map(str, plan.worlds))
            kills = zip(plan.kill_after, plan.victims, strict=True)
            killed = ", ".join(f"{step} ({victim})" for step, victim in kills)
            at = ", ".join(f"{cursor:,}" for cursor in found.resumed_at)
            print(
                f"| {number} | {ranks} | {killed} | {at} | {found.visits:,} | {found.thrown_away} |"
                f" {found.lost} | {found.repeated} | {'yes' if found.same_order else 'NO'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
