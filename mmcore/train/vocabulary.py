"""Which answers, tags and languages a model can say: counted in the training split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mmcore.models.labels import UNKNOWN_LANGUAGE, Labels


def build_labels(
    records: Iterable[dict[str, Any]],
    min_answers: int,
    min_tags: int,
    max_answers: int,
    max_tags: int,
) -> Labels:
    """Labels of the sample records (the JSON of a shard): names seen often enough, commonest
    first and then by name, at most ``max_*`` of them; languages of captions, all of them."""
    answers: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for record in records:
        answers.update(answer_key(pair["answer"]) for pair in record.get("qa") or ())
        tags.update({tag["tag"] for tag in record.get("tags") or ()})
        languages.update(caption_language(c) for c in record.get("captions") or ())
    return Labels(
        answers=_commonest(answers, min_answers, max_answers),
        tags=_commonest(tags, min_tags, max_tags),
        languages=_commonest(languages, 1, len(languages)) or (UNKNOWN_LANGUAGE,),
    )


def answer_key(answer: str) -> str:
    """Answers that differ in case or outer spaces only are one class."""
    return answer.strip().casefold()


def caption_language(caption: dict[str, Any]) -> str:
    """The caption's language tag, ``und`` where it is unknown."""
    return caption.get("lang") or UNKNOWN_LANGUAGE


def _commonest(counts: Counter[str], least: int, most: int) -> tuple[str, ...]:
    kept = [(-count, name) for name, count in counts.items() if count >= least and name]
    return tuple(name for _, name in sorted(kept)[:most])
