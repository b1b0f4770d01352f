"""Writing shards: our writer against webdataset's ShardWriter, img2dataset's writer and `cp`.

    python benchmarks/shards/write.py corpus --photos FOLDER --out material.arrow --samples 50000
    python benchmarks/shards/write.py run --material material.arrow --scratch FOLDER \
        --img2dataset VENV/bin/python --rounds 3

`corpus` repeats photographs (the `.tar` files of flickr8k in FOLDER, as they are) under distinct
keys, each with its captions as `.txt` and as labels in `.json`.

`run` gives every writer the same bytes, one process each, and first compares what they wrote: the
image and the caption of every sample byte for byte, the labels as JSON (img2dataset indents them).
The order alternates from round to round. Only the writing is timed: reading the material and, for
img2dataset, which takes labels as objects, parsing them, is not. What each does beside the tar:

- `ours`: an index with a SHA-256 per sample, a SHA-256 of the whole, and fsync of every file;
- `webdataset`: nothing. Given `bytes`, its encoders pass them on;
- `img2dataset`: a Parquet file of the labels beside each tar, and it prints the JSON itself;
- `cp`: copies the folder that `ours` wrote; once more with fsync of every file, as `ours` does.

CPU seconds are user and system time of the process; wall is by the clock on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PER_SHARD = 512
_BATCH = 512
Columns = list[list[bytes]]


# -- the corpus --


def make_corpus(photos: Path, out: Path, samples: int) -> None:
    import pyarrow as pa

    notes = [json.loads(line) for line in (photos / "annotations.jsonl").open(encoding="utf-8")]
    captions = {note["image"].rsplit("/", 1)[-1]: note["captions"] for note in notes}
    images = list(_photos(photos))
    names = [
        ("key", pa.string()),
        ("jpg", pa.binary()),
        ("json", pa.string()),
        ("txt", pa.string()),
    ]
    schema = pa.schema(names)
    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, schema) as sink:
        for start in range(0, samples, _BATCH):
            rows = [
                _row(number, *images[number % len(images)], captions)
                for number in range(start, min(start + _BATCH, samples))
            ]
            columns = [
                pa.array(c, t) for c, t in zip(zip(*rows, strict=True), schema.types, strict=True)
            ]
            sink.write_batch(pa.record_batch(columns, schema=schema))


def _row(number: int, name: str, image: bytes, captions: dict[str, list[str]]) -> tuple[Any, ...]:
    texts = captions[name]
    listed = [{"text": t, "lang": "en", "confidence": 0.9, "source": "caption"} for t in texts]
    words = sorted({word.lower() for text in texts for word in text.split() if len(word) > 3})
    labels = {
        "caption": listed[0],
        "captions": listed,
        "image_url": f"https://site.test/{name}?copy={number}",
        "page_url": f"https://site.test/{number // 20}",
        "qa": [{"question": f"is there a {w}?", "answer": "yes", "type": "is"} for w in words[:8]],
        "sha256": f"{number:064x}",
        "tags": [{"tag": word, "confidence": 0.7, "source": "alt"} for word in words],
    }
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
    return f"{number:020x}", image, text, texts[0]


def _photos(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name.rsplit("/", 1)[-1], file.read()


# -- the writers: each yields to the clock only what is writing --


class Clock:
    """CPU and wall seconds of the parts of a loop that are counted."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time() - self._start[0]
        self.wall += time.perf_counter() - self._start[1]


def write_ours(batches: Iterator[Any], out: Path, clock: Clock) -> None:
    from mmcore.lake import Lake
    from mmcore.shards.index import ShardName
    from mmcore.shards.writer import ShardStream, views

    lake = Lake(str(out))
    writer = lake.writer("shards", "2026-11-23", format="tar")
    parts = []
    for number, batch in enumerate(batches):
        with clock:
            name = ShardName("train", number)
            file = writer.stream_file(name.tar)
            shard = ShardStream(name, file.write)
            shard.add(batch["key"].to_pylist(), *(views(batch[c]) for c in ("jpg", "json", "txt")))
            index = shard.close()
            parts += [file.commit(len(shard)), writer.write_file(name.index, index)]
    with clock:
        writer.commit(parts, [], {})


def write_webdataset(batches: Iterator[Any], out: Path, clock: Clock) -> None:
    import webdataset

    sink = webdataset.ShardWriter(f"{out}/%06d.tar", maxcount=PER_SHARD, verbose=0)
    for batch in batches:
        columns = [batch["key"].to_pylist(), *_bytes(batch, "jpg", "json", "txt")]
        with clock:
            for key, jpg, labels, text in zip(*columns, strict=True):
                sink.write({"__key__": key, "jpg": jpg, "json": labels, "txt": text})
    with clock:
        sink.close()


def write_img2dataset(batches: Iterator[Any], out: Path, clock: Clock) -> None:
    import pyarrow as pa
    from img2dataset.writer import WebDatasetSampleWriter

    for number, batch in enumerate(batches):
        labels = [json.loads(text) for text in batch["json"].to_pylist()]
        columns = [
            *_bytes(batch, "jpg"),
            batch["key"].to_pylist(),
            batch["txt"].to_pylist(),
            labels,
        ]
        schema = pa.Table.from_pylist(labels[:1]).schema
        with clock:
            sink = WebDatasetSampleWriter(number, str(out), True, 5, schema, "jpg")
            for row in zip(*columns, strict=True):
                sink.write(*row)
            sink.close()


def _bytes(batch: Any, *names: str) -> Columns:
    import pyarrow as pa

    return [batch[name].cast(pa.binary()).to_pylist() for name in names]


WRITERS: dict[str, Callable[[Iterator[Any], Path, Clock], None]] = {
    "ours": write_ours,
    "webdataset": write_webdataset,
    "img2dataset": write_img2dataset,
}


def write(name: str, material: Path, out: Path) -> None:
    """One writer in this process; prints seconds and peak memory as JSON."""
    import pyarrow as pa

    out.mkdir(parents=True)
    clock = Clock()
    with pa.OSFile(str(material)) as file:
        reader = pa.ipc.open_file(file)
        WRITERS[name]((reader.get_batch(i) for i in range(reader.num_record_batches)), out, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": clock.cpu, "wall": clock.wall, "peak_mib": peak}))


# -- the comparison --


def run(material: Path, scratch: Path, peer: str, rounds: int) -> None:
    """Rounds are kept in SCRATCH/rounds.jsonl: another call adds to them."""
    pythons = {"ours": sys.executable, "webdataset": sys.executable, "img2dataset": peer}
    log = scratch / "rounds.jsonl"
    found: dict[str, list[dict[str, float]]] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        for name, value in json.loads(line).items():
            found.setdefault(name, []).append(value)
    done = len(found.get("ours", []))
    for number in range(done, done + rounds):
        order = list(pythons) if number % 2 == 0 else list(pythons)[::-1]
        for name in order:
            shutil.rmtree(scratch / name, ignore_errors=True)
            command = [pythons[name], __file__, "write", name, str(material), str(scratch / name)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.setdefault(name, []).append(json.loads(answer.splitlines()[-1]))
        if number == 0:
            check(material, {name: scratch / name for name in pythons})
        for name in ("cp", "cp and fsync"):
            copied = copy(scratch / "ours", scratch / "copy", durable=name != "cp")
            found.setdefault(name, []).append(copied)
        with log.open("a") as file:
            file.write(json.dumps({name: values[-1] for name, values in found.items()}) + "\n")
    report(found, material)


def copy(source: Path, target: Path, durable: bool) -> dict[str, float]:
    shutil.rmtree(target, ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    for path in target.rglob("*.*") if durable else ():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall, "peak_mib": 0.0}


def check(material: Path, folders: dict[str, Path]) -> None:
    """Every sample of every writer is the material's."""
    for name, folder in folders.items():
        written = _members(folder)
        for expected in _expected(material):
            key, content = next(written)
            content["json"] = json.loads(content["json"])
            assert (key, content) == expected, f"{name} wrote another sample {key}"
        assert next(written, None) is None, f"{name} wrote too many samples"
        print(f"{name}: all samples are right", flush=True)


def _expected(material: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa

    with pa.OSFile(str(material)) as file:
        reader = pa.ipc.open_file(file)
        for i in range(reader.num_record_batches):
            for row in reader.get_batch(i).to_pylist():
                content = {"jpg": row["jpg"], "json": json.loads(row["json"])}
                yield row["key"], content | {"txt": row["txt"].encode()}


def _members(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Samples of a folder's tars, read with the standard library."""
    key, content = "", dict[str, Any]()
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path, "r|") as archive:
            for member in archive:
                stem, _, extension = member.name.partition(".")
                if stem != key and content:
                    yield key, content
                    content = {}
                key = stem
                file = archive.extractfile(member)
                assert file is not None
                content[extension] = file.read()
    yield key, content


def report(found: dict[str, list[dict[str, float]]], material: Path) -> None:
    print(f"\nmaterial: {material.stat().st_size / 1e6:,.0f} MB; medians of {len(found['ours'])}\n")
    medians = {
        name: {key: statistics.median(v[key] for v in values) for key in values[0]}
        for name, values in found.items()
    }
    print(
        "| writer | CPU s | wall s | ours is faster, CPU | wall | peak MiB |\n"
        "|---|---|---|---|---|---|"
    )
    for name, row in medians.items():
        ratios = [row[key] / medians["ours"][key] for key in ("cpu", "wall")]
        cells = [f"{row['cpu']:.2f}", f"{row['wall']:.2f}", *(f"{r:.2f}" for r in ratios)]
        print(f"| {name} | {' | '.join(cells)} | {row['peak_mib']:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--photos", type=Path, required=True)
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--samples", type=int, default=50_000)
    one = commands.add_parser("write")
    one.add_argument("name", choices=WRITERS)
    one.add_argument("material", type=Path)
    one.add_argument("out", type=Path)
    compared = commands.add_parser("run")
    compared.add_argument("--material", type=Path, required=True)
    compared.add_argument("--scratch", type=Path, required=True)
    compared.add_argument("--img2dataset", required=True, help="its python")
    compared.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.command == "corpus":
        make_corpus(arguments.photos, arguments.out, arguments.samples)
    elif arguments.command == "write":
        write(arguments.name, arguments.material, arguments.out)
    else:
        run(arguments.material, arguments.scratch, arguments.img2dataset, arguments.rounds)


if __name__ == "__main__":
    main()
