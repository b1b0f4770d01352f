"""Stage `shards`: joins image bytes to labels in one streaming pass and writes WebDataset tars."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.shards.index import parse_name
from mmcore.shards.plan import KEY, ShardTask, locate_keys, plan_tasks, read_keys
from mmcore.shards.splits import SPLITS, assign_splits
from mmcore.shards.writer import Sample, pack_shard, sample_key

_PROVENANCE = ["sha256", "page_url", "image_url", "license", "consent"]
_LABELS = ("caption", "qa", "tags", "sentiment")


class Config(BaseModel):
    """Settings of the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples_per_shard: int = Field(512, ge=1, description="Most samples in one tar.")
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
    """What a task reports: its parts and, per split, how many samples have which labels."""

    parts: list[Part]
    counts: dict[str, dict[str, int]]
    rows: int


def run(lake: Lake, day: str, config: Config, seed: int = 0) -> Dataset:
    """Write `shards@day` from `pairs@day` and the bytes of `normalized@day`.

    `seed` is taken, as every stage takes it, and has no effect: which images are for testing must
    outlive a change of the seed, and samples lie in the order of their keys.
    """
    from mmcore.cluster import map_parts

    names = ("pairs", "normalized", "tokenized", "crawled")
    inputs = _Inputs(day, *(lake.dataset(name, day) for name in names))
    settings = config.model_dump(mode="json")
    done = lake.reusable("shards", day, settings, inputs.parents)
    if done is not None:
        return done
    tasks = _plan(inputs, config)
    writer = lake.writer("shards", day, format="tar")
    write = partial(_write_task, inputs=inputs, writer=writer)
    results = map_parts(write, tasks, description="shards", unit="samples")
    parts = [part for result in results for part in result.parts]
    return writer.commit(parts, inputs.parents, settings, _metadata(results))


def _plan(inputs: _Inputs, config: Config) -> list[ShardTask]:
    keys = read_keys(inputs.pairs, KEY)
    split = assign_splits(
        keys["cluster"].combine_chunks(),
        keys["split"].combine_chunks(),
        config.val_fraction,
        config.test_fraction,
    )
    keys = keys.set_column(keys.column_names.index("split"), "split", split)
    sha256 = keys["sha256"].combine_chunks()
    places = {
        name: locate_keys(dataset, sha256)
        for name, dataset in (
            ("normalized", inputs.normalized),
            ("pairs", inputs.pairs),
            ("crawled", inputs.crawled),
        )
    }
    per_task = config.samples_per_shard * config.shards_per_task
    return plan_tasks(keys, places, config.samples_per_shard, per_task)


def _write_task(task: ShardTask, inputs: _Inputs, writer: DatasetWriter) -> _Written:
    """Stream the image parts and write each tar as soon as its last sample is there."""
    files = dict(zip(*(task.keys[name].to_pylist() for name in ("sha256", "file")), strict=True))
    labels = _labels(task, inputs)
    left = Counter(files.values())
    waiting: dict[str, list[Sample]] = {}
    counts: dict[str, dict[str, int]] = {}
    parts: list[Part] = []
    for sha256, image in _images(task, inputs.normalized):
        file = files.pop(sha256, None)
        if file is None:  # a key that an earlier part held already
            continue
        sample = _sample(sha256, image, file, labels.pop(sha256))
        _count(counts.setdefault(sample.labels["split"], {}), sample.labels)
        waiting.setdefault(file, []).append(sample)
        left[file] -= 1
        if not left[file]:
            parts += _write_shard(writer, file, waiting.pop(file))
    return _Written(parts, counts, len(task.keys))


def _images(task: ShardTask, normalized: Dataset) -> Iterator[tuple[str, bytes]]:
    """(sha256, JPEG bytes) of the task's samples, in the order of the parts."""
    wanted = task.keys["sha256"].combine_chunks()
    for part in task.normalized_parts:
        table = normalized.read_part(part, ["sha256", "image"])
        table = table.filter(pc.is_in(table["sha256"], wanted)).sort_by("sha256")
        for row in range(table.num_rows):
            yield table["sha256"][row].as_py(), table["image"][row].as_py()


def _labels(task: ShardTask, inputs: _Inputs) -> dict[str, dict[str, Any]]:
    """Everything but the image that is known about the task's samples, by sha256."""
    wanted = task.keys["sha256"].combine_chunks()
    origin = _first_rows(inputs.crawled, task.crawled_parts, wanted)
    found: dict[str, dict[str, Any]] = {}
    for part in task.pairs_parts:
        ids, digest = _caption_ids(inputs.tokenized, part, wanted)
        table = inputs.pairs.read_part(part)
        for row in table.filter(pc.is_in(table["sha256"], wanted)).to_pylist():
            sha256 = row["sha256"]
            captions = row["captions"] or []
            row["caption_ids"] = [ids.get((sha256, c["text"]), []) for c in captions]
            row |= {"day": inputs.day, "tokenizer": digest} | origin.get(sha256, {})
            found[sha256] = row
    return found


def _first_rows(crawled: Dataset, parts: list[int], wanted: pa.Array) -> dict[str, dict[str, Any]]:
    """Where each image was first seen: page, URL, licence and consent evidence."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        table = crawled.read_part(part, _PROVENANCE)
        for row in table.filter(pc.is_in(table["sha256"], wanted)).to_pylist():
            row["consent"] = json.loads(row["consent"]) if row["consent"] else None
            found.setdefault(row.pop("sha256"), row)
    return found


def _caption_ids(
    tokenized: Dataset, part: int, wanted: pa.Array
) -> tuple[dict[tuple[str, str], list[int]], str | None]:
    """Token ids by (sha256, text), and the tokenizer's digest; part i goes with part i of pairs."""
    table = tokenized.read_part(part, ["sha256", "text", "ids", "tokenizer"])
    digest = table["tokenizer"][0].as_py() if table.num_rows else None
    table = table.filter(pc.is_in(table["sha256"], wanted))
    columns = (table[name].to_pylist() for name in ("sha256", "text", "ids"))
    return {(sha256, text): ids for sha256, text, ids in zip(*columns, strict=True)}, digest


def _sample(sha256: str, image: bytes, file: str, labels: dict[str, Any]) -> Sample:
    name = parse_name(file)
    assert name is not None  # the plan named it
    caption = labels["caption"]["text"] if labels["caption"] else ""
    return Sample(sample_key(sha256), image, caption, labels | {"split": name.split})


def _write_shard(writer: DatasetWriter, file: str, samples: list[Sample]) -> list[Part]:
    name = parse_name(file)
    assert name is not None  # the plan named it
    tar, index = pack_shard(name, samples)
    extra = {"split": name.split}
    return [
        writer.write_file(name.tar, tar, rows=len(samples), extra=extra),
        writer.write_file(name.index, index, extra=extra),
    ]


def _count(counts: dict[str, int], labels: dict[str, Any]) -> None:
    for name in ("samples", *(label for label in _LABELS if labels[label])):
        counts[name] = counts.get(name, 0) + 1


def _metadata(results: list[_Written]) -> dict[str, Any]:
    """Per split: samples, shards, and how many samples carry each kind of label."""
    splits: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        names = ("samples", *_LABELS)
        found = [result.counts.get(split, {}) for result in results]
        splits[split] = {name: sum(c.get(name, 0) for c in found) for name in names}
        tars = [p for r in results for p in r.parts if p.rows and p.extra["split"] == split]
        splits[split]["shards"] = len(tars)
    funnel = {"pairs": sum(r.rows for r in results)}
    funnel |= {split: splits[split]["samples"] for split in SPLITS}
    return {"funnel": funnel, "splits": splits}
