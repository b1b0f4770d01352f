"""The leakage check: what the tars of all days hold, compared across splits.

It reads what was written (the indexes and the names of the tars), not what was planned, and asks
clean and dedup what the images look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.lake import Dataset, Lake
from mmcore.shards.index import ShardIndex, load_index, parse_name
from mmcore.shards.keys import KeyTable
from mmcore.shards.labels import aligned
from mmcore.shards.leakage import (
    SAMPLES,
    Leak,
    Likeness,
    same_meanings,
    same_pictures,
    shared_values,
)
from mmcore.shards.tarformat import scan
from mmcore.shards.writer import KEY_DIGITS

Floats = NDArray[np.float32]
Encode = Callable[[list[bytes]], Floats]
_COMPARED_BY_MEANING = 20_000
"""Most images of a day that are embedded for the check; beyond, those with the smallest keys."""


@dataclass(frozen=True)
class Eyes:
    """The champion's image encoder: encoded images to float32 [n, D], rows of length 1; pairs of at
    least this cosine are reported."""

    encode: Encode
    cosine: float


@dataclass(frozen=True)
class Leakage:
    """samples: per split, over all days. leaks: by key, cluster and look. hash_only: pairs across
    splits with near hashes that the thumbnails tell apart. meaning: pairs that the champion takes
    for one, and `embedded`, how many images of the day it was asked about (0: no champion)."""

    samples: dict[str, int]
    leaks: list[Leak]
    hash_only: int
    meaning: list[Leak]
    embedded: int


def find_leaks(lake: Lake, day: str, likeness: Likeness, eyes: Eyes | None = None) -> Leakage:
    """Compare the splits of the shards of `day` and all days before; by meaning, those of `day`."""
    tables = [SAMPLES.empty_table()]
    for dataset in lake.up_to("shards", day):
        partition = dataset.manifest.partition
        assert partition is not None  # shards are made of a day
        tables.append(_samples(lake, partition, dataset))
    samples = pa.concat_tables(tables)
    looks, hash_only = same_pictures(samples, likeness)
    exact = shared_values(samples, "sha256") + shared_values(samples, "cluster")
    meaning, embedded = _by_meaning(tables[-1], lake.dataset("shards", day), eyes)
    counts = pc.value_counts(samples["split"]).to_pylist()
    sizes = {row["values"]: row["counts"] for row in counts}
    return Leakage(sizes, exact + looks, hash_only, meaning, embedded)


def _samples(lake: Lake, day: str, shards: Dataset) -> pa.Table:
    """SAMPLES of a day: keys and splits from the tars, the rest from clean and dedup."""
    keys: list[str] = []
    split: list[str] = []
    for number in _tars(shards):
        index = _index(shards, number)
        keys += [entry.key for entry in index.samples]
        split += [index.tar.partition("-")[0]] * len(index.samples)
    table = KeyTable(pa.array(keys, pa.string()))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"split": pa.array(split, pa.string())}
    wanted = {"deduplicated": ("sha256", "cluster"), "cleaned": ("sha256", "phash", "thumb")}
    for name, names in wanted.items():
        dataset = lake.find(name, day)  # a day whose datasets were removed still has its shards
        parts = dataset.iter_parts(list(names)) if dataset else iter(())
        short = (_with_short_keys(part) for part in parts)
        schema = pa.schema([*(SAMPLES.field(n) for n in names), ("key", pa.string())])
        found = aligned(short, table, schema, by="key")
        columns |= {n: found[n] for n in names if n not in columns}
    columns["sha256"] = pc.coalesce(columns["sha256"], pa.array(keys, pa.string()))
    return pa.table({name: columns[name] for name in SAMPLES.names}).cast(SAMPLES)


def _with_short_keys(part: pa.Table) -> pa.Table:
    return part.append_column("key", pc.utf8_slice_codeunits(part["sha256"], 0, KEY_DIGITS))


def _tars(shards: Dataset) -> list[int]:
    """The parts that are tars."""
    return [i for i, part in enumerate(shards.parts) if parse_name(part.file) is not None]


def _index(shards: Dataset, tar: int) -> ShardIndex:
    name = parse_name(shards.parts[tar].file)
    assert name is not None  # it is a tar
    return load_index(shards.read_file(name.index), f"{shards.label}/{name.index}")


@dataclass(frozen=True)
class _Embedded:
    keys: list[str]
    vectors: Floats
    rows: int


def _by_meaning(samples: pa.Table, shards: Dataset, eyes: Eyes | None) -> tuple[list[Leak], int]:
    if eyes is None or not samples.num_rows:
        return [], 0
    from mmcore.cluster import map_parts

    keys = pc.utf8_slice_codeunits(samples["sha256"], 0, KEY_DIGITS)
    last = sorted(keys.to_pylist())[:_COMPARED_BY_MEANING][-1]
    task = partial(_embed, shards, last, eyes.encode)
    done = [
        e for e in map_parts(task, _tars(shards), description="leakage", unit="images") if e.rows
    ]
    order = pc.index_in(pa.array([k for e in done for k in e.keys]), keys.combine_chunks())
    vectors = np.concatenate([e.vectors for e in done])
    return same_meanings(samples.take(order), vectors, eyes.cosine), len(vectors)


def _embed(shards: Dataset, last: str, encode: Encode, number: int) -> _Embedded:
    """Ray task: embeddings of the samples of one tar whose keys are not beyond `last`."""
    entries = [entry for entry in _index(shards, number).samples if entry.key <= last]
    with shards.open_part(number) as file:
        images = [_image(file, entry.offset, entry.size) for entry in entries]
    vectors = encode(images) if images else np.empty((0, 0), np.float32)
    return _Embedded([entry.key for entry in entries], vectors, len(entries))


def _image(file: pa.NativeFile, offset: int, size: int) -> bytes:
    """The first member of a sample: its image."""
    data = pa.BufferReader(file.read_at(size, offset))
    member = next(scan(data, 0, size))
    return data.read_at(member.size, member.offset)
