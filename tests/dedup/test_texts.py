"""Equal texts, captions of a cluster, what sources assert."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup import records, texts


def _rows(*rows: dict[str, Any]) -> pa.Table:
    full = [
        {"role": "alt", "lang": "en", "page_url": "p", "places": 1, "kept": True, **row}
        for row in rows
    ]
    columns = {name: [row[name] for row in full] for name in texts.COLUMNS}
    lang = pa.array(columns["lang"], pa.string())
    return pa.table({**columns, "lang": lang, "places": pa.array(columns["places"], pa.int32())})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A Red Kite", "a red kite"),
        ("Straße", "STRASSE"),
        ("ﬁne ½", "fine 1⁄2"),
        ("two  words", "two words"),
        ("A kite.", "A kite"),
        ("ΟΔΟΣ", "οδος"),
        ("Ａｂｃ", "abc"),
    ],
)
def test_texts_that_read_the_same_have_one_key(one: str, other: str) -> None:
    keys = texts.text_key(pa.array([one, other])).to_pylist()
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("one", "other"), [("a kite", "a kite?"), ("two kites", "2 kites"), ("über", "uber")]
)
def test_texts_that_read_differently_do_not(one: str, other: str) -> None:
    keys = texts.text_key(pa.array([one, other])).to_pylist()
    assert keys[0] != keys[1]


def test_keys_do_not_depend_on_the_texts_beside_them() -> None:
    lines = ["A\tkite ", None, "Straße  hoch", "", "…", " 日本語。", "two\x0clines\n", "end !."]
    alone = [texts.text_key(pa.array([line], pa.string()))[0].as_py() for line in lines]
    assert alone == ["a kite", None, "strasse hoch", "", "", "日本語", "two lines", "end"]
    chunks = pa.chunked_array([pa.array(lines[:3]), pa.array(lines[3:])])
    assert texts.text_key(chunks).to_pylist() == alone
    assert texts.text_key(pa.chunked_array([], pa.string())).to_pylist() == []


def test_hashes_of_keys_are_the_same_everywhere() -> None:
    hashes = texts.key_hashes(pa.array(["a kite", "a hill", "a kite"]))
    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[0] == 15756174875862754503


def test_widespread_counts_clusters_not_places() -> None:
    hashes = np.array([7, 7, 7, 7, 9, 9], np.uint64)
    where = np.array([0, 0, 0, 1, 0, 1])
    assert texts.widespread(hashes, where, 1).tolist() == [7, 9]
    assert texts.widespread(hashes, where, 2).tolist() == []


def test_only_kept_captions_alts_and_titles_become_captions() -> None:
    rows = _rows(
        {"sha256": "a", "text": "one"},
        {"sha256": "a", "text": "two", "role": "context"},
        {"sha256": "a", "text": "three", "kept": False},
        {"sha256": "a", "text": "four", "role": "title"},
    )
    assert texts.caption_rows(rows)["text"].to_pylist() == ["one", "four"]


def _merged(rows: pa.Table, owners: dict[str, int | None], count: int, **kw: Any) -> texts.Merged:
    keys = pa.array(list(owners))
    owner = pa.array(list(owners.values()), pa.int32())
    banned = kw.get("banned", np.empty(0, np.uint64))
    return texts.merge_all([rows.slice(0, 2), rows.slice(2)], keys, owner, count, banned)


def test_captions_of_all_members_are_merged_most_telling_first() -> None:
    rows = _rows(
        {"sha256": "b", "text": "a KITE", "places": 5},
        {"sha256": "a", "text": "A kite.", "role": "caption", "lang": None},
        {"sha256": "a", "text": "Hill"},
        {"sha256": "b", "text": "Sky", "places": 2},
        {"sha256": "c", "text": "Sea"},
        {"sha256": "x", "text": "of an image of another part"},
    )
    merged = _merged(rows, {"a": 0, "b": 0, "c": 1, "d": 2, "e": None}, 3)
    assert [
        [(c["text"], c["count"], c["lang"]) for c in m] for m in merged.captions.to_pylist()
    ] == [
        [("A kite.", 6, None), ("Sky", 2, "en"), ("Hill", 1, "en")],
        [("Sea", 1, "en")],
        [],
    ]
    assert (merged.kept, merged.left_out) == (4, 0)


def test_banned_captions_are_left_out_and_counted() -> None:
    rows = _rows({"sha256": "a", "text": "Our shop"}, {"sha256": "a", "text": "A kite"})
    banned = texts.key_hashes(pa.array(["our shop"]))
    merged = _merged(rows, {"a": 0}, 1, banned=banned)
    assert [c["text"] for c in merged.captions.to_pylist()[0]] == ["A kite"]
    assert (merged.kept, merged.left_out) == (1, 1)


def test_splits_rank_by_how_protected_they_are() -> None:
    ranks = records.split_ranks(pa.array(["train", "test", None, "val"]))
    assert ranks[1] > ranks[3] > ranks[0] > ranks[2]
    assert records.split_names(ranks).to_pylist() == ["train", "test", None, "val"]


def test_one_annotation_stays_as_it_is() -> None:
    record = '{"tags":["kite"],  "captions":["A kite"]}'
    assert records.merge_annotations([record, record]) == record


def test_annotations_lose_what_an_evaluation_set_says() -> None:
    given = [
        '{"captions": ["A  kite.", "A hill"], "qa": []}',
        None,
        '{"text": "a kite"}',
        '{"x":  1}',
    ]
    barred = texts.key_hashes(pa.array(["a kite"]))
    found, count = records.without_captions(pa.array(given), barred)
    assert found.to_pylist() == ['{"captions": ["A hill"], "qa": []}', None, "{}", '{"x":  1}']
    assert count == 2


def test_annotations_are_joined_and_contradictions_recorded() -> None:
    first = {
        "captions": ["a", "b"],
        "qa": [{"question": "q", "answer": "1"}],
        "sentiment": "positive",
    }
    second = {
        "captions": ["b", "c"],
        "qa": [{"question": "q", "answer": "2"}],
        "sentiment": "negative",
    }
    third = {"tags": ["t"], "sentiment": "neutral", "text": "same"}
    merged = json.loads(records.merge_annotations([json.dumps(r) for r in (first, second, third)]))
    assert merged == {
        "captions": ["a", "b", "c"],
        "qa": [{"question": "q", "answer": "1"}, {"question": "q", "answer": "2"}],
        "tags": ["t"],
        "text": "same",
        "conflicts": {"sentiment": ["positive", "negative", "neutral"]},
    }
