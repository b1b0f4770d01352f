"""What a text feels: a lexicon of words, emoji and emoticons with negation, contrast and intensity.

Rule-based in the manner of VADER (Hutto & Gilbert 2014), vectorised over flattened words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import LANGUAGES, load_json
from mmcore.weak.words import split_words

LABELS = ("negative", "neutral", "positive")
_WINDOW = 5
_THRESHOLD = 0.3
_NEGATED, _STRONGLY_NEGATED = -0.6, -1.0
_INTENSIFIED, _AFTER_CONTRAST, _BEFORE_CONTRAST, _FORMERLY = 1.4, 1.3, 0.5, 0.2
# phrases become one private-use letter each, so that the rest need only look at single words
_PHRASES = {"1": "\ue001", "-1": "\ue002"}
_INDIFFERENT, _OPPOSITE, _STRENGTHENER = "\ue003", "\ue004", "\ue005"
_EMOTICONS = {"1": "\ue006", "-1": "\ue007", "0": "\ue003"}
_FLAGS = (
    *("negators", "exclusive_negators", "superlative_negators", "superlative_markers", "keepers"),
    *("intensifiers", "like", "like_after", "contrast", "former"),
)
_CLAUSE_ENDS = frozenset(".,;:!?()–—…")


@dataclass(frozen=True)
class Feeling:
    """Per text: `score` in [-1, 1]; `strength`, how much is said; `said`, whether anything is."""

    score: NDArray[np.float64]
    strength: NDArray[np.float64]
    said: NDArray[np.bool_]

    @property
    def label(self) -> NDArray[np.object_]:
        """negative, neutral, positive, or "" where nothing is said."""
        index = 1 + (self.score > _THRESHOLD).astype(int) - (self.score < -_THRESHOLD).astype(int)
        return np.where(self.said, np.array(LABELS, object)[index], "").astype(object)


@dataclass(frozen=True)
class _Lists:
    valence: dict[str, float]
    flags: dict[str, frozenset[str]]
    phrases: tuple[tuple[str, str], ...]


def feel(texts: pa.Array, langs: NDArray[np.object_]) -> Feeling:
    """The feeling of texts (string [n], null reads as "") in languages (object [n], "" unknown).

    A text of unknown language is read in each and the one that says most counts, so that emoji
    and emoticons speak in any language.
    """
    score, strength = np.zeros(len(texts)), np.full(len(texts), -1.0)
    said = np.zeros(len(texts), bool)
    for lang in LANGUAGES:
        rows = np.flatnonzero((langs == lang) | ~np.isin(langs, LANGUAGES))
        found = _feel_in(texts.take(pa.array(rows)), lang)
        more = found.strength > strength[rows]
        better = rows[more]
        score[better], strength[better] = found.score[more], found.strength[more]
        said[better] = found.said[more]
    return Feeling(score, np.maximum(strength, 0.0), said)


@lru_cache(maxsize=len(LANGUAGES))
def _lists(lang: str) -> _Lists:
    raw, symbols = load_json(f"sentiment.{lang}.json"), load_json("sentiment.symbols.json")
    valence = {w: float(v) for v, listed in raw["words"].items() for w in listed.split()}
    for value, emoji in symbols["emoji"].items():
        valence |= {character: float(value) for character in emoji}
    valence |= {token: float(v) for v, token in (*_PHRASES.items(), *_EMOTICONS.items())}
    valence |= {word: 1.0 for word in raw["like"].split()}
    flags = {name: frozenset(raw[name].split()) for name in _FLAGS}
    emoji = {c for characters in symbols["emoji"].values() for c in characters}
    flags["symbols"] = frozenset(emoji | set(_EMOTICONS.values()))
    flags["indifferent"] = frozenset({_INDIFFERENT, *symbols["emoji"]["0"]})
    return _Lists(valence, flags, _phrase_rules(raw, symbols))


def _phrase_rules(raw: dict, symbols: dict) -> tuple[tuple[str, str], ...]:
    """(regular expression, replacement) that turn phrases and emoticons into single tokens."""
    rules = []
    for value, listed in symbols["emoticons"].items():
        longest = sorted(listed, key=lambda text: (-len(text), text))
        either = "|".join(re.escape(text.lower()) for text in longest)
        rules.append(
            (rf"(^|[\s\p{{L}}.!?])(?:{either})(\s|$|[.,!?])", rf"\1 {_EMOTICONS[value]} \2")
        )
    listed = [(token, raw["phrases"][value]) for value, token in _PHRASES.items()]
    listed += [(_INDIFFERENT, raw["indifferent"]), (_OPPOSITE, raw["opposite"])]
    listed += [(_STRENGTHENER, raw["strengtheners"])]
    for token, phrases in listed:
        longest = sorted(phrases, key=lambda text: (-len(text), text))
        either = "|".join(re.escape(text) for text in longest)
        rules.append((rf"(^|[^\p{{L}}])(?:{either})($|[^\p{{L}}])", rf"\1 {token} \2"))
    return tuple(rules)


def _feel_in(texts: pa.Array, lang: str) -> Feeling:
    lists = _lists(lang)
    texts = pc.replace_substring(pc.utf8_lower(pc.fill_null(texts, "")), "’", "'")
    for pattern, replacement in lists.phrases:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    text, words = split_words(texts)
    encoded = pc.dictionary_encode(words)
    names = encoded.dictionary.to_pylist()
    code = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    tokens = _Tokens(text, code, names, lists)
    valence = tokens.weighted_valence()
    indifferent = tokens.flag("indifferent") | tokens.excluded
    return _sum_up(text, valence, indifferent, tokens.listed, len(texts))


def _sum_up(
    text: NDArray, valence: NDArray, indifferent: NDArray, listed: NDArray, number: int
) -> Feeling:
    def total(weights: NDArray) -> NDArray[np.float64]:
        return np.bincount(text, weights=weights, minlength=number).astype(np.float64)

    strength = total(np.abs(valence)) + total(indifferent)
    score = total(valence) / np.maximum(strength, 1e-9)
    return Feeling(np.round(score, 6), np.round(strength, 6), total(listed | indifferent) > 0)


class _Tokens:
    """The words of some texts with what the lists say of them; arrays have one entry per word."""

    def __init__(self, text: NDArray, code: NDArray, names: list[str], lists: _Lists) -> None:
        self.text, self._code, self._names, self._lists = text, code, names, lists
        values = np.array([lists.valence.get(name, 0.0) for name in names])
        self.valence = values[code] if len(code) else np.zeros(0)
        self._drop_unfelt_like()
        self.listed = self.valence != 0
        self.clause = self._clauses()
        self.excluded = self.listed & (self._count_before(self.flag("exclusive_negators")) > 0)

    def flag(self, name: str) -> NDArray[np.bool_]:
        known = self._lists.flags[name]
        return self._named(known)

    def _named(self, known: frozenset[str]) -> NDArray[np.bool_]:
        table = np.array([name in known for name in self._names], bool)
        return table[self._code] if len(self._code) else np.zeros(0, bool)

    def _moved(self, flag: NDArray[np.bool_], by: int, within: NDArray) -> NDArray[np.bool_]:
        """The flag of the word `by` earlier (later if negative) where it is in the same unit."""
        out = np.zeros_like(flag)
        if by > 0:
            out[by:] = flag[:-by] & (within[by:] == within[:-by])
        elif by < 0:
            out[:by] = flag[-by:] & (within[:by] == within[-by:])
        return out

    def _count_before(self, flag: NDArray[np.bool_]) -> NDArray[np.int64]:
        moved = (self._moved(flag, by, self.clause) for by in range(1, _WINDOW + 1))
        return sum((m.astype(np.int64) for m in moved), np.zeros(len(flag), np.int64))

    def _clauses(self) -> NDArray[np.int64]:
        ends = self._named(_CLAUSE_ENDS) | self.flag("contrast")
        new_text = np.append(False, self.text[1:] != self.text[:-1])[: len(self.text)]
        return np.cumsum(ends | new_text)

    def _drop_unfelt_like(self) -> None:
        """ "I like it" is a feeling, "a tree like this" is none."""
        felt = self._moved(self.flag("like_after"), 1, self.text)
        felt |= self._moved(self.flag("like_after"), -1, self.text)
        self.valence = np.where(self.flag("like") & ~felt, 0.0, self.valence)

    def weighted_valence(self) -> NDArray[np.float64]:
        """Valence after negation, intensity, contrast and past; 0 for "neither happy nor sad"."""
        value = self.valence * np.where(
            self._moved(self.flag("intensifiers"), 1, self.text), _INTENSIFIED, 1
        )
        value = value * self._negation()
        value = np.where(self.excluded, 0.0, value)
        return value * self._contrast()

    def _negation(self) -> NDArray[np.float64]:
        negator = self.flag("negators")
        keeper_next = self._moved(self.flag("keepers"), -1, self.text)
        negator &= ~keeper_next  # "cannot stop smiling", "not only good"
        opposite = self._named(frozenset({_OPPOSITE}))
        number = self._count_before(negator | opposite)
        number -= self._superlatives(negator)
        number += self._like_negated_later(negator)
        strong = self._in_text(self._named(frozenset({_STRENGTHENER})))
        strong |= self._count_before(opposite) > 0
        number = np.where(self.flag("symbols"), 0, number)  # nobody negates a smiley
        factor = np.where(strong, _STRONGLY_NEGATED, _NEGATED)
        return np.where(number % 2 == 1, factor, 1.0)

    def _superlatives(self, negator: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Negators that praise: "never seen anything so lovely", "could not be more lovely"."""
        marked = self._moved(self.flag("superlative_markers"), 1, self.clause)
        praising = negator & self.flag("superlative_negators")
        far = sum(
            (
                self._moved(praising, by, self.clause).astype(np.int64)
                for by in range(3, _WINDOW + 1)
            ),
            np.zeros(len(negator), np.int64),
        )
        return np.where(marked, far, 0)

    def _like_negated_later(self, negator: NDArray[np.bool_]) -> NDArray[np.int64]:
        """ "gefällt mir nicht": the negator of a liking may follow it."""
        later = np.zeros(len(negator), bool)
        for by in range(1, _WINDOW + 1):
            later |= self._moved(negator, -by, self.clause)
        return (later & self.flag("like")).astype(np.int64)

    def _contrast(self) -> NDArray[np.float64]:
        """What follows "but" or "now" counts more; what was so formerly hardly counts."""
        contrast = self.flag("contrast")
        follows = self._seen(contrast)
        some = self._in_text(contrast)
        factor = np.where(some, np.where(follows, _AFTER_CONTRAST, _BEFORE_CONTRAST), 1.0)
        former = self._in_unit(self.flag("former"), self.clause)
        return np.where(former & some & ~follows, _FORMERLY, factor)

    def _seen(self, flag: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the flag stands at or before each word of its text."""
        index = np.arange(len(flag))
        last = np.maximum.accumulate(np.where(flag, index, -1)) if len(flag) else index
        starts = np.searchsorted(self.text, self.text, side="left")
        return last >= starts

    def _in_text(self, flag: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return self._in_unit(flag, self.text)

    def _in_unit(self, flag: NDArray[np.bool_], unit: NDArray) -> NDArray[np.bool_]:
        if not len(flag):
            return flag
        return (np.bincount(unit, weights=flag, minlength=1) > 0)[unit]
