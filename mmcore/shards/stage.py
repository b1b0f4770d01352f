"""Stage `shards`: joins image bytes to labels in one streaming pass and writes WebDataset tars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.lake.dataset import PartStream
from mmcore.shards.balance import balance, count_values, merged, split_counts
from mmcore.shards.index import ShardName, parse_name
from mmcore.shards.keys import KeyTable
from mmcore.shards.labels import PROVENANCE, TOKENS, aligned, label_texts, with_caption_ids
from mmcore.shards.plan import KEY, Limits, ShardTask, locate, plan_tasks, read_keys
from mmcore.shards.splits import assign_splits
from mmcore.shards.stage_takedown import TakenOut, removed_keys, rewrite_shards, taken_out
from mmcore.shards.writer import ShardStream, sample_key, views

_ROWS_AT_ONCE = 128
"""Images that are in memory at once; a part has more."""
_LABELS_AT_ONCE = 4096
"""Samples whose labels are in memory at once; a task of very large shards has more."""


class Config(BaseModel):
    """Settings of the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples_per_shard: int = Field(512, ge=1, description="Most samples in one tar.")
    max_shard_mb: float = Field(
        1024.0, gt=0, description="A tar that would be larger than about this has fewer samples."
    )
    shards_per_task: int = Field(8, ge=1, description="Full tars that one Ray task writes.")
    val_fraction: float = Field(
        0.1, ge=0, lt=1, description="Share of the clusters for validation."
    )
    test_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the clusters for testing.")

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Config:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must be below 1, to leave some to train")
        return self


@dataclass(frozen=True)
class _Inputs:
    day: str
    pairs: Dataset
    normalized: Dataset
    tokenized: Dataset
    crawled: Dataset

    @property
    def parents(self) -> list[Dataset]:
        return [self.pairs, self.normalized, self.tokenized, self.crawled]


@dataclass(frozen=True)
class _Written:
    """What a task reports: its parts, and how many samples have which labels (COUNTS)."""

    parts: list[Part]
    counts: pa.Table
    rows: int


def run(lake: Lake, day: str, config: Config, seed: int = 0) -> Dataset:
    """Write `shards@day` from `pairs@day` and the bytes of `normalized@day`.

    `seed` is taken, as every stage takes it, and has no effect: which images are for testing must
    outlive a change of the seed, and samples lie in the order of their bytes. What was taken down
    is left out, and the other samples lie in the shards they would have been in with it. What is
    listed while this runs is taken out before it returns.
    """
    from mmcore.cluster import map_parts

    names = ("pairs", "normalized", "tokenized", "crawled")
    inputs = _Inputs(day, *(lake.dataset(name, day) for name in names))
    keys = read_keys(inputs.pairs, KEY)
    images = keys["sha256"].combine_chunks()
    removed = removed_keys(lake, images)
    before = lake.find("shards", day)
    known = before.metadata.get("taken_down", {}) if before else {}
    settings = _settings(config, images, removed, known)
    done = lake.reusable("shards", day, settings, inputs.parents)
    if done is not None:
        return done
    tasks = _plan(inputs, keys, config, removed)
    writer = lake.writer("shards", day, format="tar")
    write = partial(_write_task, inputs=inputs, writer=writer)
    results = map_parts(write, tasks, description="shards", unit="samples")
    parts = [part for result in results for part in result.parts]
    gone = taken_out(lake, day)
    settings = _settings(config, images, removed, gone)
    metadata = _metadata(results, len(removed), gone)
    shards = writer.commit(parts, inputs.parents, settings, metadata)
    # a takedown lists first and rewrites then: either it has seen this commit, or its list is seen
    late = rewrite_shards(lake, day) if removed_keys(lake, images) != removed else None
    return late.dataset if late else shards


def _settings(
    config: Config, images: pa.Array, removed: list[str], gone: TakenOut
) -> dict[str, Any]:
    """The settings of the manifest. `removed`: the images of `pairs` that are left out, and those
    that earlier shards of the day had and `pairs` has no more: a model of these shards has not
    seen them."""
    known = pa.array(gone, pa.string())
    absent = known.filter(pc.invert(pc.is_in(known, images))).to_pylist()
    return config.model_dump(mode="json") | {"removed": sorted({*removed, *absent})}


def _plan(inputs: _Inputs, keys: pa.Table, config: Config, removed: list[str]) -> list[ShardTask]:
    split = assign_splits(
        keys["cluster"].combine_chunks(),
        keys["split"].combine_chunks(),
        config.val_fraction,
        config.test_fraction,
    )
    keys = keys.set_column(keys.column_names.index("split"), "split", split)
    table = KeyTable(keys["sha256"].combine_chunks())
    others = {"pairs": inputs.pairs, "crawled": inputs.crawled}
    left_out = np.zeros(len(keys), np.bool_)
    left_out[table.find(pa.array(removed, pa.string()))] = True
    return plan_tasks(
        keys,
        locate(inputs.normalized, table),
        {name: locate(dataset, table).part for name, dataset in others.items()},
        Limits(
            config.samples_per_shard,
            int(config.max_shard_mb * 1e6),
            config.samples_per_shard * config.shards_per_task,
        ),
        left_out,
    )


def _write_task(task: ShardTask, inputs: _Inputs, writer: DatasetWriter) -> _Written:
    """Stream the image parts once and append every image to its tar."""
    counts = []
    with ExitStack() as cleanup:
        shards = _OpenShards(writer, Counter(task.samples["file"].to_pylist()), cleanup)
        for start in range(0, len(task), _LABELS_AT_ONCE):
            samples = task.samples.slice(start, _LABELS_AT_ONCE)
            counts.append(_write_samples(samples, inputs, shards))
    return _Written(shards.parts, merged(counts), len(task))


def _write_samples(samples: pa.Table, inputs: _Inputs, shards: _OpenShards) -> pa.Table:
    """Append samples to their tars; how many have which labels (COUNTS)."""
    labels, origin = _labels(samples, inputs)
    split = _splits(samples["file"])
    for rows, images in _images(samples, inputs.normalized):
        texts = label_texts(
            labels.take(pa.array(rows)),
            origin.take(pa.array(rows)),
            split.take(pa.array(rows)),
            inputs.day,
        )
        shards.add(samples.take(pa.array(rows)), images, *map(views, texts))
    return count_values(labels, origin["page_url"].combine_chunks(), split)


def _labels(samples: pa.Table, inputs: _Inputs) -> tuple[pa.Table, pa.Table]:
    """Labels with caption ids, and provenance, of samples in their order."""
    keys = KeyTable(samples["sha256"].combine_chunks())
    places = (inputs.crawled.read_part(i, PROVENANCE.names) for i in _parts(samples["crawled"]))
    origin = aligned(places, keys, PROVENANCE)

    def pairs() -> Iterator[pa.Table]:
        for part in _parts(samples["pairs"]):  # part i of tokenized goes with part i of pairs
            table = inputs.pairs.read_part(part)
            yield with_caption_ids(
                table.filter(pa.array(keys.find(table["sha256"]) >= 0)),
                inputs.tokenized.read_part(part, TOKENS),
            )

    return aligned(pairs(), keys, pa.schema([])), origin


def _parts(column: pa.ChunkedArray) -> list[int]:
    """The parts named in a column, each once; -1 names none."""
    return [part for part in np.unique(column.to_numpy()).tolist() if part >= 0]


def _images(
    samples: pa.Table, normalized: Dataset
) -> Iterator[tuple[NDArray[np.int64], list[memoryview]]]:
    """(rows of the samples, their encoded images), in the order of the samples."""
    part, row = (samples[name].to_numpy() for name in ("part", "row"))
    for number in np.unique(part).tolist():
        rows = np.flatnonzero(part == number)
        first = 0
        with normalized.open_part(number) as file:
            for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=["image"]):
                here = rows[(row[rows] >= first) & (row[rows] < first + len(batch))]
                if len(here):
                    images = views(batch.column(0))
                    yield here, [images[i] for i in (row[here] - first).tolist()]
                first += len(batch)


def _splits(files: pa.ChunkedArray) -> pa.Array:
    names = files.combine_chunks().dictionary_encode()
    found = [_name(file).split for file in names.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(names.indices)


def _name(file: str) -> ShardName:
    name = parse_name(file)
    assert name is not None  # the plan named it
    return name


class _OpenShards:
    """The tars a task is writing: each is opened at its first sample and closed after its last."""

    def __init__(self, writer: DatasetWriter, left: Counter[str], cleanup: ExitStack) -> None:
        self.parts: list[Part] = []
        self._writer = writer
        self._left = left
        self._cleanup = cleanup
        self._open: dict[str, tuple[PartStream, ShardStream]] = {}

    def add(
        self,
        samples: pa.Table,
        images: list[memoryview],
        labels: list[memoryview],
        texts: list[memoryview],
    ) -> None:
        """Append samples [n], each to its tar."""
        files = samples["file"].combine_chunks().dictionary_encode()
        keys = [sample_key(key) for key in samples["sha256"].to_pylist()]
        codes = files.indices.to_numpy()
        for code, file in enumerate(files.dictionary.to_pylist()):
            rows = np.flatnonzero(codes == code).tolist()
            _, shard = self._stream(file)
            contents = ([column[i] for i in rows] for column in (images, labels, texts))
            shard.add([keys[i] for i in rows], *contents)
            if len(shard) == self._left[file]:
                self._close(file)

    def _stream(self, file: str) -> tuple[PartStream, ShardStream]:
        if file not in self._open:
            part = self._writer.stream_file(file)
            self._cleanup.callback(part.abort)
            self._open[file] = part, ShardStream(_name(file), part.write)
        return self._open[file]

    def _close(self, file: str) -> None:
        part, shard = self._open.pop(file)
        name, index = _name(file), shard.close()
        extra = {"split": name.split}
        self.parts += [
            part.commit(len(shard), extra),
            self._writer.write_file(name.index, index, extra=extra),
        ]


def _metadata(results: list[_Written], removed: int, gone: TakenOut) -> dict[str, Any]:
    """Per split: samples, shards, and how many samples carry each kind of label; the balance; what
    earlier shards of the day had."""
    counts = merged(result.counts for result in results)
    tars = Counter(p.extra["split"] for r in results for p in r.parts if p.rows)
    splits = {name: c | {"shards": tars[name]} for name, c in split_counts(counts).items()}
    funnel = {"pairs": sum(r.rows for r in results) + removed}
    funnel |= {"taken_down": removed} if removed else {}
    funnel |= {split: row["samples"] for split, row in splits.items()}
    found = {"funnel": funnel, "splits": splits, "balance": balance(counts)}
    return found | ({"taken_down": gone} if gone else {})
