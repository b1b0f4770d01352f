"""Answers are compared by the rules of VQA v2."""

from __future__ import annotations

import pytest

from mmcore.evaluate.answers import normalize_answer, question_group, vqa_accuracy


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("  The Red Square. ", "red square"),
        ("two", "2"),
        ("None", "0"),
        ("1,000", "1000"),
        ("2.5", "2.5"),
        ("on the left!", "on left"),
        ("dont", "don't"),
        ("it’s", "it's"),
        ("its", "its"),
        ("black/white", "black white"),
        ("grün", "grün"),
        ("-5", "-5"),
        ("a", "a"),
        ("?", "?"),
    ],
)
def test_spelling_is_folded(given, normal):
    assert normalize_answer(given) == normal


def test_normalizing_twice_changes_nothing():
    for text in ("The Red, Square.", "two", "dont", "on the left!", "'a' b-"):
        assert normalize_answer(normalize_answer(text)) == normalize_answer(text)


def test_one_annotator_is_right_or_wrong():
    assert vqa_accuracy(["Two.", "a dog"], [["2"], ["cat"]]).tolist() == [1.0, 0.0]


def test_ten_annotators_agree_in_thirds():
    answers = ["red"] * 2 + ["blue"] * 8
    assert vqa_accuracy(["red", "blue"], [answers, answers]).tolist() == pytest.approx([2 / 3, 1.0])


def test_question_type_is_the_given_one_or_its_first_words():
    assert question_group("How many dogs?", None) == "how many"
    assert question_group("What is it?", None) == "what"
    assert question_group("What is it?", "object") == "object"
    assert question_group("", None) == "other"
