"""Votes and their sum. A vote says: of this image, this is so; how sure; and who says so.

`combine` is a weighted majority: the share of the winning answer times the noisy-or of those who
gave it. What learns how accurate each function is, and labels in the stage, is `label_model_fit`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNCLEAR = "?"
"""A vote that there is no single answer; it stands against all others and never wins."""

VOTES = pa.schema(
    [
        ("image", pa.int64()),
        ("task", pa.string()),
        ("slot", pa.string()),
        ("value", pa.string()),
        ("weight", pa.float64()),
        ("source", pa.string()),
        ("lang", pa.string()),
    ]
)
"""slot: what is decided, such as `colour|circle`; weight in (0, 1]; lang: of the text."""

LABELS = pa.schema([*list(VOTES)[:4], ("confidence", pa.float64()), *list(VOTES)[5:]])

_HIGHEST = 0.99


def combine(votes: pa.Table, min_share: float = 0.6) -> pa.Table:
    """One label per (image, task, slot) that has a clear winner, as `LABELS`, sorted by those.

    votes: `VOTES`. A slot whose best answer holds less than `min_share` of the weight is abstained
    from. `source` and `lang` are those of the strongest vote for the winner.
    """
    if votes.num_rows == 0:
        return LABELS.empty_table()
    miss = pc.ln(pc.subtract(1.0, pc.min_element_wise(votes["weight"], _HIGHEST)))
    votes = votes.append_column("miss", miss)
    order = [("image", "ascending"), ("task", "ascending"), ("slot", "ascending")]
    order += [
        ("value", "ascending"),
        ("weight", "descending"),
        ("source", "ascending"),
        ("lang", "ascending"),
    ]
    votes = votes.sort_by(order)
    group = ["image", "task", "slot", "value"]
    sums = votes.group_by(group, use_threads=False).aggregate(
        [("weight", "sum"), ("miss", "sum"), ("source", "first"), ("lang", "first")]
    )
    slots = ["image", "task", "slot"]
    totals = sums.group_by(slots, use_threads=False).aggregate([("weight_sum", "sum")])
    sums = sums.join(totals, slots, join_type="inner")
    share = pc.divide(sums["weight_sum"], sums["weight_sum_sum"])
    sure = pc.multiply(share, pc.subtract(1.0, pc.exp(sums["miss_sum"])))
    sure = np.round(np.minimum(sure.to_numpy(), _HIGHEST), 4)
    sums = sums.append_column("confidence", pa.array(sure))
    wins = pc.and_(pc.greater_equal(share, min_share), pc.not_equal(sums["value"], UNCLEAR))
    wins = pc.and_(wins, pc.greater(sums["confidence"], 0.0))
    won = sums.filter(wins)
    renamed = pa.table(
        [won[n] for n in group] + [won["confidence"], won["source_first"], won["lang_first"]],
        schema=LABELS,
    )
    return renamed.sort_by([(name, "ascending") for name in group])


def make_votes(
    image: np.ndarray,
    task: str,
    slot: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray,
    source: np.ndarray,
    lang: np.ndarray,
) -> pa.Table:
    """A table of `VOTES` from arrays of one length."""
    columns = [image, np.full(len(image), task, object), slot, value, weight, source, lang]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, VOTES, strict=True)], schema=VOTES
    )
