"""A shard as a stream: WebDataset members of each sample, and the index beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from mmcore.shards.index import ShardName, dump_samples
from mmcore.shards.tarformat import END, pack

Data = bytes | memoryview
_BATCH_BYTES = 4 << 20
_TEXTS = ("json", "txt")
_MEMBERS = 1 + len(_TEXTS)

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


class ShardStream:
    """Writes one tar, sample after sample, and remembers what its index needs.

    write: takes the next bytes of the tar. In memory are a batch of samples and the index.
    """

    def __init__(self, name: ShardName, write: Callable[[Data], object]) -> None:
        self._name = name
        self._write = write
        self._entries: list[dict[str, str | int]] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        keys: Sequence[str],
        images: Sequence[Data],
        labels: Sequence[Data],
        texts: Sequence[Data],
    ) -> None:
        """Append samples: encoded images, labels as UTF-8 JSON, captions as UTF-8; keys distinct.

        They are packed a few megabytes at a time, so that the copies stay in the cache.
        """
        start, size = 0, 0
        for i, image in enumerate(images):
            size += len(image)
            if size >= _BATCH_BYTES or i + 1 == len(images):
                rows = slice(start, i + 1)
                self._add(keys[rows], images[rows], labels[rows], texts[rows])
                start, size = i + 1, 0

    def _add(
        self,
        keys: Sequence[str],
        images: Sequence[Data],
        labels: Sequence[Data],
        texts: Sequence[Data],
    ) -> None:
        triples = list(zip(images, labels, texts, strict=True))
        ends = (_extension(image) for image in images)
        names = [f"{k}.{e}" for k, end in zip(keys, ends, strict=True) for e in (end, *_TEXTS)]
        pieces, bounds = pack(names, [content for triple in triples for content in triple])
        view = memoryview(b"".join(pieces))
        edges = bounds[::_MEMBERS].tolist()
        for key, (start, stop) in zip(keys, pairwise(edges), strict=True):
            digest = hashlib.sha256(view[start:stop]).hexdigest()
            entry = {"key": key, "offset": self._bytes + start, "size": stop - start}
            self._entries.append(entry | {"sha256": digest})
        self._write(view)
        self._bytes += len(view)

    def close(self) -> bytes:
        """Write the end marker and return the index file."""
        self._write(END)
        self._bytes += len(END)
        return dump_samples(self._name.tar, self._bytes, self._entries)


def pack_shard(name: ShardName, samples: list[Sample]) -> tuple[bytes, bytes]:
    """A tar of few `samples` in memory, sorted by key, and its index: (tar bytes, index bytes).

    The same samples in any order give the same bytes. Keys must be distinct.
    """
    ordered = sorted(samples, key=lambda sample: sample.key)
    tar = bytearray()
    stream = ShardStream(name, tar.extend)
    stream.add(
        [sample.key for sample in ordered],
        [sample.jpg for sample in ordered],
        [labels_json(sample.labels) for sample in ordered],
        [sample.text.encode("utf-8", "replace") for sample in ordered],
    )
    index = stream.close()
    return bytes(tar), index


def views(column: pa.Array) -> list[memoryview]:
    """The values of a binary or text column without nulls, not copied. An empty one is allowed."""
    wide = pa.types.is_large_binary(column.type) or pa.types.is_large_string(column.type)
    _, offsets, data = column.buffers()
    if data is None or not len(column):
        return [memoryview(b"")] * len(column)
    bounds = np.frombuffer(offsets, np.int64 if wide else np.int32)
    edges = bounds[column.offset : column.offset + len(column) + 1].tolist()
    whole = memoryview(data)
    return [whole[start:stop] for start, stop in pairwise(edges)]


def _extension(image: Data) -> str:
    return "webp" if image[:4] == b"RIFF" else "jpg"
