"""What the corpus says of its own words: kinds of things, and words for the same thing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mmcore.weak.tags import with_parents
from mmcore.weak.taxonomy import Taxonomy
from mmcore.weak.votes import LABELS
from tests.weak.helpers import evidence, vocabulary_of


def learnt(*texts: str | list[tuple[str, str]]) -> Taxonomy:
    images = [[("caption", text)] if isinstance(text, str) else text for text in texts]
    return vocabulary_of(evidence(*images)).taxonomy


@pytest.mark.parametrize(
    ("text", "child", "parent"),
    [
        ("animals such as owls live here", "owl", "animal"),
        ("owls and other animals live here", "owl", "animal"),
        ("an owl is a bird", "owl", "bird"),
        ("the owl is a small bird", "owl", "bird"),
        ("Hunde und andere Tiere im Park", "dog", "animal"),
    ],
)
def test_hyponyms_are_read_from_patterns(text: str, child: str, parent: str) -> None:
    assert learnt(text, text + " .").parents[child][0] == parent


@pytest.mark.parametrize(
    "text", ["the owl is brown", "the owl is a", "owls and dogs", "such as owls", "an owl is"]
)
def test_other_sentences_state_no_kind(text: str) -> None:
    assert learnt(text, text).parents == {}


def test_one_image_is_no_evidence() -> None:
    assert learnt("an owl is a bird", "a tree").parents == {}


def test_kinds_of_kinds_stand_above_too_and_circles_are_cut() -> None:
    up = ["an owl is a bird"] * 3 + ["a bird is an animal"] * 3
    found = learnt(*up, "an animal is an owl", "an animal is an owl").parents
    assert found == {"owl": ("bird", "animal"), "bird": ("animal",)}


def test_the_head_of_a_compound_stands_above_it() -> None:
    found = learnt("a tabby cat sleeps", "the tabby cat", "a cat")
    assert found.parents == {"tabby cat": ("cat",)}


def test_words_that_name_the_same_images_alone_mean_the_same() -> None:
    roles = [("alt", "a sofa"), ("caption", "the couch")]
    assert learnt(*[roles] * 3).synonyms == {"sofa": "couch"}
    assert learnt(*[roles] * 2).synonyms == {}
    # both stand in one text: two things
    both = [("alt", "a sofa and a couch"), ("caption", "the couch")]
    assert learnt(*[both] * 3).synonyms == {}


def test_a_rare_word_beside_a_usual_one_is_no_synonym() -> None:
    pair = [("alt", "a dog"), ("caption", "the animal")]
    alone = [("alt", "a dog"), ("caption", "the dog")]
    assert learnt(*[pair] * 3, *[alone] * 10).synonyms == {}


def test_spelling_variants_go_by_one_name() -> None:
    assert learnt("a t-shirt", "a tshirt").synonyms == {"tshirt": "t-shirt"}


def labels(*rows: tuple[int, str, float]) -> pa.Table:
    listed = [
        {"image": i, "task": "tag", "slot": tag, "value": "yes", "confidence": c, "source": "alt"}
        for i, tag, c in rows
    ]
    return pa.Table.from_pylist([{"lang": "en", **row} for row in listed], LABELS)


def test_a_parent_is_at_least_as_sure_as_its_surest_child() -> None:
    parents = {"owl": ("bird",), "gull": ("bird",)}
    table = labels((0, "owl", 0.9), (0, "gull", 0.6), (0, "bird", 0.4), (1, "gull", 0.5))
    found = with_parents(table, parents, {}, 10, 0.8).to_pylist()
    sure = {(row["image"], row["slot"]): row["confidence"] for row in found}
    assert sure[0, "bird"] == 0.9
    assert sure[1, "bird"] == 0.5
    assert len(found) == 5


def test_a_parent_of_nearly_everything_is_left_out() -> None:
    counts = {"owl": 90, "bird": 2}
    table = labels((0, "owl", 0.9))
    assert with_parents(table, {"owl": ("bird",)}, counts, 100, 0.8).num_rows == 1
    assert with_parents(table, {"owl": ("bird",)}, counts, 200, 0.8).num_rows == 2
