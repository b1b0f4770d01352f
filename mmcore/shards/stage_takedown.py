"""Taking samples out of shards that are written: only the tars that hold one are written again.

The snapshot that comes of it has the very bytes that `run` would write from the same pairs without
these samples; its other files are the old ones, linked or copied on the server. The old attempt is
deleted, and so are all before it: a takedown that keeps the bytes is none.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.lake.dataset import publish
from mmcore.lake.manifest import Manifest, content_digest, input_fingerprint
from mmcore.shards.index import ShardIndex, ShardName, dump_index, load_index, parse_name
from mmcore.shards.keys import KeyTable
from mmcore.shards.labels import LABELS
from mmcore.shards.tarformat import END, scan
from mmcore.shards.writer import sample_key

TAKEDOWN = "takedown"
TakenOut = dict[str, dict[str, str]]
"""sha256 to the `split` it was in and the digest of the shards it `was_in`."""
_COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Rewritten:
    """A day's shards without what was taken down.

    removed: `sha256` to the split it was in. files: the tars that were written again or, left
    without samples, dropped. before: digest of the snapshot that had them.
    """

    dataset: Dataset
    removed: dict[str, str]
    files: list[str]
    before: str


def removed_keys(lake: Lake, keys: pa.Array) -> list[str]:
    """Which of some images (sha256) are on the takedown list, sorted."""
    listed = _listed(lake)
    return sorted(keys.filter(pa.array(KeyTable(listed).find(keys) >= 0)).to_pylist())


def taken_out(lake: Lake, day: str) -> TakenOut:
    """What `shards@day` had in the past, and what of the takedown list it has now: what the next
    snapshot must remember, since only it tells which models have seen these images."""
    shards = lake.find("shards", day)
    if shards is None:
        return {}
    known: TakenOut = shards.metadata.get("taken_down", {})
    listed = _listed_by_key(lake)
    if not listed:
        return known
    return known | {
        listed[entry.key]: {"split": name.split, "was_in": shards.digest}
        for name, _, index in _indexes(shards)
        for entry in index.samples
        if entry.key in listed
    }


def rewrite_shards(lake: Lake, day: str) -> Rewritten | None:
    """Take out of `shards@day` what is on the takedown list; None where it holds none of it."""
    shards = lake.find("shards", day)
    if shards is None:
        return None
    listed = _listed_by_key(lake)
    writer = lake.writer("shards", day, format="tar")
    parts: list[Part] = []
    lost: list[dict[str, Any]] = []
    files = []
    changed = [
        entry for entry in _indexes(shards) if any(s.key in listed for s in entry[2].samples)
    ]
    if not changed:
        return None
    rewritten = {name.tar for name, _, _ in changed} | {name.index for name, _, _ in changed}
    for name, number, index in changed:
        files.append(name.tar)
        lost += _lost_labels(shards, number, index, listed.keys())
        parts += _without(shards, writer, name, number, index, listed.keys())
    parts += [writer.copy_part(shards, p) for p in shards.parts if p.file not in rewritten]
    parts.sort(key=lambda part: (len(part.file), part.file))
    dataset = publish(lake.storage, _manifest(shards.manifest, writer.folder, parts, lost))
    lake.storage.delete(shards.manifest.folder)
    removed = {labels["sha256"]: labels["split"] for labels in lost}
    return Rewritten(dataset, removed, files, shards.digest)


def delete_superseded(lake: Lake, day: str) -> None:
    """Delete the files of every earlier version of `shards@day`: they may hold what was taken out
    since, or a killed takedown has left them. Their manifests stay, and so does the attempt of a
    writer at work, which no manifest names yet."""
    folders = {manifest.folder for manifest in lake.manifests("shards", day)}
    # read after the manifests: a commit in between must not lose its files
    current = lake.dataset("shards", day).manifest.folder
    for folder in sorted(folders - {current}):
        lake.storage.delete(folder)


def _listed(lake: Lake) -> pa.Array:
    found = lake.find(TAKEDOWN)
    if found is None:
        return pa.array([], pa.string())
    return pc.unique(found.read(["sha256"])["sha256"].drop_null().combine_chunks())


def _listed_by_key(lake: Lake) -> dict[str, str]:
    return {sample_key(sha256): sha256 for sha256 in _listed(lake).to_pylist()}


def _indexes(shards: Dataset) -> Iterable[tuple[ShardName, int, ShardIndex]]:
    for number, part in enumerate(shards.parts):
        name = parse_name(part.file)
        if name is not None:
            label = f"{shards.label}/{name.index}"
            yield name, number, load_index(shards.read_file(name.index), label)


def _lost_labels(
    shards: Dataset, number: int, index: ShardIndex, lost: Iterable[str]
) -> list[dict[str, Any]]:
    """The labels of the samples that go."""
    found = []
    with shards.open_part(number) as file:
        for entry in index.samples:
            if entry.key in lost:
                data = io.BytesIO(file.read_at(entry.size, entry.offset))
                (member,) = [m for m in scan(data, 0, entry.size) if m.name.endswith(".json")]
                data.seek(member.offset)
                found.append(json.loads(data.read(member.size)))
    return found


def _without(
    shards: Dataset,
    writer: DatasetWriter,
    name: ShardName,
    number: int,
    index: ShardIndex,
    lost: Iterable[str],
) -> list[Part]:
    """The tar and its index again, without some samples; nothing where none are left."""
    kept = [entry for entry in index.samples if entry.key not in lost]
    if not kept:
        return []
    out = writer.stream_file(name.tar)
    moved, size = [], 0
    try:
        with closing(shards.open_part(number)) as file:
            for entry in kept:
                for start in range(0, entry.size, _COPY_BYTES):
                    length = min(_COPY_BYTES, entry.size - start)
                    out.write(file.read_at(length, entry.offset + start))
                moved.append(entry.model_copy(update={"offset": size}))
                size += entry.size
        out.write(END)
        extra = shards.parts[number].extra
        tar = out.commit(len(kept), extra)
    finally:
        out.abort()
    rewritten = ShardIndex(tar=name.tar, bytes=size + len(END), samples=moved)
    return [tar, writer.write_file(name.index, dump_index(rewritten), extra=extra)]


def _manifest(
    old: Manifest, folder: str, parts: list[Part], lost: list[dict[str, Any]]
) -> Manifest:
    """Inputs and settings are the old ones, and what is left out is a setting: the next run of the
    stage finds its work done."""
    gone = {labels["sha256"] for labels in lost}
    config = old.config | {"removed": sorted({*old.config.get("removed", []), *gone})}
    return old.model_copy(
        update={
            "digest": content_digest(old.name, old.format, parts),
            "fingerprint": input_fingerprint(old.name, config, old.parents, old.code_version),
            "folder": folder,
            "parts": parts,
            "rows": sum(part.rows for part in parts),
            "bytes": sum(part.bytes for part in parts),
            "config": config,
            "metadata": _metadata(old.metadata, parts, lost, old.digest),
        }
    )


def _metadata(
    old: dict[str, Any], parts: list[Part], lost: list[dict[str, Any]], before: str
) -> dict[str, Any]:
    """Counts without what went; `taken_down` remembers its splits and the digest that had it."""
    funnel, splits = dict(old["funnel"]), {k: dict(v) for k, v in old["splits"].items()}
    funnel["taken_down"] = funnel.get("taken_down", 0) + len(lost)
    for labels in lost:
        row = splits[labels["split"]]
        for name in ("samples", *(label for label in LABELS if labels.get(label))):
            row[name] -= 1
    for split, row in splits.items():
        funnel[split] = row["samples"]
        row["shards"] = sum(part.rows > 0 and part.extra["split"] == split for part in parts)
    gone = {x["sha256"]: {"split": x["split"], "was_in": before} for x in lost}
    return old | {
        "funnel": funnel,
        "splits": splits,
        "taken_down": old.get("taken_down", {}) | gone,
    }
