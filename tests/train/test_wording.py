"""Texts that an augmentation could make untrue."""

from __future__ import annotations

import pytest

from mmcore.models.labels import Labels
from mmcore.train.data import build_table
from mmcore.train.wording import says_colours, says_sides
from tests.models import tiny


@pytest.mark.parametrize(
    "text",
    [
        "A dog on the LEFT.",
        "rechts im Bild",
        "Die linke Hand",
        "à gauche",
        "左边的狗",
        "слева",
        "left",
    ],
)
def test_sides_are_heard_in_several_languages(text: str) -> None:
    assert says_sides([text]).all()


@pytest.mark.parametrize(
    "text", ["a red car", "Der rote Ball", "une robe bleue", "红色的车", "красная машина", "GREY"]
)
def test_colours_are_heard_in_several_languages(text: str) -> None:
    assert says_colours([text]).all()


def test_other_words_are_neither() -> None:
    texts = ["", "a copyright sign", "he rotates", "the leftover cake", "a tanned man", "Brot"]
    assert not says_sides(texts).any() and not says_colours(texts).any()


def test_a_sample_says_what_any_of_its_texts_says() -> None:
    labels = Labels(answers=("left", "yes", "red"), tags=("ball", "blue"), languages=("en",))
    records = [
        {},
        {"captions": [{"text": "a ball"}, {"text": "a ball to the right"}]},
        {"qa": [{"question": "where is it?", "answer": "left"}]},
        {"qa": [{"question": "is it left of the tree?", "answer": "yes"}]},
        {"qa": [{"question": "which one?", "answer": "red"}]},
        {"tags": [{"tag": "blue"}]},
        {"tags": [{"tag": "ball"}], "captions": [{"text": "a yellow ball"}]},
        {"captions": [{"text": "a ball"}], "qa": [{"question": "a ball?", "answer": "yes"}]},
    ]
    table = build_table(records, labels, tiny.tokenizer(), 16)
    assert table.sides.tolist() == [False, True, True, True, False, False, False, False]
    assert table.colours.tolist() == [False, False, False, False, True, True, True, False]
