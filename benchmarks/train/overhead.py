"""What Ray costs a training, and what a second rank brings.

    python -m benchmarks.train.overhead ray LAKE --day 2026-11-25 --minutes 10 --rounds 2
    python -m benchmarks.train.overhead ranks LAKE --day 2026-11-25 --minutes 2 --rounds 2

`ray`: the same training of one rank, once as the train stage runs it (Ray Train, checkpoints,
progress), once as a bare process that calls the rank's function; one after the other, in turns.
`ranks`: one rank, two ranks with the same threads and samples for each, and two trainings of one
rank that know nothing of each other, which is the most that two ranks could do on this machine;
bare and by Ray. Wants a quiet machine of two cores. Every training is from nothing, on links to the
lake's files in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from mmcore.cluster import ClusterSettings, connect
from mmcore.lake import Lake
from mmcore.models.config import load_preset
from mmcore.train.local_messages import LocalMessages
from mmcore.train.pixels import Neighbours
from mmcore.train.rank import Callbacks, Job, train_rank
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import TrainSettings
from mmcore.train.stage import Config, run


def _config(minutes: float, workers: int, batch: int) -> Config:
    return Config(budget_minutes=minutes, workers=workers, batch_size=batch)


def one(side: str, root: str, day: str, minutes: float, workers: int, batch: int) -> dict[str, Any]:
    """Train once in this process or below it; what it did in what time."""
    began, lake = time.monotonic(), Lake(root)
    if side == "bare":
        record = _bare(lake, day, _config(minutes, workers, batch))
    else:
        with connect(ClusterSettings(cpus=2)):
            candidate = run(lake, day, _config(minutes, workers, batch), run_name="overhead")
        record = json.loads(candidate.read_file("training.json"))
    return {
        "side": side,
        "workers": workers,
        "samples": record["samples_seen"],
        "loop_seconds": record["seconds"],
        "busy": round(fmean(row["utilisation"] for row in record["history"]), 3),
        "waiting": _mean_of(record["history"]),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def _mean_of(history: list[dict[str, Any]]) -> dict[str, float]:
    """Shares of the time that rank 0 waited, by what for."""
    names = {name for row in history for name in row["waiting"]}
    return {name: round(fmean(r["waiting"].get(name, 0.0) for r in history), 4) for name in names}


def _bare(lake: Lake, day: str, config: Config) -> dict[str, Any]:
    """The ranks' function in processes of their own, without Ray; ``training.json``."""
    job = Job(
        lake.up_to("shards", day),
        lake.dataset("tokenizer").read_file("tokenizer.json").decode("utf-8"),
        load_preset(config.preset),
        TrainSettings.model_validate(config.model_dump(include=set(TrainSettings.model_fields))),
        0,
        None,
    )
    folder = RunFolder(lake.storage, "bare")
    name, world = f"bare-{os.getpid()}", config.worker_range[0]
    if world == 1:
        _bare_rank(0, world, name, job, folder)
    else:
        multiprocessing.spawn(_bare_rank, (world, name, job, folder), nprocs=world)
    record: dict[str, Any] = json.loads(folder.result()["training.json"])
    return record


def _bare_rank(rank: int, world: int, name: str, job: Job, folder: RunFolder) -> None:
    callbacks = Callbacks(lambda line: print(line, file=sys.stderr, flush=True))
    if world > 1:
        meeting = f"file://{tempfile.gettempdir()}/{name}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    neighbours = Neighbours(name, rank, world, dist.barrier if world > 1 else lambda: None)
    local = LocalMessages.connect(rank, world, 60.0) if world > 1 else None
    train_rank(
        job, folder, Ranks(rank, world, local=local), neighbours, torch.device("cpu"), callbacks
    )
    if world > 1:
        dist.destroy_process_group()


def _start(
    options: argparse.Namespace, side: str, workers: int, batch: int
) -> tuple[subprocess.Popen[str], Path]:
    """A process that runs one side on links to the lake."""
    root = Path(tempfile.mkdtemp(prefix="mmcore-overhead-"))
    for name in ("shards", "tokenizer"):
        source = Path(options.lake) / "datasets" / name
        shutil.copytree(source, root / "datasets" / name, copy_function=os.link)
    command = [sys.executable, "-m", "benchmarks.train.overhead", "one", str(root)]
    command += ["--side", side, "--day", options.day, "--minutes", str(options.minutes)]
    command += ["--workers", str(workers), "--batch", str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True), root


def _finish(process: subprocess.Popen[str], root: Path) -> dict[str, Any]:
    output = process.communicate()[0]
    shutil.rmtree(root)
    if process.returncode:
        raise SystemExit(f"a training failed with exit code {process.returncode}")
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    print(json.dumps(found), flush=True)
    return found


def _rate(row: dict[str, Any]) -> float:
    return float(row["samples"] / row["loop_seconds"])


def compare_ray(options: argparse.Namespace) -> None:
    """Bare and Ray in turns."""
    rows: dict[str, list[dict[str, Any]]] = {"bare": [], "ray": []}
    for number in range(options.rounds):
        for side in sorted(rows, reverse=bool(number % 2)):
            rows[side].append(_finish(*_start(options, side, 1, options.batch)))
    print("\n| | samples a second of the loop | seconds before and after it |\n|---|---|---|")
    for side, found in rows.items():
        outside = median(row["wall_seconds"] - row["loop_seconds"] for row in found)
        print(f"| {side} | {median(map(_rate, found)):.1f} | {outside:.1f} |")
    bare, ray = (median(map(_rate, rows[side])) for side in ("bare", "ray"))
    print(f"\noverhead of Ray Train in the loop: {100 * (bare / ray - 1):+.1f} %")


def compare_ranks(options: argparse.Namespace) -> None:
    """One rank, two ranks, two strangers; the same share of a batch for each rank."""
    kinds = [("bare", 1, 1), ("bare", 1, 2), ("bare", 2, 1), ("ray", 1, 1), ("ray", 2, 1)]
    rates: dict[tuple[str, int, int], list[float]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for kind in kinds if number % 2 == 0 else kinds[::-1]:
            side, workers, times = kind
            begun = [_start(options, side, workers, options.batch * workers) for _ in range(times)]
            rates[kind].append(sum(_rate(_finish(*one)) for one in begun))
    print("\n| | samples a second | efficiency |\n|---|---|---|")
    for (side, workers, times), found in rates.items():
        name = f"{side}, two trainings of one rank" if times > 1 else f"{side}, {workers} rank(s)"
        alone = median(rates[side, 1, 1])
        print(f"| {name} | {median(found):.1f} | {median(found) / (workers * times) / alone:.3f} |")


def main() -> None:
    """Read the command line; compare, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["ray", "ranks", "one"])
    parser.add_argument("lake")
    parser.add_argument("--day", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", choices=["bare", "ray"], default="bare")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.action == "one":
        rest = options.day, options.minutes, options.workers, options.batch
        print(json.dumps(one(options.side, options.lake, *rest)))
    elif options.action == "ray":
        compare_ray(options)
    else:
        compare_ranks(options)


if __name__ == "__main__":
    main()
