"""How each language names things in questions: articles, plurals, verb forms, and the templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import Noun, english_nouns, lexicon, load_json, plural

_SLOT = re.compile(r"\{(\w+)\}")
_VOWEL_SOUND = re.compile(r"(?!uni|eu|one|use)[aeiou]|hour|honest")


@dataclass(frozen=True)
class Name:
    """A noun ready for templates; a field is "" where the language cannot say it."""

    one: str = ""
    many: str = ""
    gender: str = ""
    countable: bool = True


@lru_cache(maxsize=8)
def questions(lang: str) -> dict[str, Any]:
    """Templates, places and answers of a language."""
    return load_json(f"questions.{lang}.json")


def name_of(key: str, lang: str, genders: dict[str, str]) -> Name:
    """How a language says a key; an empty `Name` where it has no word for it.

    genders: gender of German nouns the bilingual list lacks, learnt from the corpus.
    """
    if lang == "en":
        return _english(key)
    word = key.removeprefix("de:")
    if word != key:
        gender = genders.get(key, "")
        return Name(word.capitalize(), "", gender) if gender else Name()
    noun = english_nouns().get(key)
    return _german(noun) if noun else Name()


def _english(key: str) -> Name:
    if ":" in key:
        return Name()
    countable = key.rpartition(" ")[2] not in lexicon("en").plural_only
    return Name(key, plural(key), countable=countable)


def _german(noun: Noun) -> Name:
    return Name(noun.german, noun.german_plural, noun.gender)


_THE = {"m": "der", "f": "die", "n": "das"}
_ACCUSATIVE = {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")}
_NOMINATIVE = {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")}


def slots(name: Name, lang: str, many: bool, value: str) -> dict[str, str] | None:
    """The words that fill a template for one thing; None where the language lacks one.

    many: whether there are several of it; value: an attribute in the language, "" for none, put
    before the noun in `a` and `a_nominative`.
    """
    shown = name.many if many else name.one
    if not shown:
        return None
    if lang == "en":
        first = f"{value} {name.one}" if value else name.one
        article = "an" if _VOWEL_SOUND.match(first) else "a"
        verbs = ("are", "do") if many else ("is", "does")
        out = {"a": f"{article} {first}", "be": verbs[0], "do": verbs[1]}
    else:
        if not name.gender:
            return None
        accusative = _with_article(_ACCUSATIVE, name, value)
        out = {"a": accusative, "a_nominative": _with_article(_NOMINATIVE, name, value)}
        out |= (
            {"be": "sind", "have": "haben", "the": "die"}
            if many
            else {
                "be": "ist",
                "have": "hat",
                "the": _THE[name.gender],
            }
        )
    return out | {"name": shown, "many": name.many, "value": value}


def _with_article(forms: dict[str, tuple[str, str]], name: Name, value: str) -> str:
    article, ending = forms[name.gender]
    inflected = value if value in _INVARIANT else value.removesuffix("e") + ending
    return f"{article} {inflected} {name.one}" if value else f"{article} {name.one}"


_INVARIANT = frozenset({"lila", "rosa"})


def say(attribute: str, value: str, lang: str) -> str:
    """A canonical value as an answer: `colour`, `black and white`, `de` → `schwarz und weiß`."""
    if lang == "en" or attribute == "count":
        return value
    if attribute == "position":
        return questions(lang)["answers"][value]
    joined = [lexicon(lang).surface[attribute].get(v, "") for v in value.split(" and ")]
    return " und ".join(joined) if all(joined) else ""


def render(templates: list[str], columns: dict[str, pa.Array], pick: NDArray[np.int64]) -> pa.Array:
    """Questions: row i is template `pick[i]` filled with row i of the columns; string [n]."""
    pieces, order = [], []
    for number, template in enumerate(templates):
        rows = np.flatnonzero(pick == number)
        parts = _SLOT.split(template)
        filled = [
            columns[part].take(pa.array(rows)) if i % 2 else part for i, part in enumerate(parts)
        ]
        texts = pc.binary_join_element_wise(*filled, "") if len(rows) else None
        if texts is not None:
            pieces.append(texts.cast(pa.string()))
            order.append(rows)
    if not pieces:
        return pa.array([], pa.string())
    return pa.concat_arrays(pieces).take(pa.array(np.argsort(np.concatenate(order))))
