"""The stage: one row of labels per kept image, each with confidence and source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.weak.pairs import PAIRS
from mmcore.weak.stage import Config, run
from mmcore.weak.stage_retract import retract
from tests.weak.helpers import DAY, Page, sha256, tokenized, write_pages

pytestmark = pytest.mark.usefixtures("ray_session")

QUESTION_TYPES = {"colour", "count", "where", "exists", "what", "shape"}
PAGES = [
    Page(
        [
            ("caption", "Two red circles on the left."),
            ("alt", "red circles"),
            ("keyword", "circle"),
            ("keyword", "red"),
            ("comment", "what a sad picture"),
        ]
    ),
    Page([("comment", "so lovely :-)"), ("comment", "I love it")], like=0),
    Page([("alt", "a blue star")], split="test"),
    Page([]),
    Page(
        [("caption", "A dog  runs"), ("comment", "awful")],
        annotation={
            "captions": ["A dog runs"],
            "qa": [{"question": "who runs?", "answer": "Dog"}, {"question": 3}],
            "tags": ["Animal"],
            "sentiment": "positive",
        },
    ),
    Page([("alt", "a blue star"), ("comment", "First!")], annotation="not json"),
]


def label(lake: Lake, pages: list[Page], config: Config | None = None) -> Dataset:
    write_pages(lake, pages)
    tokenized(lake)
    return run(lake, DAY, config or Config())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return label(Lake(str(tmp_path_factory.mktemp("lake"))), PAGES)


@pytest.fixture(scope="module")
def rows(pairs: Dataset) -> dict[str, dict[str, Any]]:
    return {row["sha256"]: row for row in pairs.read().to_pylist()}


def test_every_kept_image_has_one_row_with_the_documented_columns(
    pairs: Dataset, rows: dict[str, dict[str, Any]]
) -> None:
    assert set(rows) == {sha256(i) for i in (0, 2, 3, 4, 5)}
    assert pairs.read().schema.equals(PAIRS)
    assert rows[sha256(2)]["split"] == "test"


def test_labels_carry_confidence_and_source(rows: dict[str, dict[str, Any]]) -> None:
    row = rows[sha256(0)]
    assert row["caption"]["text"] == "Two red circles on the left."
    assert [c["source"] for c in row["captions"]] == ["caption", "alt"]
    tags = {t["tag"]: t for t in row["tags"]}
    assert set(tags) == {"circle", "red"}
    everything = [row["caption"], *row["captions"], *row["qa"], *row["tags"], row["sentiment"]]
    assert all(0 < item["confidence"] <= 1 and item["source"] for item in everything)


def test_comments_on_a_copy_count_for_the_kept_image(rows: dict[str, dict[str, Any]]) -> None:
    assert rows[sha256(0)]["sentiment"]["label"] == "positive"
    assert rows[sha256(0)]["sentiment"]["source"] == "comments"


def test_image_of_which_nothing_is_said_has_no_labels(rows: dict[str, dict[str, Any]]) -> None:
    row = rows[sha256(3)]
    assert row["caption"] is None and row["sentiment"] is None
    assert row["captions"] == row["qa"] == row["tags"] == []


def test_comments_without_feeling_are_neutral_at_low_confidence(
    rows: dict[str, dict[str, Any]],
) -> None:
    assert rows[sha256(5)]["sentiment"] == {
        "label": "neutral",
        "confidence": 0.3,
        "source": "comments",
    }


def test_annotations_beat_votes(pairs: Dataset, rows: dict[str, dict[str, Any]]) -> None:
    row = rows[sha256(4)]
    assert (row["caption"]["confidence"], row["caption"]["source"]) == (1.0, "annotation")
    first = row["qa"][0]
    assert (first["question"], first["answer"], first["source"]) == (
        "who runs?",
        "dog",
        "annotation",
    )
    assert row["tags"][0] == {"tag": "animal", "confidence": 1.0, "source": "annotation"}
    assert row["sentiment"] == {"label": "positive", "confidence": 1.0, "source": "annotation"}
    # what could not be used is on record
    assert pairs.metadata["details"]["annotation_qa"] == 1
    assert pairs.metadata["details"]["annotation_record"] == 1


def test_metadata_shows_funnel_and_every_function(pairs: Dataset) -> None:
    assert pairs.metadata["funnel"]["images"] == 5
    table = pairs.metadata["labeling_functions"]
    assert {"fact/caption", "fact/alt", "tag/keyword", "sentiment/comments"} <= set(table)
    assert all(0 <= entry["coverage"] <= 1 for entry in table.values())
    # "awful" under an image that a person called positive
    assert (table["sentiment/comments"]["checked"], table["sentiment/comments"]["accuracy"]) == (
        1,
        0,
    )
    assert pairs.metadata["question_only"].keys() <= {*QUESTION_TYPES, "all"}


def test_what_each_function_felt_is_kept(rows: dict[str, dict[str, Any]]) -> None:
    assert [(c["label"], c["source"]) for c in rows[sha256(4)]["sentiment_cues"]] == [
        ("negative", "comments")
    ]
    assert rows[sha256(4)]["sentiment_conflict"] is None
    assert rows[sha256(3)]["sentiment_cues"] == []


def test_a_function_that_is_switched_off_gives_nothing(lake: Lake) -> None:
    config = Config(functions=["alt", "page_language"])
    rows = {row["sha256"]: row for row in label(lake, PAGES, config).read().to_pylist()}
    assert {t["source"] for row in rows.values() for t in row["tags"]} == {"alt", "annotation"}
    assert rows[sha256(0)]["caption"]["source"] == "alt"
    assert rows[sha256(0)]["sentiment"] is rows[sha256(5)]["sentiment"] is None
    # what people labelled is not a function's
    assert rows[sha256(4)]["caption"]["source"] == "annotation"


def test_same_input_gives_the_same_bytes_however_it_is_cut_into_parts(
    lake: Lake, pairs: Dataset, tmp_path: Path
) -> None:
    again = label(lake, PAGES)
    assert again.digest == pairs.digest
    other = Lake(str(tmp_path / "other"))
    write_pages(other, PAGES, parts=3)
    tokenized(other)
    assert run(other, DAY, Config()).read().equals(pairs.read())


def test_nothing_is_done_twice(lake: Lake) -> None:
    first = label(lake, PAGES[:3])
    assert run(lake, DAY, Config()).manifest == first.manifest


def test_empty_day_gives_an_empty_dataset(lake: Lake) -> None:
    assert label(lake, []).rows == 0


def test_missing_input_names_the_dataset(lake: Lake) -> None:
    with pytest.raises(UserError, match="deduplicated@2026-11-23"):
        run(lake, DAY, Config())


def test_a_retracted_labeler_says_nothing_not_even_that_nobody_felt_anything(lake: Lake) -> None:
    pages = [Page([("alt", "a blue star"), ("comment", "so lovely, I love it")])] * 3
    before = label(lake, pages).read().to_pylist()
    assert {row["sentiment"]["source"] for row in before} == {"comments"}
    retract(lake, "comments", "bots", DAY)
    after = run(lake, DAY, Config()).read().to_pylist()
    assert [row["sentiment"] for row in after] == [None] * 3
    assert [row["captions"] for row in after] == [row["captions"] for row in before]
