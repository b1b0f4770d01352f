"""Labels from votes: open answers, things that are there, feelings, and copies of one text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcore.weak.dependencies import without_copies
from mmcore.weak.label_model_fit import fit_all, label, model_table
from mmcore.weak.label_model_patterns import (
    GOLD,
    count_patterns,
    gold_feelings,
    merge_counts,
    read_patterns,
    sources_in,
)
from mmcore.weak.label_model_topics import topic_votes, without_told
from mmcore.weak.votes import LABELS, UNCLEAR, VOTES

Row = tuple[int, str, str, float, str]
NO_GOLD = GOLD.empty_table()


def votes(*rows: Row) -> pa.Table:
    """(image, slot, value, weight, source); a slot without `|` is a tag or the sentiment."""
    tasks = {"sentiment": "sentiment"}
    full = [
        (i, tasks.get(slot, "fact" if "|" in slot else "tag"), slot, value, weight, source, "en")
        for i, slot, value, weight, source in rows
    ]
    columns = list(zip(*full, strict=True)) or [()] * len(VOTES)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, VOTES, strict=True)], VOTES)


def labelled(table: pa.Table, least: float = 0.6, gold: pa.Table = NO_GOLD) -> list[dict[str, Any]]:
    return label(table, fit_all(count_patterns(table, gold)), least).to_pylist()


def colours(images: int, seed: int = 0) -> tuple[list[Row], list[str]]:
    """alt is right in 9 of 10 images, caption in 7, title in 8."""
    rng = np.random.default_rng(seed)
    names = np.array(["red", "green", "blue", "pink", "black", "white", "grey", "brown"])
    truth = rng.integers(0, 8, images)
    rows = []
    for source, accuracy in (("alt", 0.9), ("caption", 0.7), ("title", 0.8)):
        said = np.where(
            rng.random(images) < accuracy, truth, (truth + rng.integers(1, 8, images)) % 8
        )
        rows += [(i, "colour|ball", str(names[v]), 0.7, source) for i, v in enumerate(said)]
    return rows, names[truth].tolist()


def test_most_accurate_function_wins_a_dispute_over_an_open_question() -> None:
    rows, truth = colours(600)
    table = votes(*rows)
    models = fit_all(count_patterns(table, NO_GOLD))
    found = model_table(models)
    accuracy = [found[f"fact/colour/{s}"]["accuracy"] for s in ("alt", "caption", "title")]
    assert accuracy == pytest.approx([0.9, 0.7, 0.8], abs=0.05)
    labels = label(table, models, 0.0).to_pylist()
    right = np.mean([row["value"] == truth[row["image"]] for row in labels])
    assert right > 0.93
    dispute = votes(
        (0, "colour|ball", "red", 0.7, "caption"), (0, "colour|ball", "blue", 0.7, "alt")
    )
    assert label(dispute, models, 0.0).to_pylist()[0]["value"] == "blue"


def test_confidence_is_the_share_of_right_answers() -> None:
    rows, truth = colours(1500)
    labels = label(votes(*rows), fit_all(count_patterns(votes(*rows), NO_GOLD)), 0.0).to_pylist()
    sure = np.array([row["confidence"] for row in labels])
    right = np.array([row["value"] == truth[row["image"]] for row in labels])
    for some in (sure < 0.9, sure >= 0.9):
        assert sure[some].mean() == pytest.approx(right[some].mean(), abs=0.05)


def test_even_dispute_and_unclear_votes_give_no_label() -> None:
    even = votes((0, "colour|ball", "red", 0.7, "alt"), (0, "colour|ball", "blue", 0.7, "alt"))
    assert labelled(even) == []
    assert labelled(votes((0, "colour|ball", UNCLEAR, 0.9, "alt"))) == []
    unclear = votes((0, "colour|ball", "red", 0.7, "alt"), (0, "colour|ball", UNCLEAR, 0.7, "alt"))
    assert labelled(unclear) == []


def test_text_about_another_picture_is_not_believed_where_others_agree() -> None:
    rows: list[Row] = []
    for i in range(40):
        rows += [(i, "exists|dog", "yes", 0.7, s) for s in ("alt", "title", "heading")]
        rows += [(i, "dog", "yes", 0.7, s) for s in ("alt", "title", "heading")]
        wrong = "cat" if i < 6 else "dog"
        rows += [(i, f"exists|{wrong}", "yes", 0.8, "caption"), (i, wrong, "yes", 0.8, "caption")]
        rows += [(i, f"colour|{wrong}", "red", 0.8, "caption")]
    found = {(r["image"], r["slot"]): r["confidence"] for r in labelled(votes(*rows))}
    assert all(found[i, "exists|dog"] > 0.9 and found[i, "dog"] > 0.9 for i in range(40))
    assert not any(slot in ("exists|cat", "cat", "colour|cat") for _, slot in found)
    assert (6, "colour|dog") in found


def test_functions_that_name_one_thing_in_common_are_one_group() -> None:
    table = votes(
        (0, "exists|dog", "yes", 0.7, "alt"),
        (0, "exists|dog", "yes", 0.6, "title"),
        (0, "exists|ball", "yes", 0.6, "title"),
        (0, "exists|ball", "yes", 0.5, "heading"),
        (0, "exists|cat", "yes", 0.8, "caption"),
        # water is in many pictures and links nothing
        (0, "exists|water", "yes", 0.8, "caption"),
        (0, "exists|water", "yes", 0.7, "alt"),
    )
    group = {r["source"]: r["value"] for r in topic_votes(table).to_pylist()}
    assert group["alt"] == group["title"] == group["heading"] != group["caption"]


def test_tag_of_a_single_function_is_kept() -> None:
    [tag] = labelled(votes((0, "snow", "yes", 0.7, "keyword")))
    assert (tag["task"], tag["source"]) == ("tag", "keyword") and 0.6 <= tag["confidence"] < 1


def test_known_feelings_show_how_often_a_function_is_right() -> None:
    rows: list[Row] = [(i, "sentiment", "positive", 0.6, "comments") for i in range(30)]
    rows += [(i, "sentiment", "negative", 0.6, "mood") for i in range(30)]
    known = pa.table({"image": list(range(20)), "label": ["negative"] * 18 + ["positive"] * 2})
    table, gold = votes(*rows), gold_feelings(known)
    models = fit_all(count_patterns(table, gold))
    found = model_table(models)
    assert found["sentiment/mood"]["gold"] == 20
    assert found["sentiment/mood"]["gold_accuracy"] == 0.9
    assert found["sentiment/comments"]["gold_accuracy"] == 0.1
    assert label(table, models, 0.6)["value"].unique().to_pylist() == ["negative"]


def test_parts_may_be_counted_apart_and_in_any_order() -> None:
    rows, _ = colours(200)
    whole = count_patterns(votes(*rows), NO_GOLD)
    parts = [
        count_patterns(votes(*(r for r in rows if r[0] % 3 == part)), NO_GOLD) for part in range(3)
    ]
    assert merge_counts(parts).equals(merge_counts([whole]))
    assert merge_counts(parts[::-1]).equals(merge_counts([whole]))
    assert label(votes(*rows), fit_all(whole), 0.5).equals(
        label(votes(*rows[::-1]), fit_all(merge_counts(parts)), 0.5)
    )


def test_pattern_tells_who_agrees_and_not_on_what() -> None:
    one = votes((0, "colour|ball", "red", 0.7, "alt"), (0, "colour|ball", "red", 0.5, "title"))
    two = votes((9, "colour|car", "blue", 0.7, "alt"), (9, "colour|car", "blue", 0.5, "title"))
    assert count_patterns(one, NO_GOLD).equals(count_patterns(two, NO_GOLD))
    pattern = count_patterns(one, NO_GOLD)["pattern"]
    assert sources_in(pattern) == ("alt", "title")
    weight, number = read_patterns(pattern, ["title", "other"], 5)
    assert weight[0, 0].tolist() == [0.5, 0, 0, 0, 0] and number[0, 0, 0] == 1
    assert not weight[0, 1].any()


def test_more_answers_than_are_told_apart_do_no_harm() -> None:
    rows: list[Row] = [(0, "colour|ball", f"c{i}", 0.5, f"f{i}") for i in range(9)]
    assert labelled(votes(*rows)) == []


def test_text_copied_into_another_role_does_not_vote_twice() -> None:
    texts = pa.table(
        {
            "image": [0, 0, 1, 1],
            "role": ["alt", "title", "alt", "title"],
            "text": ["A red ball.", "a  red ball", "a red ball", "a red ball on grass"],
        }
    )
    table = votes(*((i, "colour|ball", "red", 0.7, s) for i in (0, 1) for s in ("alt", "title")))
    left = {(r["image"], r["source"]) for r in without_copies(table, texts).to_pylist()}
    assert left == {(0, "alt"), (1, "alt"), (1, "title")}


def test_no_votes_give_no_labels() -> None:
    assert label(VOTES.empty_table(), {}, 0.6).equals(LABELS.empty_table())
    assert fit_all(count_patterns(VOTES.empty_table(), NO_GOLD)) == {}


def test_captions_that_people_wrote_for_a_picture_are_no_rivals() -> None:
    """Five captions of one function name different things: each of them is there."""
    things = ("dog", "ball", "boat", "tree", "man")
    rows = [
        (image, f"exists|{thing}", "yes", 0.9, "caption")
        for image in range(40)
        for thing in (things[image % 5], things[(image + 2) % 5])
    ]
    rows += [(image, thing.partition("|")[2], *rest) for image, thing, *rest in rows]
    table = votes(*rows)
    told = np.arange(40)
    models = fit_all(count_patterns(without_told(table, told), NO_GOLD))
    labels = label(table, models, 0.6, told).to_pylist()
    assert len([row for row in labels if row["task"] == "tag"]) == 80
    assert {row["confidence"] for row in labels if row["task"] == "tag"} == {0.95}
