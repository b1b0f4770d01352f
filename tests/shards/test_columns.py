"""Labels as columns: JSON text, keys found among keys, caption ids, the balance of splits."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
import pytest

from mmcore.shards.balance import balance, count_values, merged, split_counts
from mmcore.shards.json_text import json_objects, json_values
from mmcore.shards.keys import KeyTable
from mmcore.shards.labels import aligned, with_caption_ids
from tests.shards.helpers import PAIRS, TOKENIZED, World

ROWS: list[dict[str, Any]] = [
    {"text": 'quote " back \\ line\n tab\t bell\x07 é 😀 \u2028', "n": 1.5, "list": [{"a": "x"}]},
    {"text": None, "n": None, "list": []},
    {"text": "", "n": 1e-7, "list": None},
    {"text": "plain", "n": 3.0, "list": [{"a": None}, None]},
]


@pytest.mark.parametrize("start", range(len(ROWS)))
def test_rows_come_back_from_their_json(start: int) -> None:
    table = pa.Table.from_pylist(ROWS).slice(start)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    texts = json_objects(columns).to_pylist()
    assert [json.loads(text) for text in texts] == ROWS[start:]
    assert all(list(json.loads(text)) == ["list", "n", "text"] for text in texts)


def test_numbers_that_json_cannot_write_become_null() -> None:
    assert json_values(pa.array([float("nan"), float("inf"), 2.5])).to_pylist() == [
        "null",
        "null",
        "2.5",
    ]


def test_nested_lists_numbers_and_truth_values() -> None:
    values = [[[1, 2], []], None, [[]]]
    assert [json.loads(t) for t in json_values(pa.array(values)).to_pylist()] == values
    assert json_values(pa.array([True, None])).to_pylist() == ["true", "null"]


def test_json_that_is_text_already_is_taken_as_it_is() -> None:
    columns = {"consent": pa.array(['{"robots":"allowed"}', None]), "n": pa.array([1, 2])}
    texts = json_objects(columns, verbatim=("consent",)).to_pylist()
    assert [json.loads(t)["consent"] for t in texts] == [{"robots": "allowed"}, None]


def test_a_key_is_found_only_if_all_its_digits_agree() -> None:
    keys = pa.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(100)])
    table = KeyTable(keys)
    assert table.find(keys.slice(20, 5)).tolist() == [20, 21, 22, 23, 24]
    impostor = keys[3].as_py()[:16] + "0" * 48
    wanted = pa.array([impostor, keys[0].as_py(), keys[3].as_py()])
    assert table.find(wanted).tolist() == [-1, 0, 3]
    assert KeyTable(pa.concat_arrays([keys, pa.array([impostor])])).find(wanted).tolist() == [
        100,
        0,
        3,
    ]
    assert table.find(pa.array([], pa.string())).tolist() == []
    assert KeyTable(pa.array([], pa.string())).find(keys.slice(0, 2)).tolist() == [-1, -1]


def test_rows_are_put_in_the_order_of_the_keys_and_the_first_one_counts() -> None:
    keys = KeyTable(pa.array(["a" * 64, "b" * 64, "c" * 64]))
    parts = [
        pa.table({"sha256": ["c" * 64, "a" * 64, "c" * 64], "n": [1, 2, 3]}),
        pa.table({"sha256": ["a" * 64, "d" * 64], "n": [4, 5]}),
    ]
    assert aligned(parts, keys, parts[0].schema)["n"].to_pylist() == [2, None, 1]
    assert aligned([], keys, parts[0].schema)["n"].to_pylist() == [None] * 3


def test_caption_ids_go_with_the_text_of_the_same_image() -> None:
    world = World(images=2)
    rows = [world.pairs_row(i) for i in range(2)]
    same = {"text": "one text", "lang": "en", "confidence": 1.0, "source": "alt"}
    rows[0]["captions"], rows[1]["captions"] = [same, same | {"text": "new"}], [same]
    tokens = [
        {"sha256": world.sha256(i), "text": "one text", "ids": [i], "tokenizer": "d"}
        for i in range(2)
    ]
    table = with_caption_ids(
        pa.Table.from_pylist(rows, PAIRS), pa.Table.from_pylist(tokens, TOKENIZED)
    )
    assert table["caption_ids"].to_pylist() == [[[0], []], [[1]]]
    assert table["tokenizer"].to_pylist() == ["d", "d"]


def test_balance_says_what_is_over_represented_where() -> None:
    world = World(images=40)
    rows = [world.pairs_row(i) for i in range(40)]
    for row in rows[:10]:
        row["sentiment"] = {"label": "positive", "confidence": 1.0}
        row["tags"] = [{"tag": "square", "confidence": 1.0}, {"tag": "circle", "confidence": 1.0}]
    split = pa.array(["val"] * 20 + ["train"] * 20)
    urls = pa.array(["https://me@a.test:80/x"] * 20 + ["file:///x"] * 20)
    pairs = pa.Table.from_pylist(rows, PAIRS)
    halves = [
        count_values(pairs.slice(a, 20), urls.slice(a, 20), split.slice(a, 20)) for a in (0, 20)
    ]
    counts = merged(halves)
    assert counts == merged([count_values(pairs, urls, split)])
    shares = balance(counts)
    assert shares["tag: square"] == {"train": 0.0, "val": 0.5, "gap": 0.5}
    assert shares["tag: circle"]["gap"] == 0.0
    assert shares["sentiment: positive"] == {"train": 0.0, "val": 0.5, "gap": 0.5}
    assert split_counts(counts)["val"]["sentiment"] == 10
    assert shares["site: a.test:80"] == {"train": 0.0, "val": 1.0, "gap": 1.0}
    assert list(shares).index("tag: square") < list(shares).index("tag: circle")
    assert split_counts(counts)["val"]["samples"] == 20
    assert split_counts(counts)["test"]["tags"] == 0
