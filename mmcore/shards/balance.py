"""Are the splits alike? Shares of tags, languages, sentiments and sites in each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.shards.labels import LABELS, has_label
from mmcore.shards.splits import SPLITS

COUNTS = pa.schema(
    [
        ("attribute", pa.string()),
        ("value", pa.string()),
        ("split", pa.string()),
        ("count", pa.int64()),
    ]
)
_SHOWN = 12
"""Commonest values of an attribute that are listed."""


def count_values(labels: pa.Table, page_url: pa.Array, split: pa.Array) -> pa.Table:
    """How many samples of each split have which value of what: COUNTS.

    labels: rows of `pairs` [n]; page_url, split: string [n]. `samples` and the kinds of LABELS are
    attributes too, with the value "".
    """
    here = np.arange(len(labels))
    tags = labels["tags"].combine_chunks()
    owner = pc.list_parent_indices(tags).to_numpy()
    values = [
        ("language", here, pc.struct_field(labels["caption"].combine_chunks(), "lang")),
        ("sentiment", here, pc.struct_field(labels["sentiment"].combine_chunks(), "label")),
        ("site", here, _hosts(page_url)),
        ("tag", owner, pc.struct_field(tags.flatten(), "tag")),
        ("samples", here, pa.array([""] * len(labels))),
    ]
    for name in LABELS:
        rows = np.flatnonzero(has_label(labels, name).to_numpy(zero_copy_only=False))
        values.append((name, rows, pa.array([""] * len(rows), pa.string())))
    tables = [_counted(name, column, split.take(pa.array(rows))) for name, rows, column in values]
    return pa.concat_tables([COUNTS.empty_table(), *tables])


def merged(tables: Iterable[pa.Table]) -> pa.Table:
    """The sum of several COUNTS, sorted."""
    names = COUNTS.names[:3]
    rows = pa.concat_tables([COUNTS.empty_table(), *tables])
    total = rows.group_by(names).aggregate([("count", "sum")]).rename_columns([*names, "count"])
    return total.sort_by([(name, "ascending") for name in names])


def split_counts(counts: pa.Table) -> dict[str, dict[str, int]]:
    """Per split: how many samples, and how many with each kind of label."""
    plain = counts.filter(pc.equal(counts["value"], "")).to_pylist()
    known = {(row["split"], row["attribute"]): row["count"] for row in plain}
    names = ("samples", *LABELS)
    return {split: {name: known.get((split, name), 0) for name in names} for split in SPLITS}


def balance(counts: pa.Table) -> dict[str, dict[str, Any]]:
    """`ATTRIBUTE: VALUE` to the share of samples that have it, per split, and the widest `gap`.

    The commonest values of each attribute, those with the widest gap first. Splits without samples
    have no shares. A gap is as telling as the smallest split is large.
    """
    sizes = {split: row["samples"] for split, row in split_counts(counts).items()}
    rows = counts.filter(pc.not_equal(counts["value"], "")).to_pylist()
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        by_split = found.setdefault(row["attribute"], {}).setdefault(row["value"], {})
        by_split[row["split"]] = row["count"]
    table = {}
    for attribute, values in found.items():
        common = sorted(values, key=lambda value: (-sum(values[value].values()), value))[:_SHOWN]
        shares = {value: _shares(values[value], sizes) for value in common}
        for value in sorted(common, key=lambda value: (-shares[value]["gap"], value)):
            table[f"{attribute}: {value}"] = shares[value]
    return table


def _shares(counts: dict[str, int], sizes: dict[str, int]) -> dict[str, float]:
    shares = {split: round(counts.get(split, 0) / size, 4) for split, size in sizes.items() if size}
    return shares | {"gap": round(max(shares.values()) - min(shares.values()), 4)}


def _counted(attribute: str, values: pa.Array, split: pa.Array) -> pa.Table:
    rows = pa.table({"value": values, "split": split}).filter(values.is_valid())
    counts = rows.group_by(["value", "split"]).aggregate([([], "count_all")])
    named = pa.array([attribute] * counts.num_rows, pa.string())
    columns = [named, counts["value"], counts["split"], counts["count_all"]]
    return pa.table(columns, names=COUNTS.names).cast(COUNTS)


def _hosts(urls: pa.Array) -> pa.Array:
    """Host of each URL; null where there is none (a file, or nothing known)."""
    found = pc.extract_regex(urls, r"^[a-z][a-z0-9+.-]*://(?:[^/@?#]*@)?(?P<host>[^/?#]+)")
    return pc.struct_field(found, "host")
