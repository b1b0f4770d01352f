"""What a stage costs as its input grows: CPU time per row and peak memory, clean, dedup, tokenize.

    python -m benchmarks.data.stages --stage clean --photos images.tar --captions annotations.jsonl
        [--rows 10000,100000,1000000] [--keep FOLDER]

For every size a lake is written (`inputs.py`) and the whole stage runs on it in a process of its
own, on one CPU. CPU seconds and peak memory (PSS) are of its process tree; a run of 8 rows, which
is Ray starting, is taken off the CPU time. `tokenize` is the tokenizer, trained on a sample, and
the ids; `ids` is the latter alone, with a tokenizer that is there already, as on most nights.
`--keep` keeps the lakes, so that a next run need not write them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DAY = "2026-01-01"
STAGES = ("clean", "dedup", "tokenize", "ids")
IDLE_ROWS = 8
MADE = {
    "clean": ("measured", "normalized", "cleaned", "texts"),
    "dedup": ("clusters", "deduplicated"),
    "tokenize": ("tokenizer", "tokenized"),
    "ids": ("tokenized",),
}


def run_stage(stage: str, root: Path) -> dict[str, float]:
    """Run a stage on a lake in this process and measure it."""
    from mmcore.cluster import ClusterSettings, connect
    from mmcore.cluster.usage import measured
    from mmcore.lake import Lake

    lake = Lake(str(root))
    with measured() as usage, connect(ClusterSettings(cpus=1)):
        rows = _run(stage, lake)
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
    """Write what the stage reads, unless it is there; remove what the stage made before."""
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
    for name in MADE[stage]:
        shutil.rmtree(root / "datasets" / name, ignore_errors=True)


def measure(stage: str, rows: int, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One size: the lake written by one process, the stage run by another."""
    root = folder / f"{stage}-{rows}"
    command = [sys.executable, "-m", "benchmarks.data.stages", "--stage", stage]
    command += ["--root", str(root), "--rows", str(rows)]
    given = ["--captions", str(arguments.captions), "--photos", str(arguments.photos)]
    subprocess.run([*command, *given, "--do", "prepare"], check=True)
    said = subprocess.run([*command, "--do", "run"], stdout=subprocess.PIPE, check=True).stdout
    result = json.loads(said.decode().splitlines()[-1])
    if result["rows"] != rows:
        raise SystemExit(f"{stage}: {result['rows']} rows of {rows}")
    if arguments.keep is None:
        shutil.rmtree(root)
    return result


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure every size and print the table."""
    idle = measure(arguments.stage, IDLE_ROWS, folder, arguments)["cpu_s"]
    print(f"Ray's start and {IDLE_ROWS} rows: {idle:.1f} CPU-seconds")
    print("| stage | rows | CPU ms a row | CPU s | rows a second | peak memory, MiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for rows in map(int, arguments.rows.split(",")):
        run = measure(arguments.stage, rows, folder, arguments)
        seconds = run["cpu_s"] - idle
        print(
            f"| {arguments.stage} | {rows:,} | {1000 * seconds / rows:.3f} | {seconds:.1f} "
            f"| {rows / run['wall_s']:,.0f} | {run['peak_mb']:,.0f} |",
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
    parser.add_argument("--do", choices=("prepare", "run"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.do == "prepare":
        prepare(given.stage, int(given.rows), given.root, given.captions, given.photos)
    elif given.do == "run":
        print(json.dumps(run_stage(given.stage, given.root)))
    elif given.captions is None or (given.stage == "clean" and given.photos is None):
        parser.error("--captions is needed, and --photos for clean")
    elif given.keep is not None:
        compare(given.keep, given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), given)


if __name__ == "__main__":
    main()
