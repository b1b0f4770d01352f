"""Stage `tokenize`: one tokenizer for the whole corpus, then the token ids of a day's captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.tokenize.captions import COLUMNS, flatten_captions
from mmcore.tokenize.statistics import (
    count_documents,
    dump_statistics,
    load_statistics,
    mean_specificity,
)
from mmcore.tokenize.tokenizer import (
    SMALLEST_VOCABULARY,
    encode_batch,
    load_tokenizer,
    train_tokenizer,
)

TOKENIZER_FILE = "tokenizer.json"
STATISTICS_FILE = "statistics.json"
# a model is asked what no page says, so a tenth of the texts that merges are learnt on is questions
_QUESTION_SHARE = 0.1


class Config(BaseModel):
    """Settings of the tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(
        2048, ge=SMALLEST_VOCABULARY, le=65536, description="Most tokens; a small corpus has fewer."
    )
    min_frequency: int = Field(2, ge=1, description="Least occurrences of a merged token.")
    lowercase: bool = Field(True, description="Lower-case texts before encoding.")
    max_training_texts: int = Field(
        1_000_000, ge=1, description="Texts that the tokenizer is trained on at most."
    )
    retrain: bool = Field(
        False, description="Train anew every day; this breaks warm starts from earlier models."
    )


@dataclass(frozen=True)
class _Trained:
    parts: list[Part]
    rows: int
    vocabulary: int


@dataclass(frozen=True)
class _Tokenized:
    part: Part
    rows: int
    tokens: int
    images: int


def run_tokenizer(lake: Lake, day: str, config: Config) -> Dataset:
    """The tokenizer: the existing version, or one trained on all captions up to `day`.

    It is trained where there is none, where its settings changed, where it was trained on nothing,
    or where `retrain` asks for it: models continue from one another only on a stable vocabulary.
    """
    from mmcore.cluster import map_parts

    settings = config.model_dump(mode="json", exclude={"retrain"})
    existing = lake.find("tokenizer")
    if existing is not None and not config.retrain and _still_good(existing, settings):
        return existing
    lake.dataset("deduplicated", day)  # says which stage is missing
    corpus = lake.up_to("deduplicated", day)
    done = lake.reusable("tokenizer", None, settings, corpus)
    if done is not None:
        return done
    writer = lake.writer("tokenizer", None, format="files")
    train = partial(_train, config=config, writer=writer)
    [result] = map_parts(train, [corpus], description="tokenizer", unit="captions")
    metadata = {"funnel": {"captions": result.rows, "tokens": result.vocabulary}, "trained_on": day}
    return writer.commit(result.parts, corpus, settings, metadata)


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Write `tokenized@day` with the current tokenizer; part i goes with part i of its input."""
    from mmcore.cluster import map_parts

    deduplicated = lake.dataset("deduplicated", day)
    tokenizer = lake.dataset("tokenizer")
    parents = [deduplicated, tokenizer]
    # the tokenizer is an input, so its training settings are no settings of this dataset
    done = lake.reusable("tokenized", day, {}, parents)
    if done is not None:
        return done
    writer = lake.writer("tokenized", day)
    encode = partial(_encode_part, deduplicated=deduplicated, tokenizer=tokenizer, writer=writer)
    items = list(range(len(deduplicated.parts)))
    results = map_parts(encode, items, description="tokenized", unit="captions")
    return writer.commit([r.part for r in results], parents, {}, _metadata(results))


def _still_good(existing: Dataset, settings: dict[str, Any]) -> bool:
    return existing.manifest.config == settings and existing.metadata["funnel"]["captions"] > 0


def _train(corpus: list[Dataset], config: Config, writer: DatasetWriter) -> _Trained:
    total = sum(len(batch) for batch in _text_batches(corpus, 1))
    step = max(1, -(-total // config.max_training_texts))
    used = -(-total // step)
    questions = _questions() * max(1, round(used * _QUESTION_SHARE / len(_questions())))

    def batches() -> Iterator[list[str]]:
        yield from _text_batches(corpus, step)
        yield questions

    data = train_tokenizer(batches(), config.vocab_size, config.min_frequency, config.lowercase)
    tokenizer = load_tokenizer(data)
    size = tokenizer.get_vocab_size()
    frequency = np.zeros(size, np.int64)
    for batch in _text_batches(corpus, step):
        frequency += count_documents(encode_batch(tokenizer, batch), size)
    parts = [
        writer.write_file(TOKENIZER_FILE, data),
        writer.write_file(STATISTICS_FILE, dump_statistics(frequency, used)),
    ]
    return _Trained(parts, used, size)


def _text_batches(corpus: list[Dataset], step: int) -> Iterator[list[str]]:
    """Every `step`-th caption of the corpus, a part at a time."""
    start = 0
    for dataset in corpus:
        for table in dataset.iter_parts(COLUMNS):
            texts = flatten_captions(table)["text"].to_pylist()
            yield texts[-start % step :: step]
            start += len(texts)


def _questions() -> list[str]:
    text = resources.files("mmcore.tokenize").joinpath("questions.json").read_text("utf-8")
    return [question for questions in json.loads(text).values() for question in questions]


def _encode_part(
    index: int, deduplicated: Dataset, tokenizer: Dataset, writer: DatasetWriter
) -> _Tokenized:
    bpe = load_tokenizer(tokenizer.read_file(TOKENIZER_FILE))
    idf = load_statistics(tokenizer.read_file(STATISTICS_FILE))
    table = flatten_captions(deduplicated.read_part(index, COLUMNS))
    encoded = encode_batch(bpe, table["text"].to_pylist())
    ids = pa.ListArray.from_arrays(pa.array(encoded.offsets, pa.int32()), pa.array(encoded.ids))
    columns = {
        "ids": ids,
        "n_tokens": pa.array(encoded.lengths, pa.int32()),
        "specificity": pa.array(mean_specificity(encoded, idf), pa.float64()),
        "tokenizer": pa.array([tokenizer.digest] * table.num_rows, pa.string()),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    images = len(table["sha256"].unique())
    part = writer.write_table(index, table)
    return _Tokenized(part, table.num_rows, len(encoded.ids), images)


def _metadata(results: list[_Tokenized]) -> dict[str, Any]:
    captions = sum(r.rows for r in results)
    tokens = sum(r.tokens for r in results)
    funnel = {"images": sum(r.images for r in results), "captions": captions, "tokens": tokens}
    return {"funnel": funnel, "tokens_per_caption": round(tokens / max(captions, 1), 2)}
