"""The word lists as lookups: what kind of word a word is, per language.

Lists lie in `lexicons/`; adding a language means adding its files and naming it in `LANGUAGES`.
Words are classified once per distinct word, never per occurrence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache
from importlib import resources
from typing import Any

LANGUAGES = ("en", "de")


class Kind(IntFlag):
    """What a word can be; a word may be several."""

    INDEFINITE = 1
    DEFINITE = 2
    NUMBER = 4
    COLOUR = 8
    SIZE = 16
    TEXTURE = 32
    MOOD = 64
    ADJECTIVE = 128
    QUANTIFIER = 256
    CONJUNCTION = 512
    PREPOSITION = 1024
    BE = 2048
    OTHER = 4096
    """Pronouns, adverbs and verbs: never part of a noun phrase."""
    HOLDER = 8192
    TEXTURE_NOUN = 16384
    POSITION_NOUN = 32768
    POSITION_ADJECTIVE = 65536
    POSITION_ADVERB = 131072
    CARRIER = 262144
    POSITION_PREPOSITION = 524288
    WHOLE = 1048576
    PARTITIVE = 2097152
    NOUN = 4194304
    """A noun the bilingual list knows."""
    PUNCTUATION = 8388608
    CLAUSE_END = 16777216


NOTHING = Kind(0)
PREMODIFIER = (
    Kind.INDEFINITE | Kind.DEFINITE | Kind.NUMBER | Kind.COLOUR | Kind.SIZE | Kind.TEXTURE
) | (Kind.MOOD | Kind.ADJECTIVE | Kind.QUANTIFIER)
CLOSED = (
    PREMODIFIER | Kind.CONJUNCTION | Kind.PREPOSITION | Kind.BE | Kind.OTHER | Kind.HOLDER
) | (Kind.POSITION_ADVERB | Kind.POSITION_ADJECTIVE | Kind.PUNCTUATION)

_PLAIN = {
    "indefinite": Kind.INDEFINITE,
    "definite": Kind.DEFINITE,
    "adjectives": Kind.ADJECTIVE,
    "quantifiers": Kind.QUANTIFIER,
    "conjunctions": Kind.CONJUNCTION,
    "prepositions": Kind.PREPOSITION,
    "be": Kind.BE,
    "pronouns": Kind.OTHER,
    "adverbs": Kind.OTHER,
    "verbs": Kind.OTHER,
    "holders": Kind.HOLDER,
    "position_carriers": Kind.CARRIER,
    "position_prepositions": Kind.POSITION_PREPOSITION,
    "position_wholes": Kind.WHOLE,
    "partitives": Kind.PARTITIVE,
}
_VALUED = {
    "colours": (Kind.COLOUR, "colour"),
    "numbers": (Kind.NUMBER, "number"),
    "sizes": (Kind.SIZE, "size"),
    "textures": (Kind.TEXTURE, "texture"),
    "texture_nouns": (Kind.TEXTURE_NOUN, "texture"),
    "moods": (Kind.MOOD, "mood"),
}
_POSITIONS = {
    "noun": Kind.POSITION_NOUN,
    "adjective": Kind.POSITION_ADJECTIVE,
    "adverb": Kind.POSITION_ADVERB,
}
_INFLECTED = ("colours", "sizes", "textures", "moods", "adjectives")
_GERMAN_ENDINGS = ("", "e", "er", "es", "en", "em")
ATTRIBUTES = ("colour", "number", "size", "texture", "mood", "position")


@dataclass(frozen=True)
class Noun:
    """An entry of the bilingual list; German fields are "" where the list has none."""

    english: str
    german: str
    gender: str
    german_plural: str
    group: str


@dataclass
class Word:
    """What is known about one word of one language."""

    kind: Kind = NOTHING
    values: dict[str, str] | None = None


@dataclass(frozen=True)
class Lexicon:
    """All lookups of one language."""

    lang: str
    words: dict[str, Word]
    not_counted: frozenset[str]
    not_subjects: frozenset[str]
    irregular: dict[str, str]
    plural_only: frozenset[str]
    singular_s: frozenset[str]
    surface: dict[str, dict[str, str]]
    """For each attribute, how this language says a canonical (English) value."""


@lru_cache(maxsize=1)
def nouns() -> tuple[Noun, ...]:
    """The bilingual list."""
    return tuple(Noun(*row) for row in load_json("nouns.json")["nouns"])


@lru_cache(maxsize=1)
def groups() -> dict[str, str]:
    """English noun → its group, for the nouns that have one."""
    return {noun.english: noun.group for noun in nouns() if noun.group}


@lru_cache(maxsize=1)
def implied() -> dict[str, list[str]]:
    """Group → groups that are likely there too, though nobody says so: a person has a shirt."""
    return load_json("nouns.json")["implied"]


@lru_cache(maxsize=1)
def german_forms() -> dict[str, tuple[str, bool]]:
    """Lower-case German form → (English noun, whether the form is plural only)."""
    forms: dict[str, tuple[str, bool]] = {}
    for noun in nouns():
        if not noun.german:
            continue
        many = noun.german_plural
        dative = many if not many or many[-1] in "ns" else many + "n"
        for form in (many, dative):
            if form:
                forms.setdefault(form.lower(), (noun.english, True))
        genitives = () if noun.gender == "f" else (noun.german + "s", noun.german + "es")
        for form in (noun.german, *genitives):
            forms[form.lower()] = (noun.english, False)
    return forms


@lru_cache(maxsize=1)
def english_nouns() -> dict[str, Noun]:
    """The bilingual list by its English singular."""
    return {noun.english: noun for noun in nouns()}


@lru_cache(maxsize=len(LANGUAGES))
def lexicon(lang: str) -> Lexicon:
    """The lookups of a language of `LANGUAGES`."""
    raw = load_json(f"words.{lang}.json")
    words: dict[str, Word] = {}
    surface: dict[str, dict[str, str]] = {name: {} for name in ATTRIBUTES}
    for key, kind in _PLAIN.items():
        for form in _forms(raw[key], lang, key):
            _add(words, form, kind)
    for key, (kind, attribute) in _VALUED.items():
        for value, listed in raw[key].items():
            if key != "texture_nouns":
                surface[attribute][value] = listed.split()[0]
            for form in _forms(listed, lang, key):
                _add(words, form, kind, attribute, value)
    for value, by_kind in raw["positions"].items():
        for name, listed in by_kind.items():
            for form in listed.split():
                _add(words, form, _POSITIONS[name], "position", value)
    return Lexicon(
        lang=lang,
        words=words,
        not_counted=frozenset(raw["not_counted"].split()),
        not_subjects=frozenset(raw["not_subjects"].split()),
        irregular=raw["irregular_plurals"],
        plural_only=frozenset(raw["plural_only"].split()),
        singular_s=frozenset(raw["singular_s"].split()),
        surface=surface,
    )


def _forms(listed: str, lang: str, key: str) -> list[str]:
    words = listed.split()
    if lang != "de" or key not in _INFLECTED:
        return words
    stems = [word[:-1] if word.endswith("e") else word for word in words]
    return words + [stem + ending for stem in stems for ending in _GERMAN_ENDINGS[1:]]


def _add(
    words: dict[str, Word], form: str, kind: Kind, attribute: str = "", value: str = ""
) -> None:
    word = words.setdefault(form, Word())
    word.kind |= kind
    if attribute:
        word.values = {**(word.values or {}), attribute: (word.values or {}).get(attribute, value)}


def singular(word: str, lang: str) -> tuple[str, bool]:
    """(dictionary form of a lower-case noun, whether the word is a plural).

    German nouns of the bilingual list give their English entry's German singular; others stay.
    """
    lex = lexicon(lang)
    if lang == "de":
        found = german_forms().get(word)
        return (english_nouns()[found[0]].german.lower(), found[1]) if found else (word, False)
    if word in lex.irregular:
        return lex.irregular[word], lex.irregular[word] != word
    if word in lex.plural_only:
        return word, True
    if word in lex.singular_s or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word, False
    if len(word) < 4:
        return word, False
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y", True
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return word[:-2], True
    return word[:-1], True


def plural(noun: str) -> str:
    """The plural of an English dictionary form."""
    for many, one in lexicon("en").irregular.items():
        if one == noun and many != one + "s":
            return many
    if noun in lexicon("en").plural_only:
        return noun
    head, _, last = noun.rpartition(" ")
    if head:
        return f"{head} {plural(last)}"
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and len(noun) > 1 and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def canonical_noun(word: str, lang: str) -> str:
    """The key of a noun in every language: its English singular, else `de:word` for German."""
    one, _ = singular(word, lang)
    if lang == "en":
        return one
    found = german_forms().get(word)
    return found[0] if found else f"{lang}:{one}"


def load_json(name: str) -> Any:
    """A file of `lexicons/`."""
    folder = resources.files("mmcore.weak").joinpath("lexicons")
    return json.loads(folder.joinpath(name).read_text("utf-8"))
