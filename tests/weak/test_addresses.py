"""What file names and folders say, and what they do not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mmcore.weak.addresses import address_texts, segment_words
from mmcore.weak.evidence import PLACES
from mmcore.weak.functions import vote_all
from tests.weak.helpers import evidence, vocabulary_of


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ("two-red-circles_300x200", "two red circles"),
        ("Two%20redCircles", "two red circles"),
        ("gr%C3%BCner_Ring", "grüner ring"),
        ("IMG_0042", ""),
        ("DSC01234", ""),
        ("9f86d081884c7d65", ""),
        ("thumb-final", ""),
        ("", ""),
    ],
)
def test_codes_and_usual_words_are_not_read(segment: str, words: str) -> None:
    assert segment_words(pa.array([segment])).to_pylist() == [words]


def said(image_url: str | None, page_url: str | None) -> set[tuple[str, str]]:
    places = pa.table([[0], [image_url], [page_url]], schema=PLACES)
    return {(row["role"], row["text"]) for row in address_texts(places).to_pylist()}


def test_file_name_and_folders_are_told_apart() -> None:
    found = said("https://x.org/uploads/2026/birds/grey-owl.jpg?w=3#a", "https://x.org/at-night/")
    assert found == {("url", "grey owl"), ("folder", "birds"), ("folder", "at night")}


def test_folders_of_a_disk_are_nobodys_business() -> None:
    assert said("file:///home/anna/taxes/red-owl.png", "file:///home/anna/annotations.jsonl") == {
        ("url", "red owl")
    }


def test_unknown_addresses_say_nothing() -> None:
    assert said(None, None) == set()


def url_votes(texts: list[tuple[str, str]], image_url: str) -> set[tuple[str, str]]:
    places = pa.table([[0], [image_url], ["http://x.org/"]], schema=PLACES)
    found = evidence(texts, places=places)
    votes = vote_all(found, vocabulary_of(found)).to_pylist()
    return {(v["slot"], v["value"]) for v in votes if v["source"] == "url"}


def test_a_file_name_speaks_for_an_image_that_nothing_else_is_said_of() -> None:
    found = url_votes([], "http://x.org/a/two-red-circles.jpg")
    assert {("colour|circle", "red"), ("count|circle", "2"), ("circle", "yes")} <= found


def test_a_file_name_adds_nothing_that_the_image_s_own_texts_do_not_name() -> None:
    found = url_votes([("alt", "a blue star")], "http://x.org/a/two-red-circles.jpg")
    assert found == set()


def test_folders_vote_too_weakly_to_decide_alone() -> None:
    places = pa.table([[0], ["http://x.org/dogs/1.jpg"], [None]], schema=PLACES)
    found = evidence([], places=places)
    [vote] = vote_all(found, vocabulary_of(found)).to_pylist()
    assert (vote["slot"], vote["source"]) == ("dog", "url")
    assert vote["weight"] < 0.3
