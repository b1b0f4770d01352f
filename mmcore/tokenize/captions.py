"""Captions of deduplicated rows as a flat table, one row per (kept image, caption)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ["sha256", "cluster", "kept", "captions"]
FLAT = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("role", pa.string()),
        ("count", pa.int64()),
    ]
)


def flatten_captions(table: pa.Table) -> pa.Table:
    """Kept rows of a `deduplicated` table (at least `COLUMNS`) as `FLAT`, order kept."""
    kept = table.filter(table["kept"]).combine_chunks()
    if kept.num_rows == 0:
        return FLAT.empty_table()
    captions = kept["captions"].combine_chunks()
    parents = pc.list_parent_indices(captions)
    entries = pc.list_flatten(captions)
    columns = {name: kept[name].combine_chunks().take(parents) for name in ("sha256", "cluster")}
    columns |= {name: entries.field(name) for name in ("text", "lang", "role", "count")}
    return pa.table(columns).cast(FLAT)
