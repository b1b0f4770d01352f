"""Training data as arrays: one row per sample, labels as indices, weights and masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.models.config import PAD
from mmcore.models.labels import SENTIMENTS, Labels
from mmcore.models.text import TextTokenizer, pad_ids
from mmcore.train.vocabulary import answer_key, caption_language
from mmcore.train.wording import says_colours, says_sides

MAX_CAPTIONS = 16  # of one sample, best first
MAX_QUESTIONS = 64


@dataclass(frozen=True)
class TextTable:
    """Every distinct text once, as token ids framed by BOS and EOS; int32 [texts, T] padded.

    identity: int64 [texts], a hash of the text: equal for equal texts whichever table they are in.
    sides, colours: bool [texts], which tell left from right and which name a colour.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    identity: NDArray[np.int64]
    sides: NDArray[np.bool_]
    colours: NDArray[np.bool_]

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
    sides, colours: bool [N], whether any caption, question, answer or tag of the sample tells left
        from right, or names a colour.
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
    sides: NDArray[np.bool_]
    colours: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.clusters)

    def take(self, rows: NDArray[np.int64]) -> LabelTable:
        """The labels of some samples, in the order asked for."""
        columns = (getattr(self, f.name)[rows] for f in fields(self) if f.name != "texts")
        return LabelTable(self.texts, *columns)

    def masked(
        self,
        captions: NDArray[np.bool_],
        questions: NDArray[np.bool_],
        tags: NDArray[np.bool_],
        sentiment: NDArray[np.bool_],
    ) -> LabelTable:
        """The same samples, with a task's weights 0 where its mask, bool [N], is False."""
        return replace(
            self,
            caption_weights=self.caption_weights * captions[:, None],
            question_weights=self.question_weights * questions[:, None],
            tag_weights=self.tag_weights * tags,
            sentiment_weights=self.sentiment_weights * sentiment,
        )

    def tag_rates(self) -> NDArray[np.float32]:
        """Share of the samples with known tags that have each tag: float32 [V]."""
        known = self.tag_weights > 0
        if not known.any():
            return np.zeros(self.tags.shape[1], np.float32)
        return (self.tags[known] > 0).mean(axis=0, dtype=np.float32)


class _Texts:
    """Numbers texts in the order they are first seen; number 0 is the empty text."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": 0}

    def __getitem__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def table(self, tokenizer: TextTokenizer, max_tokens: int) -> TextTable:
        texts = list(self.numbers)
        ids = pad_ids(tokenizer.ids(texts), max_tokens).astype(np.int32)
        identity = np.array([_identity(text) for text in texts], np.int64)
        lengths = (ids != PAD).sum(axis=1).astype(np.int32)
        return TextTable(ids, lengths, identity, says_sides(texts), says_colours(texts))


Triple = tuple[int, int, float]


class _Rows:
    """The labels of records, one after the other; of a record only numbers are kept."""

    def __init__(self, labels: Labels) -> None:
        self.texts = _Texts()
        self.captions: list[list[Triple]] = []
        self.questions: list[list[Triple]] = []
        self.tags: list[list[tuple[int, float]]] = []
        self.sentiment: list[int] = []
        self.sentiment_weights: list[float] = []
        self.clusters: list[int] = []
        self._languages = {name: i for i, name in enumerate(labels.languages)}
        self._answers = {name: i for i, name in enumerate(labels.answers)}
        self._tags = {name: i for i, name in enumerate(labels.tags)}

    def add(self, number: int, record: dict[str, Any]) -> None:
        """Append the labels of sample ``number``."""
        self.captions.append([self._caption(c) for c in _captions(record)[:MAX_CAPTIONS]])
        known = ((p, self._answers.get(answer_key(p["answer"]))) for p in record.get("qa") or ())
        asked = [(self.texts[p["question"]], a, _weight(p)) for p, a in known if a is not None]
        self.questions.append(asked[:MAX_QUESTIONS])
        tags = ((self._tags.get(t["tag"]), t) for t in record.get("tags") or ())
        self.tags.append([(tag, _weight(t)) for tag, t in tags if tag is not None])
        feeling = record.get("sentiment") or {}
        known_feeling = feeling.get("label") in SENTIMENTS
        self.sentiment.append(SENTIMENTS.index(feeling["label"]) if known_feeling else 0)
        self.sentiment_weights.append(_weight(feeling) if known_feeling else 0.0)
        self.clusters.append(_identity(record.get("cluster") or f"row-{number}"))

    def _caption(self, caption: dict[str, Any]) -> Triple:
        language = self._languages.get(caption_language(caption), 0)
        return self.texts[caption["text"]], language, _weight(caption)


def build_table(
    records: Iterable[dict[str, Any]],
    labels: Labels,
    tokenizer: TextTokenizer,
    max_tokens: int,
    numbers: Iterable[int] | None = None,
) -> LabelTable:
    """Sample records (the JSON of a shard) as arrays; answers and tags outside the vocabulary
    are left out. The records are read once, one in memory at a time.

    numbers: of the samples, where the records are not samples 0, 1, 2, ...; tells apart those
    without a cluster.
    """
    rows = _Rows(labels)
    numbered = enumerate(records) if numbers is None else zip(numbers, records, strict=True)
    for number, record in numbered:
        rows.add(number, record)
    captions, questions = _ragged(rows.captions), _ragged(rows.questions)
    texts = rows.texts.table(tokenizer, max_tokens)
    tags = np.zeros((len(rows.tags), max(1, len(labels.tags))), np.float32)
    for row, found in enumerate(rows.tags):
        for tag, weight in found:
            tags[row, tag] = weight
    sides = _said(captions, questions, tags, labels, texts.sides, says_sides)
    colours = _said(captions, questions, tags, labels, texts.colours, says_colours)
    return LabelTable(
        texts,
        captions[..., 0].astype(np.int32),
        captions[..., 2].astype(np.float32),
        captions[..., 1].astype(np.int32),
        questions[..., 0].astype(np.int32),
        questions[..., 1].astype(np.int32),
        questions[..., 2].astype(np.float32),
        tags,
        # a sample without any tag was not looked at: its zeros are unknown, not negative
        (tags.sum(axis=1) > 0).astype(np.float32),
        np.array(rows.sentiment, np.int32),
        np.array(rows.sentiment_weights, np.float32),
        np.array(rows.clusters, np.int64),
        sides,
        colours,
    )


def _said(
    captions: NDArray[np.float64],
    questions: NDArray[np.float64],
    tags: NDArray[np.float32],
    labels: Labels,
    texts: NDArray[np.bool_],
    says: Callable[[Sequence[str]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Whether a sample's captions, questions, answers or tags say something: bool [N].

    texts: bool [texts], which of the texts do.
    """
    captioned = texts[captions[..., 0].astype(np.int64)]  # an unused place is text 0: ""
    asked = texts[questions[..., 0].astype(np.int64)]
    found = [captioned, asked]
    if labels.answers:
        answered = _names_say(says, labels.answers)[questions[..., 1].astype(np.int64)]
        found.append(answered & (questions[..., 2] > 0))
    if labels.tags:
        found.append(tags[:, _names_say(says, labels.tags)] > 0)
    return np.asarray(np.concatenate(found, axis=1).any(axis=1))


@lru_cache(maxsize=8)
def _names_say(
    says: Callable[[Sequence[str]], NDArray[np.bool_]], names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Asked for every batch of a streamed set, about the same names."""
    return says(names)


def _captions(record: dict[str, Any]) -> list[dict[str, Any]]:
    captions = record.get("captions") or [c for c in (record.get("caption"),) if c]
    return [c for c in captions if c["text"].strip()]


def _weight(label: dict[str, Any]) -> float:
    confidence = label.get("confidence")
    return 1.0 if confidence is None else min(1.0, max(0.0, float(confidence)))


def _identity(text: str) -> int:
    """A number for a text, int64: the same in every process, different for different texts."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _ragged(rows: list[list[Triple]]) -> NDArray[np.float64]:
    """Triples per row -> float64 [N, longest row (at least 1), 3], zeros where a row is shorter."""
    out = np.zeros((len(rows), max([1, *map(len, rows)]), 3))
    for number, row in enumerate(rows):
        if row:
            out[number, : len(row)] = row
    return out
