"""What a labeling function of your own returns: a vote for every row of the texts it picked.

Each function takes a table with the columns `image` and, if known, `lang` (rows of what it was
given), and returns `mmcore.weak.votes.VOTES`. Not to return a row is to abstain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcore.weak.votes import VOTES

Values: TypeAlias = str | Sequence[str] | pa.Array | pa.ChunkedArray
Weights: TypeAlias = float | Sequence[float] | NDArray[np.float64] | pa.Array | pa.ChunkedArray


def tag_votes(texts: pa.Table, tag: Values, weight: Weights = 0.7) -> pa.Table:
    """The image of each row has this tag (one string for all rows, or one a row)."""
    return _votes(texts, "tag", tag, "yes", weight)


def sentiment_votes(texts: pa.Table, label: Values, weight: Weights = 0.7) -> pa.Table:
    """The image of each row feels `negative`, `neutral` or `positive`."""
    return _votes(texts, "sentiment", "sentiment", label, weight)


def fact_votes(
    texts: pa.Table, fact: str, thing: str, value: Values, weight: Weights = 0.7
) -> pa.Table:
    """A fact about a thing in the image of each row, of which questions are made.

    fact: `exists`, `plural`, `colour`, `count`, `size`, `texture`, `mood` or `position`; thing: its
    English name in the singular; value: such as `yes`, `many`, `red`, `2`, `left`.
    """
    return _votes(texts, "fact", f"{fact}|{thing}", value, weight)


def _votes(texts: pa.Table, task: str, slot: Values, value: Values, weight: Weights) -> pa.Table:
    number = texts.num_rows
    lang = texts["lang"] if "lang" in texts.column_names else pa.nulls(number, pa.string())
    empty = pa.array([""] * number, pa.string())
    columns = {
        "image": texts["image"],
        "task": _column(task, number),
        "slot": _column(slot, number),
        "value": _column(value, number),
        "weight": _column(weight, number),
        "source": empty,
        "lang": lang,
    }
    return pa.table(columns).cast(VOTES)


def _column(values: Values | Weights, number: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, str | float | int):
        return pa.array([values] * number, pa.string() if isinstance(values, str) else pa.float64())
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
