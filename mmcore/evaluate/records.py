"""Labels given by people: one JSON object per line, as in `annotations.jsonl` and a gold file.

    {"image": "cat.jpg", "captions": ["a cat"], "tags": ["cat"],
     "qa": [{"question": "what is it?", "answer": "cat"}],
     "sentiment": "positive", "text": "look at him", "lang": "en", "split": "test"}

Only `image` is needed; `lang` is the language of the captions. A line that cannot be used is
counted under a reason and left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

SENTIMENTS = ("negative", "neutral", "positive")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Question:
    """A question about an image; several answers are several annotators' answers."""

    question: str
    answers: tuple[str, ...]
    type: str | None = None


@dataclass(frozen=True)
class Labels:
    """What is known about one image; an empty field is not labelled."""

    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    tags: tuple[str, ...] = ()
    sentiment: str | None = None

    def any(self) -> bool:
        """Whether anything is labelled."""
        return bool(self.captions or self.questions or self.tags or self.sentiment)

    def merged(self, other: Labels) -> Labels:
        """Labels of two records of one image; where the sentiments differ neither is believed."""
        said = {s for s in (self.sentiment, other.sentiment) if s is not None}
        return Labels(
            captions=_union(self.captions, other.captions),
            questions=_union(self.questions, other.questions),
            tags=_union(self.tags, other.tags),
            sentiment=said.pop() if len(said) == 1 else None,
        )


@dataclass(frozen=True)
class Record:
    """One usable line."""

    image: str
    labels: Labels
    text: str | None = None
    """Text that stands beside the image, an input and not a label."""
    split: str | None = None
    lang: str | None = None
    """Language of the captions: the primary tag in lower case, `de` of `de-AT`."""


class BadRecordError(ValueError):
    """A line that cannot be used; the message is its reason."""


@dataclass
class RecordCounts:
    """How many lines were read and why some were left out."""

    read: int = 0
    bad: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        return {"read": self.read, "bad": dict(sorted(self.bad.items()))}


def read_records(lines: Iterable[bytes], counts: RecordCounts) -> Iterator[Record]:
    """The usable records of a JSONL file, in order; blank lines are skipped."""
    for line in lines:
        if not line.strip():
            continue
        counts.read += 1
        try:
            yield parse_record(line)
        except BadRecordError as error:
            counts.bad[str(error)] += 1


def parse_record(line: bytes) -> Record:
    """One line as a record; `BadRecordError`: `not_json`, `no_image` or `bad_FIELD`."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRecordError("not_json") from None
    if not isinstance(data, dict):
        raise BadRecordError("not_json")
    image = data.get("image")
    if not isinstance(image, str) or not image.strip():
        raise BadRecordError("no_image")
    split = data.get("split")
    if split is not None and split not in SPLITS:
        raise BadRecordError("bad_split")
    return Record(image, parse_labels(data), _text(data), split, _language(data))


def parse_labels(data: dict[str, Any]) -> Labels:
    """The labels of a record; `BadRecordError` names the field that has the wrong form."""
    sentiment = data.get("sentiment")
    if sentiment is not None and sentiment not in SENTIMENTS:
        raise BadRecordError("bad_sentiment")
    return Labels(
        captions=_strings(data.get("captions"), "bad_captions"),
        questions=_questions(data.get("qa")),
        tags=_strings(data.get("tags"), "bad_tags"),
        sentiment=sentiment,
    )


def _text(data: dict[str, Any]) -> str | None:
    text = data.get("text")
    if text is None:
        return None
    if not isinstance(text, str):
        raise BadRecordError("bad_text")
    return text.strip() or None


def _language(data: dict[str, Any]) -> str | None:
    given = data.get("lang")
    if not isinstance(given, str):
        return None
    return given.split("-")[0].strip().lower() or None


def _strings(value: Any, reason: str) -> tuple[str, ...]:
    if value is None:
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRecordError(reason)
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def _questions(value: Any) -> tuple[Question, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRecordError("bad_qa")
    return tuple(_question(item) for item in value)


def _question(item: Any) -> Question:
    if not isinstance(item, dict) or not isinstance(item.get("question"), str):
        raise BadRecordError("bad_qa")
    given: Any = item.get("answer")
    answers = given if isinstance(given, list) else [given]
    if not answers or not all(isinstance(a, str | int | float) for a in answers):
        raise BadRecordError("bad_qa")
    kind = item.get("type")
    if kind is not None and not isinstance(kind, str):
        raise BadRecordError("bad_qa")
    return Question(item["question"].strip(), tuple(_answer(a) for a in answers), kind)


def _answer(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip()


def _union(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*left, *right)))
