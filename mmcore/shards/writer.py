"""A shard as bytes: WebDataset members of each sample, and the index beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from mmcore.shards.index import SampleEntry, ShardIndex, ShardName, dump_index
from mmcore.shards.tarformat import END, pack

KEY_DIGITS = 20


@dataclass(frozen=True)
class Sample:
    """One image with its labels, as `{key}.jpg` (or `.webp`), `{key}.txt` and `{key}.json` of a
    shard.

    `jpg` is the encoded image, `text` its best caption (may be empty), `labels` the decoded JSON
    (`{}` where a foreign shard has none).
    """

    key: str
    jpg: bytes
    text: str
    labels: dict[str, Any] = field(default_factory=dict)


def sample_key(sha256: str) -> str:
    """Key of an image: the first 20 hex digits of its `sha256`; no dots, as WebDataset asks."""
    return sha256[:KEY_DIGITS]


def labels_json(labels: dict[str, Any]) -> bytes:
    """Labels as canonical UTF-8 JSON."""
    text = json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")  # a lone surrogate must not stop a whole shard


def pack_shard(name: ShardName, samples: list[Sample]) -> tuple[bytes, bytes]:
    """The tar of `samples`, sorted by key, and its index: (tar bytes, index bytes).

    The same samples in any order give the same bytes. Keys must be distinct.
    """
    ordered = sorted(samples, key=lambda sample: sample.key)
    names = [f"{s.key}.{end}" for s in ordered for end in (_image_extension(s), "json", "txt")]
    contents = [content for s in ordered for content in _contents(s)]
    pieces, bounds = pack(names, contents)
    tar = b"".join([*pieces, END])
    view = memoryview(tar)
    entries = []
    for i, sample in enumerate(ordered):
        start, stop = int(bounds[3 * i]), int(bounds[3 * i + 3])
        digest = hashlib.sha256(view[start:stop]).hexdigest()
        entries.append(SampleEntry(key=sample.key, offset=start, size=stop - start, sha256=digest))
    index = ShardIndex(tar=name.tar, bytes=len(tar), samples=entries)
    return tar, dump_index(index)


def _image_extension(sample: Sample) -> str:
    return "webp" if sample.jpg[:4] == b"RIFF" else "jpg"


def _contents(sample: Sample) -> tuple[bytes, bytes, bytes]:
    return sample.jpg, labels_json(sample.labels), sample.text.encode("utf-8", "replace")
