"""Peak memory of a task that writes shards, by the size of the shard.

    python benchmarks/shards/write_memory.py make --material material.arrow --root FOLDER
    python benchmarks/shards/write_memory.py run --root FOLDER --samples-per-shard 512

`make` puts a lake before the shards: `normalized`, `pairs`, `tokenized` and `crawled` from the
material of write.py. `run` does what the stage's Ray task does, for the first task, in this
process: reads the image parts, joins the labels, writes the tars. It prints CPU seconds and how far
the resident memory rose above what it was once everything was imported and planned.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmcore.lake import Lake
from mmcore.shards import stage
from mmcore.shards.plan import KEY, read_keys

DAY = "2026-11-23"
_PER_PART = 256


def make(material: Path, root: Path) -> None:
    lake = Lake(str(root))
    names = ("normalized", "pairs", "tokenized", "crawled")
    writers = {name: lake.writer(name, DAY) for name in names}
    parts: dict[str, list[Any]] = {name: [] for name in names}
    with pa.OSFile(str(material)) as file:
        reader = pa.ipc.open_file(file)
        number = 0
        for i in range(reader.num_record_batches):
            batch = pa.Table.from_batches([reader.get_batch(i)])
            for start in range(0, batch.num_rows, _PER_PART):
                for name, table in tables(batch.slice(start, _PER_PART)).items():
                    parts[name].append(writers[name].write_table(number, table))
                number += 1
    for name in names:
        writers[name].commit(parts[name], [], {})


def tables(batch: pa.Table) -> dict[str, pa.Table]:
    labels = [json.loads(text) for text in batch["json"].to_pylist()]
    keys = [hashlib.sha256(row["sha256"].encode()).hexdigest() for row in labels]
    sentiment = pa.struct([("label", pa.string()), ("confidence", pa.float64())])
    pairs = pa.table(
        {name: [row[name] for row in labels] for name in ("caption", "captions", "qa", "tags")}
        | {"sha256": keys, "cluster": keys, "split": pa.nulls(len(keys), pa.string())}
        | {"sentiment": pa.nulls(len(keys), sentiment)}
    )
    texts = [
        (key, c["text"]) for key, row in zip(keys, labels, strict=True) for c in row["captions"]
    ]
    tokens = {
        "sha256": [key for key, _ in texts],
        "text": [text for _, text in texts],
        "ids": pa.array([[7] * 12 for _ in texts], pa.list_(pa.uint16())),
        "tokenizer": ["d"] * len(texts),
    }
    crawled = {name: [row[name] for row in labels] for name in ("page_url", "image_url")}
    consent = json.dumps({"robots": "allowed", "seen": DAY}, separators=(",", ":"))
    return {
        "normalized": pa.table({"sha256": keys, "image": batch["jpg"].combine_chunks()}),
        "pairs": pairs,
        "tokenized": pa.table(tokens),
        "crawled": pa.table(
            crawled
            | {"sha256": keys, "consent": [consent] * len(keys)}
            | {"license": pa.nulls(len(keys), pa.string())}
        ),
    }


def run(root: Path, samples_per_shard: int) -> None:
    lake = Lake(str(root))
    config = stage.Config(
        samples_per_shard=samples_per_shard,
        shards_per_task=max(1, 4096 // samples_per_shard),
        max_shard_mb=1e6,
    )
    names = ("pairs", "normalized", "tokenized", "crawled")
    inputs = stage._Inputs(DAY, *(lake.dataset(name, DAY) for name in names))
    task = stage._plan(inputs, read_keys(inputs.pairs, KEY), config, [])[0]
    writer = lake.writer("shards", DAY, format="tar")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    written = stage._write_task(task, inputs, writer)
    seconds = time.process_time() - start
    rose = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    tars = [part.bytes / 1e6 for part in written.parts if part.rows]
    lake.sweep("shards", DAY)
    print(
        f"| {samples_per_shard:,} | {written.rows:,} | {sum(tars):,.0f} | {max(tars):,.0f} "
        f"| {before / 1024:,.0f} | {rose:,.0f} | {seconds / written.rows * 1e6:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("make", "run"))
    parser.add_argument("--material", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--samples-per-shard", type=int, default=512)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.material, arguments.root)
    else:
        run(arguments.root, arguments.samples_per_shard)


if __name__ == "__main__":
    main()
