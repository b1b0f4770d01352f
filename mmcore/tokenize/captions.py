"""Captions of deduplicated rows as a flat table, one row per (kept image, caption)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.tokenize.sample import UNKNOWN_LANGUAGE

COLUMNS = ["sha256", "cluster", "kept", "captions"]
LANGUAGE_COLUMNS = ["kept", "captions.list.element.lang"]
TEXT_COLUMNS = [*LANGUAGE_COLUMNS, "captions.list.element.text"]
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


def caption_field(table: pa.Table, name: str) -> pa.Array:
    """One field of the captions of kept rows, flat: strings; needs `kept` and that field only."""
    captions = table["captions"].filter(table["kept"]).combine_chunks()
    return pc.list_flatten(captions).field(name)


def count_languages(table: pa.Table) -> dict[str, int]:
    """Captions of kept rows per language, null as `und`."""
    counts = pc.value_counts(pc.fill_null(caption_field(table, "lang"), UNKNOWN_LANGUAGE))
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
