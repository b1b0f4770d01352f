"""The language classifier of py3langid, applied to a whole column at once.

A multinomial naive Bayes over byte n-grams that a finite automaton finds (Lui and Baldwin,
langid.py, ACL 2012). The library walks the automaton in Python, a text at a time; here all texts of
a batch take a step together. Tables and arithmetic are the library's: tests compare the two.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean.text import on_rows

_TEXTS_PER_BATCH = 1024  # bounds memory: features times languages of a batch, some ten megabytes

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class _Model(NamedTuple):
    """Tables of the classifier; S states, F features, C columns (a language may have two)."""

    moves: npt.NDArray[np.int32]  # next state, by row * 256 + byte
    row: npt.NDArray[np.int32]  # [S]
    feature: npt.NDArray[np.int32]  # [S], -1: none ends here
    weight: Floats  # [F, C]
    prior: Floats  # [C]
    languages: tuple[str, ...]
    column_language: npt.NDArray[np.intp]  # [C] index into languages


def chances(
    texts: pa.Array, languages: tuple[str, ...] | None
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Probabilities [texts, languages] of each text, and the languages (sorted).

    `languages` restricts what is told apart; null knows all. A text without any known n-gram has
    the same chance for every language. Raises ValueError for a language that is not known.
    """
    model = _model(languages)
    encoded = _encode(texts)
    found = np.zeros((len(texts), len(model.languages)), np.float32)
    offsets = np.frombuffer(encoded.buffers()[1], np.int32, len(texts) + 1, encoded.offset * 4)
    data = np.frombuffer(encoded.buffers()[2] or b"", np.uint8)
    for start in range(0, len(texts), _TEXTS_PER_BATCH):
        rows = slice(start, min(start + _TEXTS_PER_BATCH, len(texts)))
        bounds = offsets[start : rows.stop + 1].astype(np.int64)
        found[rows] = _batch(model, data[bounds[0] : bounds[-1]], bounds - bounds[0])
    return found, model.languages


def known_languages() -> frozenset[str]:
    """Every language code the classifier can be restricted to."""
    return frozenset(_library(None).labels)


def _encode(texts: pa.Array) -> pa.Array:
    """NFC, and small letters where a text is all capitals, as the library prepares its input.

    Not Arrow's own functions: its NFC decomposes (pyarrow 25), and its lower case of the final
    sigma and of İ is not Python's. Only texts that need it are touched.
    """
    texts = pc.fill_null(texts, "")
    beyond = pc.invert(pc.string_is_ascii(texts))
    texts = on_rows(texts, beyond, lambda text: unicodedata.normalize("NFC", text))
    return on_rows(texts, pc.utf8_is_upper(texts), str.lower)


def _batch(model: _Model, data: npt.NDArray[np.uint8], bounds: Ints) -> Floats:
    """Probabilities [n, languages] of texts as bytes; text i is data[bounds[i]:bounds[i+1]]."""
    n = len(bounds) - 1
    text, feature, count = _features(model, data, bounds)
    scores = np.zeros((n, len(model.prior)), np.float32)
    if len(text):
        weighted = model.weight[feature]
        weighted *= np.log1p(count.astype(np.float32))[:, None]
        first = np.flatnonzero(np.diff(text, prepend=-1))
        scores[text[first]] = np.add.reduceat(weighted, first, axis=0) + model.prior
    # The square root of the length keeps probabilities comparable between short and long texts.
    scores /= np.sqrt(np.maximum(np.diff(bounds), 1)).astype(np.float32)[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    merged = np.zeros((n, len(model.languages)), np.float32)
    for column, language in enumerate(model.column_language):
        merged[:, language] += scores[:, column]
    return merged


def _features(
    model: _Model, data: npt.NDArray[np.uint8], bounds: Ints
) -> tuple[Ints, npt.NDArray[np.int64], Ints]:
    """Parallel (text, feature, how often), sorted by text and feature."""
    length = np.diff(bounds)
    order = np.argsort(-length, kind="stable")
    begin, longest = bounds[:-1][order], int(length.max(initial=0))
    active = np.searchsorted(-length[order], -np.arange(longest), side="left")
    state = np.zeros(len(order), np.int32)
    ends = np.empty(len(data), np.int32)  # the feature that ends at each byte
    for step in range(longest):
        k = active[step]
        place = begin[:k] + step
        state[:k] = model.moves[(model.row[state[:k]] << 8) + data[place]]
        ends[place] = model.feature[state[:k]]
    owner = np.repeat(np.arange(len(length)), length)
    seen = ends >= 0
    width = len(model.weight)
    keys = np.sort(owner[seen] * width + ends[seen])
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    count = np.diff(np.append(first, len(keys)))
    return keys[first] // width, keys[first] % width, count


@lru_cache(maxsize=4)
def _model(languages: tuple[str, ...] | None) -> _Model:
    library = _library(languages)
    names = tuple(sorted(set(library.nb_classes)))
    return _Model(
        np.asarray(library.tk_nextmove, np.int32),
        np.asarray(library.tk_row, np.int32),
        np.asarray(library.tk_output, np.int32),
        np.asarray(library.nb_ptc, np.float32),
        np.asarray(library.nb_pc, np.float32),
        names,
        np.array([names.index(name) for name in library.nb_classes]),
    )


def _library(languages: tuple[str, ...] | None) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if languages is not None:
        library.set_languages(languages)
    return library
