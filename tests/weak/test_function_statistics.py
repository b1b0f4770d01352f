"""Coverage, overlap, conflict and accuracy, worked out by hand."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from mmcore.weak.annotations import Annotation
from mmcore.weak.function_statistics import count_right, count_votes, function_table
from mmcore.weak.pairs import Given
from mmcore.weak.questions import QA
from mmcore.weak.votes import VOTES


def votes(*rows: tuple[int, str, str, str, str]) -> pa.Table:
    listed = [dict(zip(VOTES.names, (*row[:4], 0.9, row[4], "en"), strict=True)) for row in rows]
    return pa.Table.from_pylist(listed, VOTES)


TABLE = votes(
    (0, "fact", "colour|dog", "red", "alt"),
    (0, "fact", "colour|dog", "red", "caption"),
    (0, "fact", "colour|dog", "blue", "title"),
    (1, "fact", "colour|dog", "red", "alt"),
    (1, "fact", "colour|dog", "blue", "alt"),  # it contradicts itself: no other does
    (2, "fact", "colour|dog", "red", "alt"),
    (2, "fact", "colour|dog", "red", "alt"),  # said twice
    (2, "fact", "colour|dog", "red", "caption"),
)


def test_shares_are_those_of_the_literature() -> None:
    table = function_table(count_votes(TABLE), images=4)
    assert table["fact/alt"] == {
        "coverage": 0.75,
        "votes": 4,
        "overlap": 0.5,
        "conflict": 0.25,
        "checked": 0,
        "accuracy": None,
    }
    assert table["fact/title"]["conflict"] == table["fact/title"]["overlap"] == 1
    assert table["fact/caption"]["conflict"] == 0.5


def test_counts_of_parts_add_up() -> None:
    whole = count_votes(TABLE)
    parts: dict[str, Counter[str]] = {}
    for image in range(3):
        rows = pa.array([i == image for i in TABLE["image"].to_pylist()])
        for name, numbers in count_votes(TABLE.filter(rows)).items():
            parts.setdefault(name, Counter()).update(numbers)
    assert {n: dict(c) for n, c in parts.items()} == {n: dict(c) for n, c in whole.items()}


def test_no_votes_no_table() -> None:
    assert function_table(count_votes(VOTES.empty_table()), 0) == {}


def test_accuracy_is_measured_where_people_labelled() -> None:
    notes = [
        Annotation(tags=("dog",), sentiment="positive", qa=(("What is it?", "dog"),)),
        Annotation(),
    ]
    table = votes(
        (0, "tag", "dog", "yes", "alt"),
        (0, "tag", "cat", "yes", "alt"),
        (1, "tag", "cat", "yes", "alt"),  # nobody labelled this one
        (0, "sentiment", "sentiment", "negative", "comments"),
    )
    rows = [(0, "what is it?", "dog"), (0, "what else?", "cat"), (1, "what is it?", "cat")]
    qa = pa.Table.from_pylist(
        [
            {"image": i, "question": q, "answer": a, "type": "what", "lang": "en", "source": "alt"}
            for i, q, a in rows
        ],
        QA,
    )
    counts = count_right(table, qa, Given.flatten(notes))
    found = {name: (n["checked"], n["right"]) for name, n in counts.items()}
    assert found == {"tag/alt": (2, 1), "sentiment/comments": (1, 0), "qa/alt": (1, 1)}
