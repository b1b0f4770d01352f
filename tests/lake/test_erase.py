"""Erasing bytes: the rows stay, the bytes do not, and everything else is as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake, erase_in_part, publish_erased


def _images(lake: Lake, volatile: tuple[str, ...] = ()) -> Dataset:
    writer = lake.writer("raw", "2026-01-01", volatile=volatile)
    parts = []
    for i in (0, 2):  # a part may be missing in between
        keys = [f"k{i}", f"k{i + 1}"]
        images = [f"SECRET {key}".encode() for key in keys]
        table = pa.table({"sha256": keys, "image": images, "bytes": [9, 9]})
        parts.append(writer.write_table(i, table))
    return writer.commit(parts, [], {"a": 1}, {"note": "kept"})


def _erase(lake: Lake, dataset: Dataset, keys: list[str]) -> Dataset:
    writer = lake.writer("raw", "2026-01-01")
    parts = [erase_in_part(dataset, writer, i, keys, "image") for i in range(len(dataset.parts))]
    return publish_erased(dataset, writer, parts)


def test_only_the_bytes_of_the_named_rows_are_gone(lake: Lake) -> None:
    before = _images(lake)
    erased = _erase(lake, before, ["k3", "unknown"])
    assert lake.dataset("raw", "2026-01-01").manifest == erased.manifest
    assert erased.read()["sha256"].to_pylist() == ["k0", "k1", "k2", "k3"]
    assert erased.read()["bytes"].to_pylist() == [9] * 4
    images = erased.read()["image"].to_pylist()
    assert images == [b"SECRET k0", b"SECRET k1", b"SECRET k2", None]
    files = [path for path in Path(lake.root).rglob("*") if path.is_file()]
    assert not any(b"SECRET k3" in path.read_bytes() for path in files)
    erased.verify()


def test_the_manifest_is_the_same_but_for_the_content(lake: Lake) -> None:
    before = _images(lake)
    erased = _erase(lake, before, ["k0"])
    assert erased.digest != before.digest
    assert erased.parts[1].sha256 == before.parts[1].sha256
    same = {"config", "metadata", "fingerprint", "parents", "rows", "columns"}
    assert erased.manifest.model_dump(include=same) == before.manifest.model_dump(include=same)


def test_a_dataset_with_volatile_columns_is_refused(lake: Lake) -> None:
    with pytest.raises(MmcoreError, match="volatile"):
        _erase(lake, _images(lake, volatile=("bytes",)), ["k0"])
