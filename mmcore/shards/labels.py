"""Everything but the image that goes into a shard, joined by key as whole columns."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.shards.json_text import json_objects
from mmcore.shards.keys import KeyTable

PROVENANCE = pa.schema(
    [(name, pa.string()) for name in ("sha256", "page_url", "image_url", "license", "consent")]
)
TOKENS = ["sha256", "text", "ids", "tokenizer"]
LABELS = ("caption", "qa", "tags", "sentiment")
"""Columns of `pairs` that train a task."""


def aligned(
    tables: Iterable[pa.Table], keys: KeyTable, schema: pa.Schema, by: str = "sha256"
) -> pa.Table:
    """The first row of each key in some tables that have it in column `by`, in order of the keys.

    Rows of nulls stand for keys that are nowhere. schema: of the result where there are no tables.
    """
    found, rows = [], [schema.empty_table()]
    for table in tables:
        at = keys.find(table[by])
        here = np.flatnonzero(at >= 0)
        found.append(at[here])
        rows.append(table.take(pa.array(here)))
    together = pa.concat_tables(rows, promote_options="default").combine_chunks()
    place = np.full(len(keys), -1, np.int64)
    positions = np.concatenate([np.empty(0, np.int64), *found])[::-1]
    place[positions] = np.arange(together.num_rows)[::-1]  # of equal keys the first is set last
    return together.take(pa.array(place, mask=place < 0))


def with_caption_ids(pairs: pa.Table, tokens: pa.Table) -> pa.Table:
    """`pairs` with `caption_ids`, a list of token ids per caption, and the `tokenizer`'s digest.

    tokens: `tokenized` (TOKENS) of the same images. A caption that is not tokenised has no ids.
    """
    captions = pairs["captions"].combine_chunks()
    flat = captions.flatten()
    sizes = pc.fill_null(pc.list_value_length(captions), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(captions)), sizes)
    owners = pairs["sha256"].combine_chunks().take(pa.array(owner))
    wanted = pc.binary_join_element_wise(owners, pc.struct_field(flat, "text"), "\n")
    known = pc.binary_join_element_wise(tokens["sha256"], tokens["text"], "\n")
    ids = tokens["ids"].combine_chunks().take(pc.index_in(wanted, known.combine_chunks()))
    ids = pc.coalesce(ids, pa.scalar([], ids.type))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    digest = tokens["tokenizer"][0] if tokens.num_rows else pa.scalar(None, pa.string())
    return pairs.append_column(
        "caption_ids", pa.ListArray.from_arrays(pa.array(offsets), ids)
    ).append_column("tokenizer", pa.repeat(digest, len(pairs)))


def label_texts(
    labels: pa.Table, origin: pa.Table, split: pa.Array, day: str
) -> tuple[pa.Array, pa.Array]:
    """The `.json` and the `.txt` of samples [n]: two text columns without nulls.

    labels: rows of `pairs` with caption ids; origin: their PROVENANCE, whose `consent` is JSON.
    """
    columns = {name: labels[name].combine_chunks() for name in labels.column_names}
    columns |= {name: origin[name].combine_chunks() for name in PROVENANCE.names[1:]}
    columns |= {"split": split, "day": pa.array([day] * len(labels), pa.string())}
    caption = pc.fill_null(pc.struct_field(columns["caption"], "text"), "")
    return json_objects(columns, verbatim=("consent",)), caption


def has_label(labels: pa.Table, name: str) -> pa.Array:
    """Which rows carry a label of a kind (LABELS): bool [n]; an empty list is none."""
    column = labels[name].combine_chunks()
    if pa.types.is_list(column.type):
        return pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
    return column.is_valid()
