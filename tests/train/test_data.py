"""From shard records to arrays: vocabularies, weights, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.shards.order import SampleOrder
from mmcore.train.batches import make_batch
from mmcore.train.data import LabelTable, build_table
from mmcore.train.samples import MemorySamples
from mmcore.train.vocabulary import build_labels
from tests.models import tiny
from tests.train import world

RECORDS = world.samples(12)[1]


def _blank(table: LabelTable) -> MemorySamples:
    """Samples with black pictures."""
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    order = SampleOrder(np.array([len(table)]), 0)
    return MemorySamples(table, lambda n: blank[np.zeros(len(n), int)], order)


def test_vocabularies_hold_what_is_common_commonest_first() -> None:
    rare = {"qa": [{"question": "q", "answer": "Purple"}], "tags": [{"tag": "odd"}]}
    labels = build_labels([*RECORDS, rare], 2, 2, 100, 100)
    assert labels.answers == ("left", "right", "blue", "green", "red")
    assert labels.tags == ("blue", "green", "red")
    assert labels.languages == ("en",)
    assert build_labels(RECORDS, 2, 2, 2, 1).answers == ("left", "right")


def test_answers_differ_by_more_than_case_and_spaces() -> None:
    records = [{"qa": [{"question": "q", "answer": a} for a in ("Red", " red ", "RED")]}]
    assert build_labels(records, 3, 1, 10, 10).answers == ("red",)


def test_unknown_answers_and_tags_are_left_out_and_missing_labels_masked() -> None:
    bare = {"captions": [], "qa": [{"question": "q", "answer": "never seen"}], "sentiment": None}
    table = build_table([*RECORDS[:2], bare], tiny.LABELS, tiny.tokenizer(), 16)
    assert table.caption_weights[2].sum() == 0 and table.question_weights[2].sum() == 0
    assert table.tag_weights.tolist() == [1, 1, 0]
    assert table.sentiment_weights.tolist() == pytest.approx([0.8, 0.8, 0.0])
    assert table.tags[0].tolist() == pytest.approx([0.9, 0, 0])


def test_a_batch_without_any_label_still_has_all_its_tensors() -> None:
    table = build_table([{}, {}], tiny.LABELS, tiny.tokenizer(), 16)
    batch = make_batch(_blank(table), 0, 0, 4, 2)
    assert batch.caption_weight.sum() == 0 and len(batch.answer) == 0
    assert tuple(batch.captions.shape) == (4, 2)


def test_captions_are_drawn_by_confidence_and_questions_without_repeats() -> None:
    record = {
        "captions": [
            {"text": "a red square", "confidence": 0.9},
            {"text": "square", "confidence": 0.1},
            {"text": "never", "confidence": 0.0},
        ],
        "qa": [{"question": f"question {i}", "answer": "red"} for i in range(4)],
    }
    table = build_table([record], tiny.LABELS, tiny.tokenizer(), 16)
    batch = make_batch(_blank(table), 0, 0, 400, 3)
    counts = {text: int((batch.caption_text == text).sum()) for text in table.texts.identity}
    assert [330 < counts[t] < 390 for t in table.texts.identity[1:3]] == [True, False]
    assert counts[table.texts.identity[3]] == 0 and sum(counts.values()) == 400
    for visit in range(400):
        asked = batch.questions[batch.question_text[batch.question_image == visit]]
        assert len(asked) == 3 and len({tuple(row.tolist()) for row in asked}) == 3
