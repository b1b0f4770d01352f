"""What questions give away: how often a guess from the question alone is right.

A model that reads questions and sees no picture is the blind baseline of visual question answering
(Goyal et al. 2017). Here it knows the commonest answer to each question of the training part, and
of each type for questions it has not met.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

COUNTS = pa.schema(
    [
        ("held_out", pa.bool_()),
        ("type", pa.string()),
        ("lang", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("number", pa.int64()),
    ]
)
_GIVEN = "given"
_HELD_OUT = 0.2


def held_out(clusters: pa.Array) -> NDArray[np.bool_]:
    """Which clusters (string [n]) the guess is scored on: a fifth, by their hash."""
    codes = np.array([zlib.crc32(name.encode()) for name in clusters.to_pylist()], np.float64)
    return codes / 2.0**32 < _HELD_OUT


def count_answers(qa: pa.Table, held: NDArray[np.bool_]) -> pa.Table:
    """`COUNTS` of a part's questions (`QA`); held: bool [images]. Annotated ones are left out."""
    qa = qa.filter(pc.not_equal(qa["type"], _GIVEN))
    apart = held[qa["image"].to_numpy()] if len(held) else np.zeros(0, bool)
    table = qa.select(["type", "lang", "question", "answer"]).append_column(
        "held_out", pa.array(apart, pa.bool_())
    )
    return _counted(table.append_column("number", pa.array(np.ones(len(apart), np.int64))))


def merge_answers(tables: list[pa.Table]) -> pa.Table:
    """The sum of the `COUNTS` of all parts."""
    return _counted(pa.concat_tables([COUNTS.empty_table(), *tables]))


def question_only(counts: pa.Table) -> dict[str, dict[str, Any]]:
    """Per type: `asked` (held out), distinct `answers`, how often the type's `majority` answer is
    right, how often the guess from the question (`question_only`), and its `gain`; `all` last.

    Types without a held-out question are left out.
    """
    train = counts.filter(pc.invert(counts["held_out"]))
    test = counts.filter(counts["held_out"])
    usual = _commonest(train, ["type", "lang"], "usual")
    known = _commonest(train, ["type", "lang", "question"], "known")
    test = test.join(usual, ["type", "lang"]).join(known, ["type", "lang", "question"])
    guess = pc.coalesce(test["known"], test["usual"])
    for name, said in (("majority", test["usual"]), ("guessed", guess)):
        right = pc.fill_null(pc.equal(said, test["answer"]), False)
        test = test.append_column(name, pc.multiply(pc.cast(right, pa.int64()), test["number"]))
    per = test.group_by("type", use_threads=False).aggregate(
        [("number", "sum"), ("majority", "sum"), ("guessed", "sum"), ("answer", "count_distinct")]
    )
    rows = sorted(per.to_pylist(), key=lambda row: row["type"])
    sums = {n: sum(row[n] for row in rows) for n in ("number_sum", "majority_sum", "guessed_sum")}
    answers = pc.count_distinct(test["answer"]).as_py()
    everything = [{"type": "all", "answer_count_distinct": answers, **sums}] if rows else []
    return {row["type"]: _row(row) for row in [*rows, *everything]}


def _row(sums: dict[str, Any]) -> dict[str, Any]:
    asked = sums["number_sum"]
    majority, guessed = sums["majority_sum"] / asked, sums["guessed_sum"] / asked
    return {
        "asked": asked,
        "answers": sums["answer_count_distinct"],
        "majority": round(majority, 4),
        "question_only": round(guessed, 4),
        "gain": round(guessed - majority, 4),
    }


def _counted(table: pa.Table) -> pa.Table:
    names = [name for name in COUNTS.names if name != "number"]
    summed = table.group_by(names, use_threads=False).aggregate([("number", "sum")])
    columns = [*(summed[name] for name in names), summed["number_sum"]]
    return pa.table(columns, schema=COUNTS)


def _commonest(counts: pa.Table, group: list[str], name: str) -> pa.Table:
    """The commonest answer of each group, of equals the first in the alphabet, as column `name`."""
    per = counts.group_by([*group, "answer"], use_threads=False).aggregate([("number", "sum")])
    per = per.sort_by([("number_sum", "descending"), ("answer", "ascending")])
    first = per.group_by(group, use_threads=False).aggregate([("answer", "first")])
    return first.rename_columns([*group, name])
