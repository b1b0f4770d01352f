"""Which answers, tags and languages a model can say: counted in the training split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mmcore.models.config import MAX_ANSWER
from mmcore.models.labels import UNKNOWN_LANGUAGE, Labels
from mmcore.models.text import TextTokenizer, pad_ids


def build_labels(
    records: Iterable[dict[str, Any]],
    min_answers: int,
    min_tags: int,
    max_answers: int,
    max_tags: int,
    writes_answers: bool = False,
) -> Labels:
    """Labels of the sample records (the JSON of a shard): names seen often enough, commonest
    first and then by name, at most ``max_*`` of them; languages of captions, all of them.

    writes_answers: whether the decoder learns to write the answers, which the labels remember.
    """
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
        writes_answers=writes_answers,
    )


def answer_key(answer: str) -> str:
    """Answers that differ in case or outer spaces only are one class."""
    return answer.strip().casefold()


def answer_tokens(labels: Labels, tokenizer: TextTokenizer) -> Tensor:
    """What the decoder shall write for each answer: int64 [C, <= MAX_ANSWER], tokens and EOS, PAD
    behind; one empty answer where there are none."""
    framed = pad_ids(tokenizer.ids(list(labels.answers) or [""]), MAX_ANSWER + 1)
    return torch.from_numpy(framed[:, 1:])  # without BOS


def caption_language(caption: dict[str, Any]) -> str:
    """The caption's language tag, ``und`` where it is unknown."""
    return caption.get("lang") or UNKNOWN_LANGUAGE


def _commonest(counts: Counter[str], least: int, most: int) -> tuple[str, ...]:
    kept = [(-count, name) for name, count in counts.items() if count >= least and name]
    return tuple(name for _, name in sorted(kept)[:most])
