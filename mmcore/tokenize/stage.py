"""Stage `tokenize`: one tokenizer for the whole corpus, then the token ids of a day's captions."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from tokenizers import Tokenizer

from mmcore.errors import UserError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.tokenize.captions import (
    COLUMNS,
    LANGUAGE_COLUMNS,
    TEXT_COLUMNS,
    caption_field,
    count_languages,
    flatten_captions,
)
from mmcore.tokenize.drift import (
    DriftRules,
    Fit,
    add_fits,
    drift_report,
    fallback_tokens,
    measure_fit,
)
from mmcore.tokenize.encode import Encoded, encode_texts
from mmcore.tokenize.sample import BalancedSample, SampleSettings, language_quotas
from mmcore.tokenize.statistics import dump_statistics, load_statistics, mean_specificity
from mmcore.tokenize.tokenizer import TokenizerSettings, load_tokenizer
from mmcore.tokenize.training import Made, bring_tokenizer, make_tokenizer

TOKENIZER_FILE = "tokenizer.json"
STATISTICS_FILE = "statistics.json"
_NOT_OF_THE_TOKENIZER = {"retrain", "drift", "file"}


class Config(SampleSettings, TokenizerSettings):
    """Settings of the tokenizer."""

    file: str | None = Field(
        None,
        description="A tokenizer.json of your own instead of a trained one; relative to this file.",
    )
    retrain: bool = Field(
        False, description="Train anew every day; this breaks warm starts from earlier models."
    )
    drift: DriftRules = Field(
        DriftRules(),
        description="When a night suggests to retrain: tokens per character, bytes and unknown "
        "tokens, tokens never seen; of languages with min_texts.",
    )


@dataclass(frozen=True)
class _Given:
    """A tokenizer.json that the user brings."""

    data: bytes
    name: str


@dataclass(frozen=True)
class _Trained:
    parts: list[Part]
    rows: int
    vocabulary: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Tokenized:
    part: Part
    rows: int
    tokens: int
    images: int
    fits: dict[str, Fit]


def run_tokenizer(lake: Lake, day: str, config: Config) -> Dataset:
    """The tokenizer: the existing version, or one trained on a sample of the captions up to `day`.

    It is made anew where there is none, where its settings or the given file changed, where it was
    trained on nothing, or where `retrain` asks for it: models continue from one another only on a
    stable vocabulary.
    """
    from mmcore.cluster import map_parts

    given = _read_given(config.file)
    settings = config.model_dump(mode="json", exclude=_NOT_OF_THE_TOKENIZER)
    settings["file_sha256"] = hashlib.sha256(given.data).hexdigest() if given else None
    existing = lake.find("tokenizer")
    if existing is not None and not config.retrain and _still_good(existing, settings):
        return existing
    lake.dataset("deduplicated", day)  # says which stage is missing
    corpus = lake.up_to("deduplicated", day)
    done = lake.reusable("tokenizer", None, settings, corpus)
    if done is not None:
        return done
    writer = lake.writer("tokenizer", None, format="files")
    make = partial(_make, given=given, config=config, writer=writer)
    [result] = map_parts(make, [corpus], description="tokenizer", unit="captions")
    metadata = {
        "funnel": {"captions": result.rows, "tokens": result.vocabulary},
        "trained_on": day,
        **result.metadata,
    }
    return writer.commit(result.parts, corpus, settings, metadata)


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Write `tokenized@day` with the current tokenizer; part i goes with part i of its input."""
    from mmcore.cluster import map_parts

    deduplicated = lake.dataset("deduplicated", day)
    tokenizer = lake.dataset("tokenizer")
    parents = [deduplicated, tokenizer]
    # the tokenizer is an input, so of its settings only those of the drift report matter here
    settings = {"drift": config.drift.model_dump(mode="json")}
    done = lake.reusable("tokenized", day, settings, parents)
    if done is not None:
        return done
    writer = lake.writer("tokenized", day)
    encode = partial(
        _encode_part, lake=lake, deduplicated=deduplicated, digest=tokenizer.digest, writer=writer
    )
    items = list(range(len(deduplicated.parts)))
    results = map_parts(encode, items, description="tokenized", unit="captions")
    trained = load_statistics(tokenizer.read_file(STATISTICS_FILE)).languages
    drift = drift_report(add_fits(r.fits for r in results), trained, config.drift)
    metadata = _counts(results) | {"drift": drift}
    return writer.commit([r.part for r in results], parents, settings, metadata)


# --- the tokenizer --------------------------------------------------------------------------------


def _read_given(file: str | None) -> _Given | None:
    if file is None:
        return None
    try:
        return _Given(Path(file).read_bytes(), file)
    except OSError as error:
        raise UserError(
            f"tokenize.file: {file} cannot be read ({error.strerror}): name a tokenizer.json, or "
            "leave tokenize.file out to train one"
        ) from error


def _still_good(existing: Dataset, settings: dict[str, Any]) -> bool:
    return existing.manifest.config == settings and existing.metadata["funnel"]["captions"] > 0


def _make(
    corpus: list[Dataset], given: _Given | None, config: Config, writer: DatasetWriter
) -> _Trained:
    """Ray task: sample the corpus, train or adapt, write both files."""
    sample = _sample(corpus, config)
    made: Made = (
        bring_tokenizer(sample, given.data, config.vocab_size, given.name)
        if given
        else make_tokenizer(sample, config)
    )
    parts = [
        writer.write_file(TOKENIZER_FILE, made.data),
        writer.write_file(STATISTICS_FILE, dump_statistics(made.statistics)),
    ]
    return _Trained(parts, sample.num_rows, made.metadata["vocabulary"], made.metadata)


def _sample(corpus: list[Dataset], settings: SampleSettings) -> pa.Table:
    """A bounded, balanced sample; of the corpus, one part at a time is in memory."""
    counts: Counter[str] = Counter()
    for dataset in corpus:
        for part in dataset.iter_parts(LANGUAGE_COLUMNS):
            counts.update(count_languages(part))
    quotas = language_quotas(counts, settings.max_training_texts, settings.language_alpha)
    sample = BalancedSample(quotas)
    for dataset in corpus:
        for part in dataset.iter_parts(TEXT_COLUMNS):
            sample.add(caption_field(part, "lang"), caption_field(part, "text"))
    return sample.table()


# --- the ids --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    """A tokenizer and what is known of each of its tokens: arrays [vocabulary]."""

    library: Tokenizer
    idf: NDArray[np.float64]
    fallback: NDArray[np.bool_]
    unseen: NDArray[np.bool_]


@lru_cache(maxsize=1)
def _tools(lake: Lake, digest: str) -> _Tools:
    """Loaded once in a worker process, however many parts it gets."""
    tokenizer = lake.version("tokenizer", None, digest)
    library = load_tokenizer(tokenizer.read_file(TOKENIZER_FILE))
    statistics = load_statistics(tokenizer.read_file(STATISTICS_FILE))
    return _Tools(library, statistics.idf, fallback_tokens(library), statistics.unseen)


def _encode_part(
    index: int, lake: Lake, deduplicated: Dataset, digest: str, writer: DatasetWriter
) -> _Tokenized:
    """Ray task: the captions of one part with their ids."""
    # one task has one CPU; the library would start a thread on every core of the machine
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tools = _tools(lake, digest)
    table = flatten_captions(deduplicated.read_part(index, COLUMNS))
    texts, langs = (table[name].combine_chunks() for name in ("text", "lang"))
    encoded = encode_texts(tools.library, texts)
    columns = {
        "ids": _list_array(encoded),
        "n_tokens": pa.array(encoded.lengths, pa.int32()),
        "specificity": pa.array(mean_specificity(encoded, tools.idf), pa.float64()),
        "tokenizer": pa.repeat(digest, table.num_rows),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    fits = measure_fit(encoded, texts, langs, tools.fallback, tools.unseen)
    images = len(table["sha256"].unique())
    part = writer.write_table(index, table)
    return _Tokenized(part, table.num_rows, len(encoded.ids), images, fits)


def _list_array(encoded: Encoded) -> pa.ListArray:
    offsets = pa.array(encoded.offsets.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(encoded.ids))


def _counts(results: list[_Tokenized]) -> dict[str, Any]:
    captions = sum(r.rows for r in results)
    tokens = sum(r.tokens for r in results)
    funnel = {"images": sum(r.images for r in results), "captions": captions, "tokens": tokens}
    return {"funnel": funnel, "tokens_per_caption": round(tokens / max(captions, 1), 2)}
