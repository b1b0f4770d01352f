"""From texts to everything a tokenizer dataset holds: the tokenizer and its statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from mmcore.tokenize.adopt import adopt_tokenizer, round_trip_share
from mmcore.tokenize.drift import Fit, add_fits, fallback_tokens, measure_fit
from mmcore.tokenize.encode import encode_texts
from mmcore.tokenize.statistics import Statistics, count_documents
from mmcore.tokenize.tokenizer import TokenizerSettings, load_tokenizer, train_tokenizer

# a model is asked what no page says, so a tenth of the texts that merges are learnt on is questions
_QUESTION_SHARE = 0.1
_TEXTS_AT_ONCE = 20_000
_TEXTS_CHECKED = 1000


@dataclass(frozen=True)
class Made:
    """A tokenizer.json as bytes, what was counted on the sample, and what a person should know."""

    data: bytes
    statistics: Statistics
    metadata: dict[str, Any]


def make_tokenizer(sample: pa.Table, settings: TokenizerSettings) -> Made:
    """A tokenizer trained on `sample` (`mmcore.tokenize.sample.TEXTS`)."""
    data = train_tokenizer(_training_batches(sample), settings)
    return _measured(data, sample, {"kind": settings.kind})


def bring_tokenizer(sample: pa.Table, given: bytes, vocab_size: int, name: str) -> Made:
    """The tokenizer in `given`, adapted; `sample` serves for its statistics only."""
    adopted = adopt_tokenizer(given, vocab_size, name)
    return _measured(adopted.data, sample, {"kind": "given", "renamed": adopted.renamed})


def _measured(data: bytes, sample: pa.Table, metadata: dict[str, Any]) -> Made:
    tokenizer = load_tokenizer(data)
    statistics = _count(tokenizer, sample)
    checked = sample["text"].slice(0, _TEXTS_CHECKED).to_pylist()
    facts = metadata | {
        "vocabulary": tokenizer.get_vocab_size(),
        "exact_round_trips": round(round_trip_share(tokenizer, checked), 4),
        "languages": {name: fit.texts for name, fit in statistics.languages.items()},
    }
    return Made(data, statistics, facts)


def _training_batches(sample: pa.Table) -> Iterator[list[str]]:
    for batch in _batches(sample):
        yield batch["text"].to_pylist()
    questions = _questions()
    wanted = round(sample.num_rows * _QUESTION_SHARE / len(questions))
    yield questions * max(1, wanted)


def _count(tokenizer: Tokenizer, sample: pa.Table) -> Statistics:
    size = tokenizer.get_vocab_size()
    frequency = np.zeros(size, np.int64)
    fallback, nothing = fallback_tokens(tokenizer), np.zeros(size, bool)
    fits: list[dict[str, Fit]] = []
    for batch in _batches(sample):
        texts, langs = (batch[name].combine_chunks() for name in ("text", "lang"))
        encoded = encode_texts(tokenizer, texts)
        frequency += count_documents(encoded, size)
        fits.append(measure_fit(encoded, texts, langs, fallback, nothing))
    return Statistics(sample.num_rows, frequency, add_fits(fits))


def _batches(sample: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, sample.num_rows, _TEXTS_AT_ONCE):
        yield sample.slice(start, _TEXTS_AT_ONCE)


def _questions() -> list[str]:
    text = resources.files("mmcore.tokenize").joinpath("questions.json").read_text("utf-8")
    return [question for questions in json.loads(text).values() for question in questions]
