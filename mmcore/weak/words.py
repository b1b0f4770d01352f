"""Texts as flat arrays of classified words: the form in which everything else looks at them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import (
    ATTRIBUTES,
    CLOSED,
    LANGUAGES,
    Kind,
    canonical_noun,
    english_nouns,
    german_forms,
    lexicon,
    singular,
)

# a mask of personal data names nothing; everything that is neither letter, digit nor inner hyphen
# stands alone, so that punctuation and emoji are words of their own
_MASK = r"<[A-Z_]+>"
_SYMBOL = r"([^\p{L}\p{N}\-'’\s])"
_EDGE = r"(^|\s)['’\-]+|['’\-]+(\s|$)"


@dataclass(frozen=True)
class Words:
    """All words of n texts, flattened; every array but `starts` has one entry a word.

    text: number of the word's text. code: its entry in the vocabulary arrays below, which have
    one entry per distinct (language, word): `names`, `kinds` (bits of `Kind`), `values` (for each
    attribute the canonical value, "" if none), `keys` (canonical noun), `plurals`.
    """

    starts: NDArray[np.int64]
    text: NDArray[np.int64]
    code: NDArray[np.int64]
    capital: NDArray[np.bool_]
    langs: NDArray[np.object_]
    names: NDArray[np.object_]
    kinds: NDArray[np.int64]
    values: dict[str, NDArray[np.object_]]
    keys: NDArray[np.object_]
    plurals: NDArray[np.bool_]

    @property
    def kind(self) -> NDArray[np.int64]:
        """Kind bits of every word."""
        return self.kinds[self.code]

    def has(self, kind: Kind) -> NDArray[np.bool_]:
        """Whether each word can be of (one of) these kinds."""
        return (self.kind & int(kind)) != 0

    def __len__(self) -> int:
        return len(self.code)


def split_words(texts: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """(text number of each word, words in their own case), for string [n]; null reads as ""."""
    texts = pc.fill_null(texts, "")
    spaced = pc.replace_substring_regex(texts, _MASK, " . ")
    spaced = pc.replace_substring_regex(spaced, _SYMBOL, r" \1 ")
    spaced = pc.replace_substring_regex(spaced, _EDGE, " ")
    lists = pc.utf8_split_whitespace(spaced)
    words = pc.list_flatten(lists)
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    real = pc.not_equal(words, "").to_numpy(zero_copy_only=False)
    return rows[real], words.filter(pa.array(real))


def detect_languages(texts: pa.Array, declared: pa.Array) -> NDArray[np.object_]:
    """The language whose word lists fit each text: "en", "de", or "" where none is known.

    A declared language stands unless the words clearly say another; a text that declares a
    language without word lists is left alone.
    """
    rows, words = split_words(texts)
    lower = pc.dictionary_encode(pc.utf8_lower(words))
    names, codes = lower.dictionary.to_pylist(), lower.indices.to_numpy(zero_copy_only=False)
    hits = []
    for lang in LANGUAGES:
        table = np.array([_is_word(lang, name) for name in names], bool)
        counts = np.bincount(rows, weights=table[codes], minlength=len(texts))
        hits.append(counts if len(names) else np.zeros(len(texts)))
    english, german = hits
    out = np.array(pc.fill_null(declared, "").to_pylist(), object)
    unknown = np.isin(out, ["", *LANGUAGES])
    out = np.where(
        unknown & (german > english) & ((out == "") | (german >= english + 2)), "de", out
    )
    out = np.where(
        unknown & (english > german) & ((out == "") | (english >= german + 2)), "en", out
    )
    return np.where(np.isin(out, LANGUAGES), out, "").astype(object)


def classify(texts: pa.Array, langs: NDArray[np.object_]) -> Words:
    """The words of texts (string [n]) with what the lists of their language say (langs: [n])."""
    rows, words = split_words(texts)
    first = pc.utf8_slice_codeunits(words, 0, 1)
    capital = pc.utf8_is_upper(first).to_numpy(zero_copy_only=False).astype(bool)
    lang = langs[rows] if len(rows) else np.empty(0, object)
    keyed = pc.binary_join_element_wise(pa.array(lang, pa.string()), pc.utf8_lower(words), "\t")
    encoded = pc.dictionary_encode(keyed)
    entries = [entry.split("\t", 1) for entry in encoded.dictionary.to_pylist()]
    counts = np.bincount(rows, minlength=len(texts)) if len(texts) else np.zeros(0, np.int64)
    return Words(
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        text=rows,
        code=encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        capital=capital,
        **_vocabulary(entries),
    )


def _vocabulary(entries: list[list[str]]) -> dict:
    kinds = np.zeros(len(entries), np.int64)
    values = {name: np.full(len(entries), "", object) for name in ATTRIBUTES}
    keys = np.full(len(entries), "", object)
    plurals = np.zeros(len(entries), bool)
    for i, (lang, name) in enumerate(entries):
        kinds[i] = int(_kind(lang, name))
        if lang not in LANGUAGES:
            continue
        word = lexicon(lang).words.get(name)
        for attribute, value in ((word and word.values) or {}).items():
            values[attribute][i] = value
        keys[i], plurals[i] = canonical_noun(name, lang), singular(name, lang)[1]
    langs = np.array([lang for lang, _ in entries] or [], object)
    names = np.array([name for _, name in entries] or [], object)
    return {
        "langs": langs,
        "names": names,
        "kinds": kinds,
        "values": values,
        "keys": keys,
        "plurals": plurals,
    }


def _is_word(lang: str, name: str) -> bool:
    """Whether the lists of a language know a lower-case word."""
    noun = name in german_forms() if lang == "de" else _is_listed(name)
    return noun or name in lexicon(lang).words


def _kind(lang: str, name: str) -> Kind:
    if not any(c.isalnum() for c in name):
        end = Kind.CLAUSE_END if name in ".!?;…" else Kind(0)
        return Kind.PUNCTUATION | end
    if lang not in LANGUAGES:
        return Kind(0)
    word = lexicon(lang).words.get(name)
    kind = word.kind if word else Kind(0)
    if (lang == "de" and name in german_forms()) or (lang == "en" and _is_listed(name)):
        kind |= Kind.NOUN
    return kind


def _is_listed(name: str) -> bool:
    return singular(name, "en")[0] in english_nouns()


def candidate_nouns(words: Words) -> NDArray[np.bool_]:
    """Words that may be nouns: of no closed class; in German written with a capital or listed."""
    alphabetic = np.array([n[:1].isalpha() and len(n) > 1 for n in words.names], bool)
    adverb = np.array([n.endswith("ly") and len(n) > 4 for n in words.names], bool)
    german = words.langs == "de"
    listed = (words.kinds & int(Kind.NOUN)) != 0
    open_class = ((words.kinds & int(CLOSED)) == 0) & alphabetic & (words.langs != "")
    here = (open_class & (listed | german | ~adverb))[words.code]
    return here & (~german[words.code] | words.capital | listed[words.code])
