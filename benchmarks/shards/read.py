"""Reading two shuffled epochs, beside webdataset, litdata, mosaicml-streaming and Ray Data.

    python -m benchmarks.shards.read prepare --photos 'images-*.tar' --out FOLDER --count 12000
    python -m benchmarks.shards.read run --folder FOLDER --mode raw --workers 1 --rounds 3

The peers run in environments of their own: `--peers PARENT` holds webdataset, litdata,
mosaicml-streaming and raydata, each a virtual environment. Everyone reads the same samples: the
tars that mmcore wrote, or the peer's own format made of them. Before anything is timed, an epoch of
each reader must give the same bytes or pixels (`check`). Readers take turns, each in a process of
its own (`read_with.py`); medians. Memory is the largest PSS of the process tree, seen every 100 ms.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from mmcore.lake import Lake
from mmcore.shards.index import ShardName
from mmcore.shards.writer import Sample, pack_shard, sample_key

ROOT = Path(__file__).parents[2]
DAY = "2026-01-01"
PER_SHARD = 512
_PATIENCE = 600  # seconds for one run
VENVS = {
    "webdataset": "webdataset",
    "litdata": "litdata",
    "mosaicml": "mosaicml-streaming",
    "ray": "raydata",
}
READERS = ("mmcore", *VENVS)


def photographs(pattern: str) -> Iterator[bytes]:
    """The files of some tars, again and again."""
    files = sorted(glob.glob(pattern))
    while files:
        for path in files:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None and member.name.endswith(".jpg"):
                        yield file.read()


def prepare(pattern: str, folder: Path, count: int, peers: Path) -> None:
    """Write `count` samples as shards, and in the formats of the peers."""
    shutil.rmtree(folder, ignore_errors=True)
    writer, parts = Lake(str(folder / "lake")).writer("shards", DAY, format="tar"), []
    pictures = photographs(pattern)
    for number, first in enumerate(range(0, count, PER_SHARD)):
        samples = [_sample(i, next(pictures)) for i in range(first, min(first + PER_SHARD, count))]
        name = ShardName("train", number)
        tar, index = pack_shard(name, samples)
        parts.append(writer.write_file(name.tar, tar, rows=len(samples), extra={"split": "train"}))
        parts.append(writer.write_file(name.index, index, extra={"split": "train"}))
    writer.commit(parts, [], {})
    for reader in ("litdata", "mosaicml"):
        subprocess.run(_command(reader, peers, folder, "write"), check=True, cwd=ROOT)


def _sample(number: int, picture: bytes) -> Sample:
    sha256 = hashlib.sha256(b"%d" % number + picture).hexdigest()
    text = f"photograph {number}"
    caption = {"text": text, "lang": "en", "confidence": 0.9, "source": "alt"}
    labels = {
        "sha256": sha256,
        "cluster": sha256,
        "split": "train",
        "caption": caption,
        "captions": [caption] * 5,
        "qa": [{"question": f"what is on picture {i}?", "answer": "a dog"} for i in range(6)],
        "tags": [{"tag": "dog", "confidence": 0.5}],
        "page_url": f"https://example.org/page/{number // 10}",
    }
    return Sample(sample_key(sha256), picture, text, labels)


def _command(reader: str, peers: Path, folder: Path, *rest: str) -> list[str]:
    python = sys.executable if reader == "mmcore" else str(peers / VENVS[reader] / "bin/python")
    return [python, "-W", "ignore", "benchmarks/shards/read_with.py", reader, str(folder), *rest]


def execute(reader: str, peers: Path, folder: Path, *rest: str) -> dict[str, Any]:
    """Run `read_with.py` and watch the memory of its process tree."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        _command(reader, peers, folder, *rest),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak), daemon=True)
    watcher.start()
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    finally:
        process.kill()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{reader} {rest} failed:\n{err[-3000:]}")
    return json.loads(out.strip().splitlines()[-1]) | {"peak_mb": peak[0]}


def _watch(root: psutil.Process, peak: list[float]) -> None:
    while True:
        total = 0
        try:
            for process in (root, *root.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.Error:
            return
        peak[0] = max(peak[0], total / 2**20)
        time.sleep(0.1)


def check(folder: Path, peers: Path, modes: list[str], readers: list[str]) -> None:
    """Every reader gives the same samples, or this stops."""
    for mode in modes:
        found = {r: execute(r, peers, folder, mode, "2", "--check") for r in readers}
        answers = {(f["samples"], f["digest"]) for f in found.values()}
        print(f"{mode}: {dict((r, (f['samples'], f['digest'])) for r, f in found.items())}")
        if len(answers) != 1:
            raise SystemExit(f"{mode}: the readers do not give the same samples")


def run(
    folder: Path, peers: Path, mode: str, workers: int, rounds: int, readers: list[str]
) -> None:
    """Print a row per reader: medians over the rounds."""
    runs: dict[str, list[dict[str, Any]]] = {reader: [] for reader in readers}
    for turn in range(rounds):
        for reader in readers if turn % 2 == 0 else readers[::-1]:
            runs[reader].append(execute(reader, peers, folder, mode, str(workers)))
    best = max((r for r in readers if r != "mmcore"), key=lambda r: _rate(runs[r], "cpu_s"))
    for reader in readers:
        own = runs[reader]
        print(
            f"| {mode} | {workers} | {reader} | {_rate(own, 'wall_s'):,.0f} |"
            f" {_rate(own, 'cpu_s'):,.0f} |"
            f" {_rate(own, 'cpu_s') / _rate(runs[best], 'cpu_s'):.2f} |"
            f" {statistics.median(r['first_s'] for r in own):.2f} |"
            f" {statistics.median(r['peak_mb'] for r in own):,.0f} |",
            flush=True,
        )


def _rate(runs: list[dict[str, Any]], clock: str) -> float:
    return statistics.median(run["samples"] / run[clock] for run in runs)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("prepare", "check", "run"))
    parser.add_argument("--photos", help="tars of JPEG files")
    parser.add_argument("--folder", "--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--mode", nargs="+", default=["raw", "64", "224"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readers", nargs="+", default=list(READERS))
    options = parser.parse_args()
    if options.task == "prepare":
        prepare(options.photos, options.folder, options.count, options.peers)
    elif options.task == "check":
        check(options.folder, options.peers, options.mode, options.readers)
    else:
        for mode in options.mode:
            run(
                options.folder,
                options.peers,
                mode,
                options.workers,
                options.rounds,
                options.readers,
            )


if __name__ == "__main__":
    main()
