"""How the labeling functions do: coverage, overlap, conflict, and accuracy where people labelled.

The measures of Snorkel's `LFAnalysis` (Ratner et al. 2017), as counts that add up over parts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.weak.pairs import Given

Counts = dict[str, Counter[str]]
_VOTE = ["image", "task", "slot", "value", "source"]


def count_votes(votes: pa.Table) -> Counts:
    """Per function `task/source`: `images` voted on, `votes` (of equal ones one), and how many of
    these another function `overlap`s (votes on the same thing) and `conflict`s with."""
    if votes.num_rows == 0:
        return {}
    once = votes.group_by(_VOTE, use_threads=False).aggregate([])
    slot = _number(once, ["image", "task", "slot"])
    by_slot, by_source, by_value = (
        np.bincount(code)[code]
        for code in (slot, _within(slot, once["source"]), _within(slot, once["value"]))
    )
    # votes of others, and of these the ones that say something else
    overlap = by_slot > by_source
    conflict = by_slot - by_source - by_value + 1 > 0
    table = once.select(["image", "task", "source"])
    table = table.append_column("overlap", pa.array(overlap.astype(np.int64)))
    table = table.append_column("conflict", pa.array(conflict.astype(np.int64)))
    return _sums(table, ["overlap", "conflict"])


def count_right(votes: pa.Table, qa: pa.Table, given: Given) -> Counts:
    """Per function `task/source`: votes and questions on what an annotation settles, as `checked`,
    and how many of them are `right`.

    qa: `QA` before annotations are put in. A tag is settled for images with annotated tags, a
    feeling and a question where they are annotated themselves.
    """
    tags = votes.filter(pc.equal(votes["task"], "tag"))
    tags = tags.filter(pc.is_in(tags["image"], given.tags["image"].combine_chunks()))
    right = pc.is_in(_key(tags, "image", "slot"), _key(given.tags, "image", "tag"))
    tables = [_judged(tags, "tag", right)]
    feelings = votes.filter(pc.equal(votes["task"], "sentiment"))
    feelings = feelings.filter(
        pc.is_in(feelings["image"], given.sentiment["image"].combine_chunks())
    )
    right = pc.is_in(_key(feelings, "image", "value"), _key(given.sentiment, "image", "label"))
    tables.append(_judged(feelings, "sentiment", right))
    asked = pc.is_in(_key(qa, "image", "question"), _key(given.qa, "image", "question"))
    qa = qa.filter(asked)
    pair = _key(given.qa, "image", "question", "answer")
    tables.append(_judged(qa, "qa", pc.is_in(_key(qa, "image", "question", "answer"), pair)))
    return _sums(pa.concat_tables(tables), ["right"], "checked")


def function_table(counts: Counts, images: int) -> dict[str, dict[str, Any]]:
    """One row per function: shares from the sums of all parts' counts. accuracy: null where nothing
    was checked."""
    return {
        name: {
            "coverage": round(n["images"] / max(images, 1), 4),
            "votes": n["votes"],
            "overlap": _share(n["overlap"], n["votes"]),
            "conflict": _share(n["conflict"], n["votes"]),
            "checked": n["checked"],
            "accuracy": _share(n["right"], n["checked"]) if n["checked"] else None,
        }
        for name, n in sorted(counts.items())
    }


def _share(part: int, whole: int) -> float:
    return round(part / max(whole, 1), 4)


def _judged(rows: pa.Table, task: str, right: pa.Array) -> pa.Table:
    columns = {
        "image": rows["image"],
        "task": pa.array([task] * rows.num_rows, pa.string()),
        "source": rows["source"],
        "right": pc.cast(right, pa.int64()),
    }
    return pa.table(columns)


def _sums(table: pa.Table, names: list[str], votes: str = "votes") -> Counts:
    """Sums per function, with the number of rows under the name `votes`."""
    per = table.group_by(["task", "source"], use_threads=False).aggregate(
        [("image", "count_distinct"), ("image", "count"), *((name, "sum") for name in names)]
    )
    out: Counts = {}
    for row in per.to_pylist():
        numbers = Counter({name: row[f"{name}_sum"] for name in names})
        numbers[votes] = row["image_count"]
        if votes == "votes":
            numbers["images"] = row["image_count_distinct"]
        out[f"{row['task']}/{row['source']}"] = numbers
    return out


def _key(table: pa.Table, *names: str) -> pa.Array:
    parts = [pc.utf8_lower(pc.cast(table[name], pa.string())) for name in names]
    joined = pc.binary_join_element_wise(*parts, "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _number(table: pa.Table, names: list[str]) -> np.ndarray:
    """A number for each distinct combination of columns: int64 [n]."""
    code = np.zeros(table.num_rows, np.int64)
    for name in names:
        code = _within(code, table[name])
    return code


def _within(code: np.ndarray, column: pa.ChunkedArray) -> np.ndarray:
    encoded = pc.dictionary_encode(column).combine_chunks()
    other = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    joint = code * (len(encoded.dictionary) + 1) + other
    return np.unique(joint, return_inverse=True)[1]
