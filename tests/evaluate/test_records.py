"""Labels that people wrote are read leniently, and every bad line is counted with a reason."""

from __future__ import annotations

import json

import pytest

from mmcore.evaluate.records import (
    BadRecordError,
    Labels,
    Question,
    RecordCounts,
    parse_record,
    read_records,
)


def _line(**fields: object) -> bytes:
    return json.dumps({"image": "a.jpg", **fields}).encode()


def test_every_field_is_read():
    record = parse_record(
        _line(
            captions=["a cat ", "a cat", ""],
            qa=[{"question": "how many?", "answer": 2}, {"question": "cat?", "answer": True}],
            tags=["cat"],
            sentiment="positive",
            text="look",
            split="val",
            lang="de-AT",
        )
    )
    assert record.labels == Labels(
        captions=("a cat",),
        questions=(Question("how many?", ("2",)), Question("cat?", ("yes",))),
        tags=("cat",),
        sentiment="positive",
    )
    assert (record.text, record.split, record.lang) == ("look", "val", "de")


def test_a_language_that_is_no_text_is_unknown():
    assert parse_record(_line()).lang is None
    assert parse_record(_line(lang=["de"])).lang is None
    assert parse_record(_line(lang=" ")).lang is None


def test_one_caption_may_be_a_plain_text():
    assert parse_record(_line(captions="a cat")).labels.captions == ("a cat",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not_json"),
        (b"[1]", "not_json"),
        (b"\xff", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"{}", "no_image"),
        (_line(image=""), "no_image"),
        (_line(captions=[1]), "bad_captions"),
        (_line(qa=["who?"]), "bad_qa"),
        (_line(qa=[{"question": "who?", "answer": None}]), "bad_qa"),
        (_line(qa=[{"question": "who?", "answer": []}]), "bad_qa"),
        (_line(tags={"a": 1}), "bad_tags"),
        (_line(sentiment="great"), "bad_sentiment"),
        (_line(sentiment=["positive"]), "bad_sentiment"),
        (_line(split="dev"), "bad_split"),
        (_line(split=["test"]), "bad_split"),
        (_line(text=3), "bad_text"),
    ],
)
def test_line_that_cannot_be_used_says_why(line, reason):
    with pytest.raises(BadRecordError, match=reason):
        parse_record(line)


def test_bad_lines_are_counted_and_the_rest_is_used():
    counts = RecordCounts()
    lines = [_line(), b"{", b"\n", _line(split="x"), b"{"]
    assert len(list(read_records(lines, counts))) == 1
    assert counts.to_dict() == {"read": 4, "bad": {"bad_split": 1, "not_json": 2}}


def test_records_of_one_image_are_merged_and_contradictions_dropped():
    first = Labels(captions=("a",), tags=("x",), sentiment="positive")
    second = Labels(captions=("b", "a"), sentiment="negative")
    assert first.merged(second) == Labels(captions=("a", "b"), tags=("x",))
