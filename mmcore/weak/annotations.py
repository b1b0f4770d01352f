"""What a folder source says outright: it goes in with confidence 1 and beats every vote."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SOURCE = "annotation"
_FEELINGS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Annotation:
    """The usable part of one record; empty fields were not annotated."""

    captions: tuple[str, ...] = ()
    qa: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    sentiment: str = ""
    problems: tuple[str, ...] = field(default=())
    """Names of fields that were there and could not be used."""


def parse_annotations(records: Iterable[str | None]) -> list[Annotation]:
    """One `Annotation` per record, empty for null; unusable fields are named, never guessed."""
    return [_parse(record) if record else Annotation() for record in records]


def _parse(record: str) -> Annotation:
    try:
        body = json.loads(record)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Annotation(problems=("record",))
    problems: list[str] = []
    captions = _strings(body, "captions", problems)
    if isinstance(body.get("text"), str):
        captions += (_folded(body["text"]),)
    feeling = body.get("sentiment")
    if feeling is not None and feeling not in _FEELINGS:
        problems.append("sentiment")
        feeling = None
    return Annotation(
        captions=captions,
        qa=_pairs(body, problems),
        tags=tuple(tag.lower() for tag in _strings(body, "tags", problems)),
        sentiment=feeling or "",
        problems=tuple(problems),
    )


def _strings(body: dict[str, Any], name: str, problems: list[str]) -> tuple[str, ...]:
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        problems.append(name)
        return ()
    return tuple(dict.fromkeys(text for v in value if (text := _folded(v))))


def _pairs(body: dict[str, Any], problems: list[str]) -> tuple[tuple[str, str], ...]:
    value = body.get("qa")
    if value is None:
        return ()
    pairs = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            problems.append("qa")
            continue
        question, answer = entry.get("question"), entry.get("answer")
        if isinstance(question, str) and isinstance(answer, str | int) and _folded(question):
            pairs.append((_folded(question), _folded(str(answer)).lower()))
        else:
            problems.append("qa")
    return tuple(dict.fromkeys(pairs))


def _folded(text: str) -> str:
    return " ".join(text.split())
