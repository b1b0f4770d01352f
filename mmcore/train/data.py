"""Training data as arrays: one row per sample, labels as indices, weights and masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.models.config import PAD
from mmcore.models.labels import SENTIMENTS, Labels
from mmcore.models.text import TextTokenizer, pad_ids
from mmcore.train.vocabulary import answer_key, caption_language

MAX_CAPTIONS = 16  # of one sample, best first
MAX_QUESTIONS = 64


@dataclass(frozen=True)
class TextTable:
    """Every distinct text once, as token ids framed by BOS and EOS; int32 [texts, T] padded."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of some texts, padded to the longest of them: int64 [len(numbers), T]."""
        width = max(2, int(self.lengths[numbers].max(initial=2)))
        return self.ids[numbers, :width].astype(np.int64)


@dataclass(frozen=True)
class LabelTable:
    """The labels of N samples.

    captions, caption_weights, caption_languages: [N, C]; text number, confidence, language; a
        weight of 0 marks an unused place.
    questions, answers, question_weights: [N, Q]; text number, class, confidence.
    tags: float32 [N, V], the confidence of each tag; tag_weights [N], 0 where nothing is known.
    sentiment [N], sentiment_weights [N]; clusters int64 [N], equal for near-duplicates.
    """

    texts: TextTable
    captions: NDArray[np.int32]
    caption_weights: NDArray[np.float32]
    caption_languages: NDArray[np.int32]
    questions: NDArray[np.int32]
    answers: NDArray[np.int32]
    question_weights: NDArray[np.float32]
    tags: NDArray[np.float32]
    tag_weights: NDArray[np.float32]
    sentiment: NDArray[np.int32]
    sentiment_weights: NDArray[np.float32]
    clusters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clusters)


class _Texts:
    """Numbers texts in the order they are first seen; number 0 is the empty text."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": 0}

    def __getitem__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def table(self, tokenizer: TextTokenizer, max_tokens: int) -> TextTable:
        ids = pad_ids(tokenizer.ids(list(self.numbers)), max_tokens).astype(np.int32)
        return TextTable(ids, (ids != PAD).sum(axis=1).astype(np.int32))


def build_table(
    records: Sequence[dict[str, Any]], labels: Labels, tokenizer: TextTokenizer, max_tokens: int
) -> LabelTable:
    """Sample records (the JSON of a shard) as arrays; answers and tags outside the vocabulary
    are left out."""
    texts, count = _Texts(), len(records)
    languages = {name: i for i, name in enumerate(labels.languages)}
    captions = _ragged(
        [
            [
                (texts[c["text"]], languages.get(caption_language(c), 0), _weight(c))
                for c in _captions(record)
            ]
            for record in records
        ],
        MAX_CAPTIONS,
    )
    classes = {name: i for i, name in enumerate(labels.answers)}
    questions = _ragged(
        [
            [
                (texts[p["question"]], classes[answer_key(p["answer"])], _weight(p))
                for p in record.get("qa") or ()
                if answer_key(p["answer"]) in classes
            ]
            for record in records
        ],
        MAX_QUESTIONS,
    )
    tags, tag_weights = _tags(records, labels)
    sentiment, sentiment_weights = _sentiment(records)
    clusters = [record.get("cluster") or f"row-{i}" for i, record in enumerate(records)]
    return LabelTable(
        texts.table(tokenizer, max_tokens),
        captions[..., 0].astype(np.int32),
        captions[..., 2].astype(np.float32),
        captions[..., 1].astype(np.int32),
        questions[..., 0].astype(np.int32),
        questions[..., 1].astype(np.int32),
        questions[..., 2].astype(np.float32),
        tags,
        tag_weights,
        sentiment,
        sentiment_weights,
        np.unique(np.array(clusters, dtype=object), return_inverse=True)[1].astype(np.int64)
        if count
        else np.zeros(0, np.int64),
    )


def _captions(record: dict[str, Any]) -> Iterable[dict[str, Any]]:
    captions = record.get("captions") or [c for c in (record.get("caption"),) if c]
    return [c for c in captions if c["text"].strip()]


def _weight(label: dict[str, Any]) -> float:
    confidence = label.get("confidence")
    return 1.0 if confidence is None else min(1.0, max(0.0, float(confidence)))


def _ragged(rows: list[list[tuple[int, int, float]]], most: int) -> NDArray[np.float64]:
    """Triples per row -> float64 [N, longest row (1..most), 3], zeros where a row is shorter."""
    width = max(1, min(most, max((len(row) for row in rows), default=1)))
    out = np.zeros((len(rows), width, 3))
    for number, row in enumerate(rows):
        if row:
            out[number, : min(len(row), width)] = row[:width]
    return out


def _tags(
    records: Sequence[dict[str, Any]], labels: Labels
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    numbers = {name: i for i, name in enumerate(labels.tags)}
    tags = np.zeros((len(records), max(1, len(numbers))), np.float32)
    for row, record in enumerate(records):
        for tag in record.get("tags") or ():
            if tag["tag"] in numbers:
                tags[row, numbers[tag["tag"]]] = _weight(tag)
    # a sample without any tag was not looked at: its zeros are unknown, not negative
    return tags, (tags.sum(axis=1) > 0).astype(np.float32)


def _sentiment(
    records: Sequence[dict[str, Any]],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    found = [record.get("sentiment") or {} for record in records]
    known = [s.get("label") in SENTIMENTS for s in found]
    classes = [SENTIMENTS.index(s["label"]) if k else 0 for s, k in zip(found, known, strict=True)]
    weights = [_weight(s) if k else 0.0 for s, k in zip(found, known, strict=True)]
    return np.array(classes, np.int32), np.array(weights, np.float32)
