"""Questions and answers from what is known about an image, in templates per language."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.draws import draw, with_text
from mmcore.weak.facts import is_uncountable, split_slots
from mmcore.weak.lexicon import LANGUAGES, groups
from mmcore.weak.negatives import Mentions, Pool, Pools, draw_absent, draw_absent_of
from mmcore.weak.wording import name_of, questions, render, say, slots

QA = pa.schema(
    [
        ("image", pa.int64()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("type", pa.string()),
        ("lang", pa.string()),
        ("confidence", pa.float64()),
        ("source", pa.string()),
    ]
)
_ABSENT_CONFIDENCE = 0.7
_ARTICLE_COUNT_TRUST = 0.8
_PER_TYPE = 6
_CHOICE = frozenset({"plain", "striped", "dotted"})
_YES_PER_IMAGE = 2


@dataclass(frozen=True)
class World:
    """What the corpus knows: nouns and values to ask about in vain, German genders, and the terms
    usual enough to be an answer: one that is right for a single image cannot be learnt.

    colours: of each noun its own.
    """

    nouns: Pool
    colours: Pools
    moods: Pool
    genders: dict[str, str]
    answers: frozenset[str]


@dataclass(frozen=True)
class _Asked:
    """Questions still to be worded; `answer` and `value` (which is asked about) are canonical."""

    image: NDArray[np.int64]
    type: str
    key: NDArray[np.object_]
    many: NDArray[np.bool_]
    attribute: str
    value: NDArray[np.object_]
    answer: NDArray[np.object_]
    confidence: NDArray[np.float64]
    source: NDArray[np.object_]
    lang: NDArray[np.object_]

    def where(self, keep: NDArray[np.bool_]) -> _Asked:
        rows: dict[str, Any] = {
            n: v[keep] for n, v in vars(self).items() if isinstance(v, np.ndarray)
        }
        return replace(self, **rows)


def ask(
    labels: pa.Table,
    hashes: NDArray[np.uint64],
    mentions: Mentions,
    world: World,
    cap: int,
) -> pa.Table:
    """At most `cap` questions per image and language, as `QA`, sorted by image.

    labels: `LABELS` of task `fact`. hashes: uint64 [images]. mentions: what any text of an
    image names: nouns, colours, moods.
    """
    facts = _Facts.read(labels)
    asked = [
        *_attributes(facts),
        *_places(facts, world),
        *_yes_and_no(facts, hashes, mentions, world),
    ]
    tables = [_word(a, lang, hashes, world) for a in asked for lang in LANGUAGES]
    return _capped(pa.concat_tables([QA.empty_table(), *tables]), cap)


@dataclass(frozen=True)
class _Facts:
    """Labels of task `fact` as arrays; `many`: whether the image has several of the key."""

    image: NDArray[np.int64]
    fact: NDArray[np.object_]
    key: NDArray[np.object_]
    value: NDArray[np.object_]
    many: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    source: NDArray[np.object_]
    lang: NDArray[np.object_]

    @classmethod
    def read(cls, labels: pa.Table) -> _Facts:
        fact, key = split_slots(labels["slot"])
        columns = {n: _objects(labels[n]) for n in ("value", "source", "lang")}
        image = labels["image"].to_numpy()
        things = pc.binary_join_element_wise(
            pc.cast(labels["image"], pa.string()), pa.array(key, pa.string()), "|"
        )
        plural = (fact == "plural") & (columns["value"] == "many")
        several = things.filter(pa.array(plural))
        many = pc.is_in(things, several).to_numpy(zero_copy_only=False)
        confidence = labels["confidence"].to_numpy()
        return cls(image=image, fact=fact, key=key, many=many, confidence=confidence, **columns)

    def of(self, fact: str) -> _Facts:
        keep = self.fact == fact
        return _Facts(**{name: values[keep] for name, values in vars(self).items()})

    def asked(self, type: str, attribute: str, answer: NDArray) -> _Asked:
        none = np.full(len(self.image), "", object)
        return _Asked(
            self.image, type, self.key, self.many, attribute, none, answer, self.confidence,
            self.source, self.lang,
        )  # fmt: skip


def _attributes(facts: _Facts) -> list[_Asked]:
    """One question about each thing's colour, number, place, size, texture and mood."""
    types = {
        "colour": "colour",
        "count": "count",
        "position": "where",
        "size": "size",
        "texture": "texture",
        "mood": "mood",
    }
    asked = []
    for fact, type in types.items():
        found = facts.of(fact)
        rows = found.asked(type, fact, found.value)
        if fact == "count":
            trust = np.where(found.value == "1", _ARTICLE_COUNT_TRUST, 1.0)
            rows.confidence[:] = np.round(rows.confidence * trust, 4)
        if fact == "texture":
            choice = np.array([value in _CHOICE for value in found.value], bool)
            asked.append(replace(rows.where(choice), type="texture_choice"))
        asked.append(rows)
    return asked


def _places(facts: _Facts, world: World) -> list[_Asked]:
    """What is on the left, where exactly one kind of thing is said to be."""
    found = facts.of("position")
    spot = np.array([f"{i}|{v}" for i, v in zip(found.image, found.value, strict=True)], object)
    _, inverse, number = np.unique(spot, return_inverse=True, return_counts=True)
    single = number[inverse] == 1 if len(spot) else np.zeros(0, bool)
    single &= np.array([k.rpartition(" ")[2] in world.answers for k in found.key], bool)
    shape = np.array([groups().get(k) == "shape" for k in found.key], bool)
    asked = []
    for type, keep in (("what", single), ("shape", single & shape)):
        rows = found.asked(type, "noun", found.key)
        rows = replace(rows, value=found.value)
        asked.append(rows.where(keep))
    return asked


def _yes_and_no(
    facts: _Facts, hashes: NDArray[np.uint64], mentions: Mentions, world: World
) -> list[_Asked]:
    """Each "yes" has its "no": another noun, the same noun in another colour, another mood."""
    there = facts.of("exists")
    # what is never asked about in vain would always be answered with yes
    countable = np.array([not is_uncountable(key) for key in there.key], bool)
    kept = draw(with_text(hashes[there.image], there.key), "keep")
    countable &= kept < world.nouns.share_kept(there.key)
    there = _few(there, countable, hashes, _YES_PER_IMAGE)
    yes = there.asked("exists", "answer", np.full(len(there.image), "yes", object))
    dice = with_text(hashes[there.image], there.key)
    key = draw_absent(there.image, dice, world.nouns, mentions, "noun")
    asked = [yes, _turned(yes, key=key)]
    colour, mood = facts.of("colour"), facts.of("mood")
    simple = np.array([" " not in v and not is_uncountable(k) for k, v in _pairs(colour)], bool)
    simple &= world.colours.numbers(colour.key) >= 0
    colour, mood = _few(colour, simple, hashes, 1), _few(mood, None, hashes, 1)
    dice = with_text(hashes[colour.image], colour.key)
    other = draw_absent_of(colour.image, dice, colour.key, world.colours, mentions, "colour")
    asked += _both_ways(colour, "exists", "colour", other)
    dice = with_text(hashes[mood.image], mood.key)
    other = draw_absent(mood.image, dice, world.moods, mentions, "mood")
    return asked + _both_ways(mood, "is", "mood", other)


def _both_ways(facts: _Facts, type: str, attribute: str, other: NDArray) -> list[_Asked]:
    """Whether each thing looks as it does, and whether it looks as it does not (`other`)."""
    yes = facts.asked(type, attribute, np.full(len(facts.image), "yes", object))
    yes = replace(yes, value=facts.value)
    return [yes, _turned(yes, value=other)]


def _pairs(facts: _Facts) -> zip:
    return zip(facts.key, facts.value, strict=True)


def _few(
    facts: _Facts, allowed: NDArray[np.bool_] | None, hashes: NDArray[np.uint64], most: int
) -> _Facts:
    """At most `most` of the allowed facts of each image, drawn by hash."""
    keep = np.ones(len(facts.image), bool) if allowed is None else allowed
    chosen = _Facts(**{name: values[keep] for name, values in vars(facts).items()})
    dice = draw(with_text(hashes[chosen.image], chosen.key), "few")
    order = np.lexsort((dice, chosen.image))
    image = chosen.image[order]
    rank = np.arange(len(order)) - np.searchsorted(image, image, side="left")
    rows = order[rank < most]
    return _Facts(**{name: values[rows] for name, values in vars(chosen).items()})


def _turned(rows: _Asked, **changed: NDArray) -> _Asked:
    """The same questions about what is not there."""
    number = len(rows.image)
    out = replace(
        rows,
        **cast(dict[str, Any], changed),
        answer=np.full(number, "no", object),
        confidence=np.minimum(rows.confidence, _ABSENT_CONFIDENCE),
        many=np.zeros(number, bool) if "key" in changed else rows.many,
    )
    [(_, drawn)] = changed.items()
    return out.where(drawn != "")


def _word(asked: _Asked, lang: str, hashes: NDArray[np.uint64], world: World) -> pa.Table:
    """The rows `lang` can say: facts read in it, and in English those of other languages too."""
    asked = asked.where((asked.lang == lang) | (lang == "en"))
    if not len(asked.image):
        return QA.empty_table()
    forms = _Forms(asked, lang, world.genders)
    asked, columns = asked.where(forms.known), forms.columns
    if not len(asked.image):
        return QA.empty_table()
    templates = questions(lang)["templates"][asked.type]
    dice = draw(with_text(hashes[asked.image], asked.key), f"{asked.type}{lang}")
    pick = (dice * len(templates)).astype(np.int64)
    type = asked.type.removesuffix("_choice")
    return pa.table(
        [
            pa.array(asked.image),
            render(templates, columns, pick),
            columns["answer"],
            pa.array([type] * len(asked.image), pa.string()),
            pa.array([lang] * len(asked.image), pa.string()),
            pa.array(asked.confidence),
            pa.array(asked.source, pa.string()),
        ],
        schema=QA,
    )


class _Forms:
    """The template columns of rows; each distinct (key, many, value, answer) is worded once."""

    def __init__(self, asked: _Asked, lang: str, genders: dict[str, str]) -> None:
        rows = list(zip(asked.key, asked.many.tolist(), asked.value, asked.answer, strict=True))
        distinct = {
            entry: _form(asked.type, asked.attribute, lang, genders, *entry)
            for entry in dict.fromkeys(rows)
        }
        self.known = np.array([distinct[row] is not None for row in rows], bool)
        found = [form for row in rows if (form := distinct[row]) is not None]
        names = list(found[0]) if found else []
        self.columns = {n: pa.array([f[n] for f in found], pa.string()) for n in names}


def _form(
    type: str,
    attribute: str,
    lang: str,
    genders: dict[str, str],
    key: str,
    many: bool,
    value: str,
    answer: str,
) -> dict[str, str] | None:
    """Template columns and `answer` of one row, None where the language cannot ask it."""
    name = name_of(key, lang, genders)
    if not name.one:
        return None
    words = questions(lang)
    if attribute == "noun":
        place = words["places"][value]
        shown = name.one.lower()  # "what is on the left?" is answered in the singular
        return {"place": place, "answer": shown}
    said = say(attribute, value, lang) if value else ""
    if value and not said:
        return None
    if type == "exists" and not name.countable:
        return None
    filled = slots(name, lang, many and type != "exists", said)
    if filled is None or (type == "count" and not name.many):
        return None
    spoken = words[answer] if answer in ("yes", "no") else say(attribute, answer, lang)
    return filled | {"answer": spoken} if spoken else None


def _capped(qa: pa.Table, cap: int) -> pa.Table:
    """The questions kept of each image and language: of every type the surest first."""
    qa = qa.group_by(["image", "question", "lang"], use_threads=False).aggregate(
        [(n, "first") for n in ("answer", "type", "confidence", "source")]
    )
    names = [n.removesuffix("_first") for n in qa.column_names]
    qa = qa.rename_columns(names).select(QA.names)
    qa = _with_rank(qa, ["image", "lang", "type"])
    qa = qa.sort_by(
        [
            ("image", "ascending"),
            ("lang", "descending"),
            ("rank", "ascending"),
            ("confidence", "descending"),
            ("question", "ascending"),
        ]
    )
    qa = qa.filter(pc.less(qa["rank"], _PER_TYPE))
    place = _ranks([qa["image"], qa["lang"]])
    return qa.filter(pa.array(place < cap)).drop_columns(["rank"]).cast(QA)


def _with_rank(qa: pa.Table, group: list[str]) -> pa.Table:
    keys = [(name, "ascending") for name in group]
    qa = qa.sort_by([*keys, ("confidence", "descending"), ("question", "ascending")])
    return qa.append_column("rank", pa.array(_ranks([qa[name] for name in group])))


def _ranks(columns: list[pa.ChunkedArray]) -> NDArray[np.int64]:
    """0, 1, 2, … within each run of equal values of sorted columns."""
    number = len(columns[0])
    new = np.zeros(number, bool)
    new[:1] = True
    for column in columns:
        codes = pc.dictionary_encode(column).combine_chunks().indices
        values = codes.to_numpy(zero_copy_only=False)
        new[1:] |= values[1:] != values[:-1]
    starts = np.maximum.accumulate(np.where(new, np.arange(number), 0))
    return np.arange(number) - starts


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.array(column.to_pylist(), object)
