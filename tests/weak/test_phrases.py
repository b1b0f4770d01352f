"""What a text says of the things in a picture, in English and German."""

from __future__ import annotations

import pytest

from tests.weak.helpers import phrases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A brown dog with a red collar runs .", [("dog", "brown"), ("collar", "red")]),
        ("a black and white dog", [("dog", "black and white")]),
        ("an orange ring on a mint background", [("ring", "orange"), ("background", "mint")]),
        ("Zwei große rote Kreise", [("circle", "red")]),
        ("ein blauer Ring vor weißem Hintergrund", [("ring", "blue"), ("background", "white")]),
        ("The circles are red.", [("circle", "red")]),
        ("Die Raute ist sehr grün", [("diamond", "green")]),
        ("in green shirts and black pants", [("shirt", "green"), ("pants", "black")]),
        ("an orange", []),
    ],
)  # fmt: skip
def test_colours_belong_to_their_nouns(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(p["key"], p.get("colour", "")) for p in phrases(text)] == expected


def test_several_colours_of_several_things_are_unclear() -> None:
    [found] = phrases("two black , brown and white dogs")
    assert found["colour"] is None and found["count"] == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a dog", 1),
        ("two dogs", 2),
        ("12 dogs", 12),
        ("vier Hunde", 4),
        ("einen Hund", 1),
        ("several dogs", None),
        ("the dog", None),
        ("the three dogs", 3),
        ("another dog", None),
        ("dogs", None),
    ],
)
def test_only_what_is_counted_has_a_count(text: str, count: int | None) -> None:
    assert [p.get("count") for p in phrases(text)] == [count]


def test_container_is_not_counted_as_its_content() -> None:
    assert [p.get("count") for p in phrases("a box of dogs")] == [None, None]


def test_size_texture_and_mood() -> None:
    [found] = phrases("three small striped pink hearts")
    assert (found["size"], found["texture"], found["count"]) == ("small", "striped", 3)
    [boy] = phrases("a smiling boy")
    assert boy["mood"] == "happy"
    [face] = phrases("Das Gesicht wirkt fröhlich.")
    assert face["mood"] == "happy"
    [star] = phrases("a blue star with stripes")
    assert star["texture"] == "striped"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two stars on the left", {"star": "left"}),
        ("on the left side there are two stars", {"star": "left"}),
        ("In the centre: a ring.", {"ring": "centre"}),
        ("a ring in the upper part and a star at the bottom", {"ring": "top", "star": "bottom"}),
        ("at the top there is a ring, at the bottom a star", {"ring": "top", "star": "bottom"}),
        ("ein Ring oben, mit einem Stern unten im Bild", {"ring": "top", "star": "bottom"}),
        ("Im unteren Teil sind zwei Ringe", {"ring": "bottom"}),
        ("the star on the right of the picture", {"star": "right"}),
    ],
)
def test_places_belong_to_the_phrase_beside_them(text: str, expected: dict[str, str]) -> None:
    assert {p["key"]: p["position"] for p in phrases(text)} == expected


@pytest.mark.parametrize(
    "text",
    [
        "a star and a ring on the left",  # both, or the ring only?
        "a dog on the left of the house",
        "a boy at the top of the slide",
        "a ring in the top left corner",
        "he left a ball",
        "a Stern links von dem Haus",
        "a woman holding the right hand",
    ],
)
def test_ambiguous_or_relative_places_are_not_said_of_anything(text: str) -> None:
    assert not [p for p in phrases(text) if "position" in p]


def test_pictures_and_sides_are_no_things_in_the_picture() -> None:
    assert phrases("The picture shows a side view of a lot") == []


def test_language_without_word_lists_says_nothing() -> None:
    assert phrases("un cercle rouge à gauche", lang="fr") == []


def test_masked_personal_data_is_no_noun() -> None:
    assert [p["key"] for p in phrases("a dog <EMAIL> <PHONE>")] == ["dog"]


def test_empty_and_odd_texts_do_no_harm() -> None:
    assert phrases("", "...", "a", "the red", "!!! 😀 ::: --", "left", "a a a the the") == []
