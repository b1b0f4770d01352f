"""`mmcore trace`: everything the lake knows about an image, from the page to the model.

Nothing is computed here: each answer is a row of a dataset, found by its `sha256` or its cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.descent import SeenBy, models_with
from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.shards.index import load_index, parse_name
from mmcore.shards.writer import sample_key

Row = dict[str, Any]
_HEAVY = ("image", "thumb")
_FEWEST_DIGITS = 8


@dataclass
class Trace:
    """One image. Each row is as the dataset has it, with the `day` it is from.

    seen: where it was found, with consent evidence (`crawled`); outcomes: of the requests that gave
    it; cleaned, texts: attributes and decisions of clean; deduplicated: those of dedup; members:
    other images of its cluster; labels: of `pairs`, each with the function that voted for it;
    shards: `path`, `offset`, `size`, `split`, `sha256` of the sample's bytes; models: what was
    trained on it; taken_down: its rows of the takedown list.
    """

    sha256: str
    seen: list[Row] = field(default_factory=list)
    outcomes: list[Row] = field(default_factory=list)
    cleaned: list[Row] = field(default_factory=list)
    texts: list[Row] = field(default_factory=list)
    deduplicated: list[Row] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    shards: list[Row] = field(default_factory=list)
    models: list[SeenBy] = field(default_factory=list)
    taken_down: list[Row] = field(default_factory=list)


_DATASETS = {
    "crawled": "seen",
    "outcomes": "outcomes",
    "cleaned": "cleaned",
    "texts": "texts",
    "deduplicated": "deduplicated",
    "pairs": "labels",
}
"""Dataset of a day to the field its rows are kept in."""


def find_images(lake: Lake, target: str) -> list[str]:
    """sha256 of the images a person means, sorted: the sha256 itself, 8 or more of its first hex
    digits (a sample's key has 20), or the URL of an image or of a page. UserError if there is none.
    """
    if re.fullmatch(f"[0-9a-f]{{{_FEWEST_DIGITS},64}}", target):
        columns, matches = ["sha256"], lambda part: pc.starts_with(part["sha256"], target)
    elif re.match(r"[a-z]+://", target):
        columns = ["sha256", "image_url", "page_url"]

        def matches(part: pa.Table) -> pa.ChunkedArray:
            same = (pc.equal(part[name], target) for name in columns[1:])
            return pc.fill_null(pc.or_kleene(*same), False)
    else:
        raise UserError(
            f"{target!r} is neither a key nor a URL: give a sha256, at least {_FEWEST_DIGITS} of "
            "its first digits, or the URL of an image or a page."
        )
    found: set[str] = set()
    for _, dataset in _days(lake, "crawled"):
        for part in dataset.iter_parts(columns):
            found.update(part.filter(matches(part))["sha256"].to_pylist())
    if not found:
        raise UserError(f"No image of {lake.root} was stored under {target}.")
    return sorted(found)


def trace(lake: Lake, images: list[str]) -> list[Trace]:
    """What the lake knows of some images (sha256), in their order; one pass over each dataset."""
    traces = {sha256: Trace(sha256) for sha256 in images}
    keys = pa.array(images, pa.string())
    for name, place in _DATASETS.items():
        for day, row in _rows(lake, name, "sha256", keys):
            getattr(traces[row["sha256"]], place).append({"day": day} | row)
    for listed in _takedown(lake, keys):
        traces[listed["sha256"]].taken_down.append(listed)
    _add_members(lake, traces)
    _add_shards(lake, traces)
    return list(traces.values())


def _rows(lake: Lake, name: str, column: str, keys: pa.Array) -> Iterator[tuple[str, Row]]:
    """(day, row) of the rows of all days whose `column` is among some keys."""
    for day, dataset in _days(lake, name):
        wanted = [c for c in dataset.manifest.columns if c not in _HEAVY]
        for number in range(len(dataset.parts)):
            found = pc.is_in(dataset.read_part(number, [column])[column], keys)
            if pc.any(found).as_py():
                for row in dataset.read_part(number, wanted).filter(found).to_pylist():
                    yield day, _readable(row)


def _readable(row: Row) -> Row:
    """JSON that a dataset keeps as text, as what it says."""
    for name in ("consent", "annotation"):
        if row.get(name):
            row[name] = json.loads(row[name])
    return row


def _takedown(lake: Lake, keys: pa.Array) -> list[Row]:
    listed = lake.find("takedown")
    if listed is None:
        return []
    rows = listed.read()
    return rows.filter(pc.is_in(rows["sha256"], keys)).to_pylist()


def _add_members(lake: Lake, traces: dict[str, Trace]) -> None:
    clusters = {key: {r["cluster"] for r in t.deduplicated} for key, t in traces.items()}
    wanted = pa.array(sorted(set().union(*clusters.values())), pa.string())
    members: dict[str, set[str]] = {}
    for _, row in _rows(lake, "deduplicated", "cluster", wanted):
        members.setdefault(row["cluster"], set()).add(row["sha256"])
    for key, found in traces.items():
        others = set().union(*(members.get(cluster, set()) for cluster in clusters[key]))
        found.members = sorted(others - {key})


def _add_shards(lake: Lake, traces: dict[str, Trace]) -> None:
    """Places in tars, and the models that were trained on them."""
    keys = {sample_key(sha256): sha256 for sha256 in traces}
    held: dict[str, dict[str, str]] = {}
    for day, dataset in _days(lake, "shards"):
        for sha256, place in _places(dataset, keys):
            held.setdefault(day, {})[sha256] = place["split"]
            traces[sha256].shards.append({"day": day} | place)
        for sha256, was in dataset.metadata.get("taken_down", {}).items():
            if sha256 in traces:
                held.setdefault(day, {})[sha256] = was["split"]
    for model in models_with(lake, held):
        for sha256, split in model.images.items():
            one = SeenBy(model.candidate, model.digest, {sha256: split}, model.started_from)
            traces[sha256].models.append(one)


def _places(dataset: Dataset, keys: dict[str, str]) -> Iterator[tuple[str, Row]]:
    for path, part in zip(dataset.paths(), dataset.parts, strict=True):
        name = parse_name(part.file)
        if name is None:
            continue
        index = load_index(dataset.read_file(name.index), f"{dataset.label}/{name.index}")
        for entry in index.samples:
            if entry.key in keys:
                place = {"path": path, "split": name.split} | entry.model_dump(exclude={"key"})
                yield keys[entry.key], place


def _days(lake: Lake, name: str) -> Iterator[tuple[str, Dataset]]:
    return ((day, lake.dataset(name, day)) for day in lake.partitions(name))
