"""Captions to token ids in Parquet: the stage `tokenize` against bare `tokenizers`, on one core.

    python -m benchmarks.data.tokenize_captions --captions annotations.jsonl [--count 1000000]
        [--rounds 3] [--vocabulary 2048] [--texts recombined|coded|unspaced]

The same tokenizer.json and the same captions, all different, for everybody. `bare`: batches for
encode_batch_fast, a list of ids each, one Parquet file of texts and ids. `bare, no file`: the
encoding alone. `functions`: ours, the same file. `stage`: `tokenized` from `deduplicated` in a
lake, with all its columns, statistics and the drift report, in a Ray that a first run on 8 rows has
started.

`coded`: every caption ends with a number of its own, as shops' do. `unspaced`: no spaces at all, so
no word is ever seen twice. Those are the two cases that the way we encode likes least.

First the ids of all sides are compared. Each run is a process of its own; sides alternate. CPU
seconds of the whole process tree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data.material import Captions

BATCH = 20_000
SIDES = ("bare, no file", "bare", "functions", "stage")
DAY = "2026-01-01"
SCHEMA = pa.schema([("text", pa.string()), ("ids", pa.list_(pa.uint16()))])


def prepare(folder: Path, captions: Captions, count: int, kind: str, vocabulary: int) -> None:
    """texts.parquet, a lake with `deduplicated` and the tokenizer; and a lake of 8 rows."""
    from benchmarks.data.inputs import write_deduplicated
    from mmcore.lake import Lake

    with pq.ParquetWriter(folder / "texts.parquet", pa.schema([("text", pa.string())])) as file:
        for texts in _texts(captions, count, kind):
            file.write_table(pa.table({"text": texts}))
    for name, rows in (("lake", count), ("idle", 8)):
        lake = Lake(str(folder / name))
        write_deduplicated(lake, _texts(captions, rows, kind))
        write_tokenizer(lake, captions.real, vocabulary)
    made = Lake(str(folder / "lake")).dataset("tokenizer").read_file("tokenizer.json")
    (folder / "tokenizer.json").write_bytes(made)


def _texts(captions: Captions, count: int, kind: str) -> Iterator[pa.Array]:
    for start in range(0, count, BATCH):
        texts = captions.take(start, min(BATCH, count - start))
        if kind == "coded":
            codes = pa.array([f"AB-{1234567 + 7919 * (start + i)}" for i in range(len(texts))])
            texts = pc.binary_join_element_wise(texts, codes, " ")
        yield pc.replace_substring(texts, " ", "") if kind == "unspaced" else texts


def write_tokenizer(lake, texts: list[str], vocabulary: int) -> None:  # type: ignore[no-untyped-def]
    """`tokenizer`, trained on the real captions."""
    from mmcore.tokenize.statistics import dump_statistics
    from mmcore.tokenize.tokenizer import TokenizerSettings
    from mmcore.tokenize.training import make_tokenizer

    sample = pa.table({"lang": pa.repeat("en", len(texts)), "text": pa.array(texts)})
    made = make_tokenizer(sample, TokenizerSettings(vocab_size=vocabulary))
    writer = lake.writer("tokenizer", format="files")
    files = {
        "tokenizer.json": made.data,
        "statistics.json": dump_statistics(made.statistics),
    }
    parts = [writer.write_file(name, data) for name, data in files.items()]
    writer.commit(parts, [], {}, {"funnel": {"captions": len(texts)}})


# -- the sides: each runs alone in a process --


def run_bare(folder: Path, with_file: bool) -> float:
    """Bare `tokenizers`; CPU seconds."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    start = time.process_time()
    writer = pq.ParquetWriter(folder / "bare.parquet", SCHEMA, compression="zstd")
    with writer:
        for batch in pq.ParquetFile(folder / "texts.parquet").iter_batches(BATCH):
            texts = batch["text"].to_pylist()
            encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            if with_file:
                ids = pa.array([e.ids for e in encoded], pa.list_(pa.uint16()))
                writer.write_table(pa.table({"text": batch["text"], "ids": ids}))
    return time.process_time() - start


def run_functions(folder: Path) -> float:
    """Ours without lake and Ray, the same file; CPU seconds."""
    import numpy as np

    from mmcore.tokenize.encode import encode_texts
    from mmcore.tokenize.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer.json")
    start = time.process_time()
    with pq.ParquetWriter(folder / "ours.parquet", SCHEMA, compression="zstd") as writer:
        for batch in pq.ParquetFile(folder / "texts.parquet").iter_batches(BATCH):
            encoded = encode_texts(tokenizer, batch["text"])
            offsets = pa.array(encoded.offsets.astype(np.int32))
            ids = pa.ListArray.from_arrays(offsets, pa.array(encoded.ids))
            writer.write_table(pa.table({"text": batch["text"], "ids": ids}, schema=SCHEMA))
    return time.process_time() - start


def run_stage(folder: Path) -> dict[str, float]:
    """The stage in Ray: CPU seconds of the process tree, also of Ray's start; peak memory."""
    from mmcore.cluster import ClusterSettings, connect
    from mmcore.cluster.usage import measured
    from mmcore.lake import Lake
    from mmcore.tokenize.stage import Config, run

    with measured() as everything, connect(ClusterSettings(cpus=1)):
        run(Lake(str(folder / "idle")), DAY, Config())
        with measured() as usage:
            run(Lake(str(folder / "lake")), DAY, Config())
    start = everything.cpu_seconds - usage.cpu_seconds
    return {"cpu_s": usage.cpu_seconds, "start_s": start, "peak_mb": usage.peak_memory_mb}


def run_side(side: str, folder: Path) -> dict[str, float]:
    """One side in this process."""
    if side == "stage":
        return run_stage(folder)
    if side == "functions":
        return {"cpu_s": run_functions(folder)}
    return {"cpu_s": run_bare(folder, with_file=side == "bare")}


# -- the comparison --


def _child(side: str, folder: Path) -> dict[str, float]:
    for made in ("lake", "idle"):
        pointer = folder / made / "datasets" / "tokenized" / DAY / "current.json"
        pointer.unlink(missing_ok=True)  # else the stage has nothing to do
    command = [sys.executable, "-m", "benchmarks.data.tokenize_captions"]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    out = subprocess.run(
        [*command, "--side", side, "--folder", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return json.loads(out.decode().splitlines()[-1])


def check_equal(folder: Path) -> None:
    """Every side made the same ids of every text, in the same order."""
    from mmcore.lake import Lake

    bare = pq.read_table(folder / "bare.parquet")
    staged = Lake(str(folder / "lake")).dataset("tokenized", DAY).read(["text", "ids"])
    for name, table in (("functions", pq.read_table(folder / "ours.parquet")), ("stage", staged)):
        for column in ("text", "ids"):
            ours = table[column].cast(bare[column].type).combine_chunks()
            if not ours.equals(bare[column].combine_chunks()):
                raise SystemExit(f"{name}: {column} differs from bare tokenizers'")
    distinct = pc.count_distinct(bare["text"]).as_py()
    print(f"{bare.num_rows:,} captions, {distinct:,} different; ids equal on all sides")


def compare(arguments: argparse.Namespace) -> None:
    """Run all sides, check, print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = Captions(arguments.captions)
        prepare(folder, captions, arguments.count, arguments.texts, arguments.vocabulary)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for turn in range(arguments.rounds):
            for side in SIDES if turn % 2 == 0 else reversed(SIDES):
                runs[side].append(_child(side, folder))
            if turn == 0:
                check_equal(folder)
        _print(runs, arguments.count, folder)


def _print(runs: dict[str, list[dict[str, float]]], count: int, folder: Path) -> None:
    seconds = {
        side: statistics.median(run["cpu_s"] for run in found) for side, found in runs.items()
    }
    start = statistics.median(run["start_s"] for run in runs["stage"])
    print("| side | CPU us a caption | captions a CPU-second | rate, bare = 1 |\n|---|---|---|---|")
    for side, cost in seconds.items():
        ratio = seconds["bare"] / cost
        print(f"| {side} | {1e6 * cost / count:.2f} | {count / cost:,.0f} | {ratio:.2f} |")
    peak = max(run["peak_mb"] for run in runs["stage"])
    with_start = seconds["bare"] / (seconds["stage"] + start)
    print(f"stage with Ray's start ({start:.1f} CPU-seconds): {with_start:.2f}; ", end="")
    print(f"its peak memory (PSS): {peak:,.0f} MiB")
    for file in ("texts.parquet", "bare.parquet", "ours.parquet"):
        print(f"{file}: {(folder / file).stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=Path, help="annotations.jsonl with captions")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument(
        "--texts", choices=("recombined", "coded", "unspaced"), default="recombined"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(run_side(arguments.side, arguments.folder)))
    elif arguments.captions is None:
        parser.error("--captions is needed")
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
