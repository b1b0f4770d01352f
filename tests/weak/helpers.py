"""Small worlds: what pages say about a few images, and the datasets they come in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mmcore.lake import Lake
from mmcore.tokenize.stage import Config as TokenizeConfig
from mmcore.tokenize.stage import run as tokenize
from mmcore.tokenize.stage import run_tokenizer
from mmcore.weak.evidence import TEXTS, Evidence, gather
from mmcore.weak.phrases import NounEvidence, find_phrases
from mmcore.weak.vocabulary import Vocabulary, count, merge
from mmcore.weak.words import classify, detect_languages

DAY = "2026-11-23"
_CAPTIONS = ("alt", "title", "caption")
CAPTION = pa.struct(
    [
        ("text", pa.string()),
        ("lang", pa.string()),
        ("role", pa.string()),
        ("count", pa.int32()),
        ("page_url", pa.string()),
    ]
)
DEDUPLICATED = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("kept", pa.bool_()),
        ("captions", pa.list_(CAPTION)),
        ("split", pa.string()),
        ("annotation", pa.string()),
    ]
)
PAGE_TEXTS = pa.schema(
    [(n, pa.string()) for n in ("sha256", "page_url", "image_url", "role", "text", "lang")]
    + [("kept", pa.bool_())]
)


def phrases(*texts: str, lang: str | None = None) -> list[dict[str, Any]]:
    """The noun phrases of texts, without what is not said."""
    array = pa.array(texts, pa.string())
    langs = detect_languages(array, pa.array([lang] * len(texts), pa.string()))
    words = classify(array, langs)
    nouns = Vocabulary().noun_evidence(words)
    found = find_phrases(words, NounEvidence(nouns.noun, nouns.other)).to_pylist()
    empty = ("", False, -1)
    return [
        {k: v for k, v in row.items() if v not in empty and k not in ("text", "lang", "gender")}
        for row in found
    ]


def evidence(
    *images: list[tuple[str, str]], page: str = "", places: pa.Table | None = None
) -> Evidence:
    """Evidence from (role, text) pairs per image; each page of its own unless `page` is given."""
    captions: list[tuple[Any, ...]] = []
    pages: list[tuple[Any, ...]] = []
    for number, listed in enumerate(images):
        for role, text in listed:
            own = role in _CAPTIONS
            url = None if own else page or f"p{number}"
            row = (number, role, text, None, 1, 0.0, url)
            (captions if own else pages).append(row)
    return gather(_table(captions), _table(pages), len(images), places)


def vocabulary_of(*parts: Evidence) -> Vocabulary:
    """The vocabulary of some evidence."""
    return merge([count(part) for part in parts])


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(TEXTS)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, TEXTS, strict=True)], TEXTS)


@dataclass
class Page:
    """One image and what is said of it; `like` makes it a dropped copy of another image."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    annotation: dict[str, Any] | str | None = None
    split: str | None = None
    like: int | None = None
    url: str | None = None
    image_url: str | None = None


def sha256(number: int) -> str:
    """The key of image `number`."""
    return hashlib.sha256(f"image {number}".encode()).hexdigest()


def write_pages(lake: Lake, pages: list[Page], day: str = DAY, parts: int = 2) -> None:
    """Commit `deduplicated` and `texts` for a day."""
    rows, texts = [], []
    for number, page in enumerate(pages):
        rows.append(_row(number, page))
        for role, text in page.texts:
            url = page.url or f"http://site/{number}"
            texts.append((sha256(number), url, page.image_url, role, text, None, True))
    chunks = np.array_split(np.arange(len(rows)), parts)
    tables = [pa.Table.from_pylist([rows[i] for i in chunk], DEDUPLICATED) for chunk in chunks]
    commit(lake, "deduplicated", tables, day)
    columns = list(zip(*texts, strict=True)) or [()] * len(PAGE_TEXTS)
    table = pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, PAGE_TEXTS, strict=True)], PAGE_TEXTS
    )
    half = table.num_rows // 2
    commit(lake, "texts", [table.slice(0, half), table.slice(half)], day)


def _row(number: int, page: Page) -> dict[str, Any]:
    kept = page.like is None
    captions = [
        {"text": text, "lang": None, "role": role, "count": 1, "page_url": "p"}
        for role, text in page.texts
        if role in _CAPTIONS
    ]
    note = page.annotation
    return {
        "sha256": sha256(number),
        "cluster": sha256(number if page.like is None else page.like),
        "kept": kept,
        "captions": captions if kept else [],
        "split": page.split,
        "annotation": note if isinstance(note, str) or note is None else json.dumps(note),
    }


def tokenized(lake: Lake) -> None:
    """Commit the tokenizer and `tokenized` for `DAY`."""
    run_tokenizer(lake, DAY, TokenizeConfig(vocab_size=300))
    tokenize(lake, DAY, TokenizeConfig(vocab_size=300))


def commit(lake: Lake, name: str, tables: list[pa.Table], day: str = DAY) -> None:
    """Commit tables as a dataset without parents."""
    writer = lake.writer(name, day)
    writer.commit([writer.write_table(i, t) for i, t in enumerate(tables)], [], {})
