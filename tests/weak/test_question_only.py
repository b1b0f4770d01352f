"""What a guess from the question alone reaches, with and without a leak."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmcore.weak.question_only import count_answers, held_out, merge_answers, question_only
from mmcore.weak.questions import QA

IMAGES = 400


def counts(ask: str) -> pa.Table:
    """Answers to one question per image, half of them yes; `ask` may hold the answer."""
    answers = ["yes" if i % 2 else "no" for i in range(IMAGES)]
    rows = [
        {
            "image": i,
            "question": ask.format(answer=answers[i]),
            "answer": answers[i],
            "type": "exists",
            "lang": "en",
        }
        for i in range(IMAGES)
    ]
    apart = held_out(pa.array([f"cluster {i}" for i in range(IMAGES)]))
    assert 0.1 < apart.mean() < 0.3
    return count_answers(pa.Table.from_pylist(rows, QA), apart)


def test_a_question_that_holds_its_answer_is_found_out() -> None:
    row = question_only(counts("is it {answer}?"))["exists"]
    assert row["question_only"] == 1
    assert row["gain"] > 0.4
    assert row["answers"] == 2


def test_a_question_that_gives_nothing_away_gains_nothing() -> None:
    table = question_only(counts("is it there?"))
    assert table["exists"]["gain"] == 0
    assert table["all"]["asked"] == table["exists"]["asked"] > 0


def test_parts_add_up_in_any_order() -> None:
    one, other = counts("is it {answer}?"), counts("is it there?")
    merged = question_only(merge_answers([one, other]))
    assert merged == question_only(merge_answers([other, one]))
    assert merged["all"]["asked"] == 2 * question_only(one)["all"]["asked"]


def test_annotated_questions_are_not_ours_to_judge() -> None:
    qa = pa.Table.from_pylist(
        [{"image": 0, "question": "?", "answer": "x", "type": "given", "lang": "en"}], QA
    )
    assert question_only(count_answers(qa, np.array([True]))) == {}
