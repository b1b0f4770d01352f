"""What a stage costs as its input grows: CPU time per row and peak memory, clean, dedup, tokenize.

    python -m benchmarks.data.stages --stage clean --photos images.tar --captions annotations.jsonl
        [--rows 10000,100000,1000000] [--keep FOLDER]

For every size a lake is written (`inputs.py`) and the whole stage runs on it in a process of its
own, on one CPU of Ray's. CPU seconds and peak memory (PSS) are of its process tree. Ray and a
worker are started by a first run on 8 rows; what further runs on 8 rows take (median of three) is
the fixed cost of a run, shown and taken off. Small sizes run three times, for a median.

`tokenize` is the tokenizer, trained on a sample, and the ids; `ids` is the latter alone, with a
tokenizer that is there already, as on most nights. `--keep` keeps the lakes for a next run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DAY = "2026-01-01"
STAGES = ("clean", "dedup", "tokenize", "ids")
IDLE_ROWS = 8
REPEATS = 3
REPEATED_UP_TO = 100_000  # rows
MADE = {
    "clean": ("measured", "normalized", "cleaned", "texts"),
    "dedup": ("clusters", "deduplicated"),
    "tokenize": ("tokenizer", "tokenized"),
    "ids": ("tokenized",),
}


def run_stage(stage: str, root: Path, idle: Path, rows: int) -> dict[str, float]:
    """Run a stage on a lake in this process and measure it, beside runs on a lake of 8 rows."""
    from mmcore.cluster import ClusterSettings, connect

    with connect(ClusterSettings(cpus=1)):
        _measured_run(stage, idle)
        fixed = [_measured_run(stage, idle)["cpu_s"] for _ in range(REPEATS)]
        repeats = REPEATS if rows <= REPEATED_UP_TO else 1
        runs = [_measured_run(stage, root) for _ in range(repeats)]
    return {
        "rows": runs[0]["rows"],
        "fixed_s": statistics.median(fixed),
        "cpu_s": statistics.median(run["cpu_s"] for run in runs),
        "wall_s": statistics.median(run["wall_s"] for run in runs),
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


def _measured_run(stage: str, root: Path) -> dict[str, float]:
    from mmcore.cluster.usage import measured
    from mmcore.lake import Lake

    for name in MADE[stage]:  # else there is nothing to do
        shutil.rmtree(root / "datasets" / name, ignore_errors=True)
    with measured() as usage:
        rows = _run(stage, Lake(str(root)))
    return {
        "rows": rows,
        "cpu_s": usage.cpu_seconds,
        "wall_s": usage.wall_seconds,
        "peak_mb": usage.peak_memory_mb,
    }


def _run(stage: str, lake) -> int:  # type: ignore[no-untyped-def]
    if stage == "clean":
        from mmcore.clean.stage import Config as CleanConfig
        from mmcore.clean.stage import run as clean

        return clean(lake, DAY, CleanConfig()).rows
    if stage == "dedup":
        from mmcore.dedup.stage import Config as DedupConfig
        from mmcore.dedup.stage import run as dedup

        return dedup(lake, DAY, DedupConfig()).rows
    from mmcore.tokenize.stage import Config, run, run_tokenizer

    if stage == "tokenize":
        run_tokenizer(lake, DAY, Config())
    return run(lake, DAY, Config()).rows


def prepare(stage: str, rows: int, root: Path, captions: Path, photos: Path) -> None:
    """Write what the stage reads, unless it is there."""
    from benchmarks.data.inputs import small_photos, write_inputs
    from benchmarks.data.material import Captions
    from benchmarks.data.tokenize_captions import write_tokenizer
    from mmcore.lake import Lake

    lake = Lake(str(root))
    if not (root / "written").exists():
        made = Captions(captions)
        pictures = small_photos(photos) if stage == "clean" else []
        write_inputs(lake, stage, rows, made, pictures)
        if stage == "ids":
            write_tokenizer(lake, made.real, 2048)
        (root / "written").touch()


def measure(rows: int, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One size: the lakes written by one process each, the stage run by another."""
    stage = arguments.stage
    command = [sys.executable, "-m", "benchmarks.data.stages", "--stage", stage]
    given = ["--captions", str(arguments.captions), "--photos", str(arguments.photos)]
    root, idle = (folder / f"{stage}-{n}" for n in (rows, IDLE_ROWS))
    for lake, size in ((idle, IDLE_ROWS), (root, rows)):
        place = ["--root", str(lake), "--rows", str(size)]
        subprocess.run([*command, *given, *place, "--do", "prepare"], check=True)
    place = ["--root", str(root), "--rows", str(rows), "--idle", str(idle), "--do", "run"]
    said = subprocess.run([*command, *place], stdout=subprocess.PIPE, check=True).stdout
    result = json.loads(said.decode().splitlines()[-1])
    if result["rows"] != rows:
        raise SystemExit(f"{stage}: {result['rows']} rows of {rows}")
    if arguments.keep is None:
        shutil.rmtree(root)
    return result


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure every size and print the table."""
    print("| stage | rows | CPU ms a row | CPU s | fixed, CPU s | peak memory, MiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for rows in map(int, arguments.rows.split(",")):
        run = measure(rows, folder, arguments)
        seconds = run["cpu_s"] - run["fixed_s"]
        print(
            f"| {arguments.stage} | {rows:,} | {1000 * seconds / rows:.4f} | {seconds:.2f} "
            f"| {run['fixed_s']:.2f} | {run['peak_mb']:,.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--captions", type=Path, help="annotations.jsonl with captions")
    parser.add_argument("--photos", type=Path, help="tar of JPEG photographs (for clean)")
    parser.add_argument("--keep", type=Path, help="folder for the lakes; default: a temporary one")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--idle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--do", choices=("prepare", "run"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.do == "prepare":
        prepare(given.stage, int(given.rows), given.root, given.captions, given.photos)
    elif given.do == "run":
        print(json.dumps(run_stage(given.stage, given.root, given.idle, int(given.rows))))
    elif given.captions is None or (given.stage == "clean" and given.photos is None):
        parser.error("--captions is needed, and --photos for clean")
    elif given.keep is not None:
        compare(given.keep, given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), given)


if __name__ == "__main__":
    main()
