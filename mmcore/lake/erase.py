"""Take the bytes of some rows out of a dataset: the one thing that changes what was committed.

A dataset is immutable so that results can be traced, but some material must not be kept, whatever
was made of it. The rows stay, with their keys; one column of them becomes null. A new attempt is
published with the manifest's own inputs and settings, and the old attempt is deleted.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import MmcoreError
from mmcore.lake.dataset import Dataset, DatasetWriter, publish
from mmcore.lake.manifest import Part, content_digest


def erase_in_part(
    dataset: Dataset, writer: DatasetWriter, index: int, keys: list[str], column: str
) -> Part:
    """Write part `index` with `column` null on the rows whose `sha256` is in `keys`."""
    part = dataset.parts[index]
    if part.content_sha256 != part.sha256:
        raise MmcoreError(f"{dataset.label} has volatile columns: erase does not know which.")
    found = pc.is_in(dataset.read_part(index, ["sha256"])["sha256"], value_set=pa.array(keys))
    if not pc.any(found).as_py():
        return writer.write_file(part.file, dataset.read_file(part.file), part.rows, part.extra)
    table = dataset.read_part(index)
    place = table.schema.get_field_index(column)
    kind = table.schema.field(place)
    emptied = pc.if_else(found, pa.scalar(None, kind.type), table[column])
    number = int(part.file.removesuffix(".parquet").rpartition("-")[2])
    written = writer.write_table(number, table.set_column(place, kind, emptied))
    return written.model_copy(update={"extra": part.extra})


def publish_erased(dataset: Dataset, writer: DatasetWriter, parts: list[Part]) -> Dataset:
    """Make the rewritten parts the dataset and delete those that held the bytes."""
    old = dataset.manifest
    manifest = old.model_copy(
        update={
            "digest": content_digest(old.name, old.format, parts),
            "folder": writer.folder,
            "parts": parts,
            "bytes": sum(part.bytes for part in parts),
        }
    )
    erased = publish(dataset.storage, manifest)
    dataset.storage.delete(old.folder)
    return erased
