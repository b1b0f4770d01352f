"""Noun phrases: what is named, how it looks, how many there are and where it stands.

A shallow chunker over flat word arrays, all in NumPy: premodifiers (article, number, size, texture,
colour, mood, ...), then a noun; "the circle is red", "with stripes"; and a place ("on the left")
attached to the one phrase it can belong to. Where the words allow two readings, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import (
    CLOSED,
    LANGUAGES,
    PREMODIFIER,
    Kind,
    canonical_noun,
    groups,
    lexicon,
)
from mmcore.weak.positions import attach_positions
from mmcore.weak.words import Words, candidate_nouns

PHRASES = pa.schema(
    [
        ("text", pa.int64()),
        ("lang", pa.string()),
        ("key", pa.string()),
        ("plural", pa.bool_()),
        ("definite", pa.bool_()),
        ("count", pa.int64()),
        ("colour", pa.string()),
        ("size", pa.string()),
        ("texture", pa.string()),
        ("mood", pa.string()),
        ("position", pa.string()),
        ("gender", pa.string()),
    ]
)
"""text: number of the text; key: canonical noun; count: -1 where it is not said; attributes: ""
where not said, null where several readings exist; gender: of a German noun as its article shows."""


@dataclass(frozen=True)
class NounEvidence:
    """Per vocabulary word: whether it is surely a noun, and whether it surely is none."""

    noun: NDArray[np.bool_]
    other: NDArray[np.bool_]


@dataclass(frozen=True)
class _Runs:
    """Noun phrases by word index: premodifiers low..start-1, then the noun start..head."""

    low: NDArray[np.int64]
    start: NDArray[np.int64]
    head: NDArray[np.int64]


def count_noun_uses(words: Words) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Evidence for what is a noun, without a parser.

    Output: how often each vocabulary word occurs, int64 [vocabulary]; and for each word occurrence
    whether it stands as a noun does: after a premodifier, before a closed-class word or the end.
    """
    total = np.bincount(words.code, minlength=len(words.names)).astype(np.int64)
    inside, _ = _premodifiers(words)
    before = _shift(inside, 1) & _same_text(words, -1)
    closed = (words.kind & int(CLOSED)) != 0
    after = _shift(closed, -1) | ~_same_text(words, 1)
    return total, candidate_nouns(words) & before & after


def find_phrases(words: Words, evidence: NounEvidence) -> pa.Table:
    """All noun phrases of the texts, as `PHRASES`, in reading order."""
    if not len(words):
        return PHRASES.empty_table()
    inside, mixed = _premodifiers(words)
    runs = _find_runs(words, inside, evidence)
    sound = _bounded(words, runs, evidence)
    runs = _Runs(runs.low[sound], runs.start[sound], runs.head[sound])
    columns: dict[str, NDArray] = {
        "text": words.text[runs.head],
        "lang": words.langs[words.code[runs.head]],
        "key": _keys(words, runs, evidence),
        "plural": words.plurals[words.code[runs.head]],
        "definite": _last(words.has(Kind.DEFINITE), runs) >= 0,
        "count": _counts(words, runs),
    }
    for name, kind in _ATTRIBUTES.items():
        columns[name] = _attribute(words, runs, name, kind)
    columns["colour"] = _colours(words, runs, mixed, columns["plural"])
    _add_predicates(words, runs, columns)
    columns["position"] = attach_positions(words, runs.low, runs.head, _placed(columns))
    columns["gender"] = _genders(words, runs)
    keep = _are_subjects(columns["key"], columns["lang"])
    table = pa.table([pa.array(columns[f.name], f.type) for f in PHRASES], schema=PHRASES)
    return table.filter(pa.array(keep))


_ATTRIBUTES = {
    "colour": Kind.COLOUR,
    "size": Kind.SIZE,
    "texture": Kind.TEXTURE,
    "mood": Kind.MOOD,
}


def _shift(values: NDArray, by: int) -> NDArray:
    """Values moved by `by` words, False or 0 where nothing moves in."""
    out = np.zeros_like(values)
    if by > 0:
        out[by:] = values[:-by]
    else:
        out[:by] = values[-by:]
    return out


def _same_text(words: Words, step: int) -> NDArray[np.bool_]:
    """Whether the word `step` further belongs to the same text."""
    out = np.zeros(len(words), bool)
    if step > 0:
        out[:-step] = words.text[:-step] == words.text[step:]
    else:
        out[-step:] = words.text[-step:] == words.text[:step]
    return out


def _premodifiers(words: Words) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(words that may stand before a noun, the "and" and commas between two colours)."""
    colour = words.has(Kind.COLOUR)
    comma = np.array([name in {",", "/"} for name in words.names], bool)[words.code]
    between = (words.has(Kind.CONJUNCTION) | comma) & _shift(colour, 1) & _shift(colour, -1)
    mixed = between & _same_text(words, -1) & _same_text(words, 1)
    return words.has(PREMODIFIER) | mixed, mixed


def _find_runs(words: Words, inside: NDArray[np.bool_], evidence: NounEvidence) -> _Runs:
    index = np.arange(len(words))
    candidate = candidate_nouns(words) & ~inside
    noun = evidence.noun[words.code]
    english = (words.langs == "en")[words.code]
    follows = _shift(candidate, 1) & _same_text(words, -1)
    goes_on = candidate & follows & noun & english
    before = _shift(np.maximum.accumulate(np.where(~inside, index, -1)), 1)
    before[:1] = -1
    low = np.maximum(before + 1, words.starts[:-1][words.text])
    article = words.has(Kind.INDEFINITE | Kind.DEFINITE)
    last_article = _shift(np.maximum.accumulate(np.where(article, index, -1)), 1)
    low = np.minimum(np.maximum(low, np.where(last_article < index, last_article, -1)), index)
    start = np.flatnonzero(candidate & ~goes_on & ((low < index) | noun))
    breaks = np.append(np.where(goes_on, len(words), index), len(words))
    next_break = np.minimum.accumulate(breaks[::-1])[::-1]
    return _Runs(low[start], start, next_break[start + 1] - 1)


def _bounded(words: Words, runs: _Runs, evidence: NounEvidence) -> NDArray[np.bool_]:
    """Whether each phrase surely ends at its head: "a fluffy dog" is not about a "fluffy"."""
    head = runs.head
    follows = np.minimum(head + 1, len(words) - 1)
    end = (head + 1 >= len(words)) | (words.text[follows] != words.text[head])
    code = words.code[follows]
    closed = (words.kinds[code] & int(CLOSED | Kind.PUNCTUATION)) != 0
    verbal = np.array([n.endswith(("ing", "ed")) for n in words.names], bool)[code]
    german = (words.langs == "de")[code]
    # "a dog retrieves": after "a" the last word of a compound is no plural, so this is a verb
    third_person = (_last(words.has(Kind.INDEFINITE), runs) >= 0) & words.plurals[code]
    sure = evidence.other[code] | (verbal & ~evidence.noun[code]) | third_person
    return end | closed | sure | german


def _last(flag: NDArray[np.bool_], runs: _Runs) -> NDArray[np.int64]:
    """Index of the last premodifier of each phrase that has the flag, -1 if none."""
    found = np.maximum.accumulate(np.where(flag, np.arange(len(flag)), -1))
    at = np.where(runs.start > runs.low, found[np.maximum(runs.start - 1, 0)], -1)
    return np.where(at >= runs.low, at, -1)


def _number_of(flag: NDArray[np.bool_], runs: _Runs) -> NDArray[np.int64]:
    total = np.concatenate([[0], np.cumsum(flag)])
    return total[runs.start] - total[runs.low]


def _value(words: Words, name: str, at: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.where(at >= 0, words.values[name][words.code[np.maximum(at, 0)]], "").astype(object)


def _attribute(words: Words, runs: _Runs, name: str, kind: Kind) -> NDArray[np.object_]:
    flag = words.has(kind)
    value = _value(words, name, _last(flag, runs))
    value[_number_of(flag, runs) > 1] = None
    return value


def _colours(
    words: Words, runs: _Runs, mixed: NDArray[np.bool_], plural: NDArray[np.bool_]
) -> NDArray[np.object_]:
    """One colour, or "black and white" of one thing; of several things two colours are unclear."""
    flag = words.has(Kind.COLOUR)
    number, last = _number_of(flag, runs), _last(flag, runs)
    one = _value(words, "colour", last)
    first = _value(words, "colour", np.where(number == 2, last - 2, -1))
    joined = (number == 2) & (_number_of(mixed, runs) == 1) & ~plural
    two = first + np.where(joined, " and ", "").astype(object) + one
    return np.where(number <= 1, one, np.where(joined, two, None))


def _counts(words: Words, runs: _Runs) -> NDArray[np.int64]:
    """How many are said to be there: a number, one for "a", -1 for "some", "the", "a group of"."""
    number = _value(words, "number", _last(words.has(Kind.NUMBER), runs))
    said = np.where(number == "", "-1", number).astype(np.int64)
    plural = words.plurals[words.code[runs.head]]
    article = (_last(words.has(Kind.INDEFINITE), runs) >= 0) & ~plural
    vague = _number_of(words.has(Kind.QUANTIFIER), runs) > 0
    follows = np.minimum(runs.head + 1, len(words) - 1)
    partitive = words.has(Kind.PARTITIVE)[follows] & (words.text[follows] == words.text[runs.head])
    english = (words.langs == "en")[words.code[runs.head]]
    count = np.where(said > 0, said, np.where(article, 1, -1))
    return np.where(vague | (partitive & english), -1, count)


def _keys(words: Words, runs: _Runs, evidence: NounEvidence) -> NDArray[np.object_]:
    """Canonical noun of each phrase; of a compound the last two words where both are nouns."""
    head = words.keys[words.code[runs.head]]
    before = words.code[np.maximum(runs.head - 1, 0)]
    compound = (runs.head > runs.start) & evidence.noun[before] & ~words.plurals[before]
    joined = words.names[before] + np.full(len(head), " ", object) + head
    return np.where(compound, joined, head)


def _add_predicates(words: Words, runs: _Runs, columns: dict[str, NDArray]) -> None:
    """Read "the circle is red", "the face looks very happy", "a star with stripes" into columns."""
    size, text = len(words), words.text
    padded = np.append(words.code, -1)

    def at(step: int) -> NDArray[np.int64]:
        """Word index `step` after the head, `size` outside the text."""
        index = np.minimum(runs.head + step, size - 1)
        inside = (runs.head + step < size) & (text[index] == text[runs.head])
        return np.where(inside, index, size)

    def has(index: NDArray[np.int64], kind: Kind) -> NDArray[np.bool_]:
        bits = np.where(index < size, words.kinds[padded[index]], 0)
        return (bits & int(kind)) != 0

    be, step = has(at(1), Kind.BE), at(2)
    step = np.where(has(step, Kind.OTHER), at(3), step)  # "is very red"
    after = np.minimum(step + 1, size)
    same = (after < size) & (text[np.minimum(after, size - 1)] == text[runs.head])
    noun_next = same & (
        candidate_nouns(words)[np.minimum(after, size - 1)] | has(after, PREMODIFIER)
    )
    english = columns["lang"] == "en"
    for name, kind in _ATTRIBUTES.items():
        said = be & has(step, kind) & ~(noun_next & english)
        value = words.values[name][padded[step]]
        columns[name] = np.where(said & (columns[name] == ""), value, columns[name])
    pattern = has(at(1), Kind.HOLDER) & has(at(2), Kind.TEXTURE_NOUN)
    value = words.values["texture"][padded[at(2)]]
    columns["texture"] = np.where(pattern & (columns["texture"] == ""), value, columns["texture"])


def find_genders(words: Words) -> pa.Table:
    """`key`, `gender` of every German noun whose article shows its gender, one row per use."""
    empty = pa.table({"key": pa.array([], pa.string()), "gender": pa.array([], pa.string())})
    if not len(words):
        return empty
    inside, _ = _premodifiers(words)
    none = np.zeros(len(words.names), bool)
    runs = _find_runs(words, inside, NounEvidence(none, none))
    gender = _genders(words, runs)
    shown = gender != ""
    key = words.keys[words.code[runs.head]]
    columns = [pa.array(key[shown], pa.string()), pa.array(gender[shown], pa.string())]
    return pa.table(columns, schema=empty.schema)


def _genders(words: Words, runs: _Runs) -> NDArray[np.object_]:
    """m, f or n where a German article and adjective show it beyond doubt."""
    names = words.names[words.code]
    first, last = names[runs.low], names[np.maximum(runs.start - 1, 0)]
    ending = np.array([name[-2:] for name in last] or [], object)
    german = (words.langs == "de")[words.code[runs.head]] & (runs.start > runs.low)
    german &= ~words.plurals[words.code[runs.head]]
    out = np.full(len(first), "", object)
    out[german & np.isin(first, ["eine", "keine"])] = "f"
    out[german & (np.isin(first, ["einen", "keinen"]) | ((first == "ein") & (ending == "er")))] = (
        "m"
    )
    out[german & ((first == "das") | ((first == "ein") & (ending == "es")))] = "n"
    return out


def _placed(columns: dict[str, NDArray]) -> NDArray[np.bool_]:
    """Phrases that a place can be said of."""
    everywhere = np.isin(columns["key"].astype(object), list(_EVERYWHERE))
    return ~everywhere & _are_subjects(columns["key"], columns["lang"])


_EVERYWHERE = frozenset({"background", "foreground", "ground", "sky"})


def _are_subjects(keys: NDArray[np.object_], langs: NDArray[np.object_]) -> NDArray[np.bool_]:
    """`_is_subject` of each key; equal ones are looked at once."""
    joined = pc.binary_join_element_wise(
        pa.array(keys, pa.string()), pa.array(langs, pa.string()), "\t"
    )
    coded = pc.dictionary_encode(joined)
    pairs = (name.rpartition("\t") for name in coded.dictionary.to_pylist())
    table = np.array([_is_subject(key, lang) for key, _, lang in pairs], bool)
    return table[coded.indices.to_numpy(zero_copy_only=False)] if len(table) else np.zeros(0, bool)


def _is_subject(key: str, lang: str) -> bool:
    """Whether a question could be about it: not "picture", "side", "lot"."""
    if not key or lang not in LANGUAGES:
        return False
    last = key.rpartition(" ")[2].removeprefix("de:")
    lists = lexicon(lang).not_subjects
    return last not in lists and canonical_noun(last, "en") not in lexicon("en").not_subjects


def is_person(key: str) -> bool:
    """Whether a key names people."""
    return groups().get(key.rpartition(" ")[2]) == "person"
