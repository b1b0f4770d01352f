"""Places in the picture ("on the left", "im oberen Teil") and what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcore.weak.lexicon import Kind
from mmcore.weak.words import Words, candidate_nouns


@dataclass(frozen=True)
class Places:
    """Places by word index: words first..last (inclusive) say `value`. In reading order."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    value: NDArray[np.object_]


class _Around:
    """Kind bits of the words around each word, 0 beyond its text."""

    def __init__(self, words: Words) -> None:
        self._kind, self._text = words.kind, words.text

    def has(self, step: int, kind: Kind) -> NDArray[np.bool_]:
        index = np.arange(len(self._kind)) + step
        inside = (index >= 0) & (index < len(self._kind))
        index = np.clip(index, 0, max(len(self._kind) - 1, 0))
        inside &= self._text[index] == self._text
        return inside & ((self._kind[index] & int(kind)) != 0)


def find_places(words: Words) -> Places:
    """Places in the picture that the texts name; "left of the house" and "top left" are none."""
    near = _Around(words)
    position = Kind.POSITION_NOUN | Kind.POSITION_ADVERB
    alone = ~near.has(-1, position) & ~near.has(1, position)
    prepared = near.has(-1, Kind.DEFINITE) & near.has(-2, Kind.POSITION_PREPOSITION)
    noun = near.has(0, Kind.POSITION_NOUN) & prepared
    carried = near.has(0, Kind.POSITION_ADJECTIVE) & near.has(1, Kind.CARRIER)
    carried &= prepared | near.has(-1, Kind.POSITION_PREPOSITION)
    adverb = near.has(0, Kind.POSITION_ADVERB)
    start = np.flatnonzero((noun | carried | adverb) & alone)
    last = start + (near.has(1, Kind.CARRIER) & ~adverb)[start]
    last = last + (near.has(1, Kind.CARRIER)[last] & (last > start))
    first = start - np.where(adverb[start], 0, np.where(prepared[start], 2, 1))
    free = _free(words, near, last, adverb[start])
    value = words.values["position"][words.code[start]]
    return Places(first[free], last[free], value[free])


def _free(
    words: Words, near: _Around, last: NDArray[np.int64], adverb: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether a place is one of the picture, not of a thing: what follows decides."""
    partitive = near.has(1, Kind.PARTITIVE)[last]
    whole = (near.has(2, Kind.WHOLE) | near.has(3, Kind.WHOLE))[last]
    next_noun = np.append(candidate_nouns(words), False)[last + 1]
    same = np.append(words.text, -1)[last + 1] == words.text[last]
    german = (words.langs == "de")[words.code[last]]
    foreign = next_noun & same & ~near.has(1, Kind.WHOLE)[last] & ~german & ~adverb
    return np.where(partitive, whole, ~foreign)


def attach_positions(
    words: Words,
    low: NDArray[np.int64],
    head: NDArray[np.int64],
    placed: NDArray[np.bool_],
) -> NDArray[np.object_]:
    """The place of each phrase (words low..head; `placed`: may have one), "" if none is said.

    Within a sentence, places either follow their phrases or, where a place comes first, precede
    them. A place belongs to a phrase only if that is the one phrase between it and the next place.
    """
    value = np.full(len(head), "", object)
    places = find_places(words)
    rows = np.flatnonzero(placed)
    if not len(places.first) or not len(rows):
        return value
    ends = head[rows]
    sentence = _sentences(words)
    bounds = _Bounds(places, sentence)
    before = np.searchsorted(ends, bounds.before)
    here = np.searchsorted(ends, places.first)
    after = np.searchsorted(ends, bounds.after)
    sentence_start = np.searchsorted(ends, bounds.sentence_start)
    leads = here == sentence_start  # no phrase stands before the place in its sentence
    leads = leads[bounds.first_of_sentence]
    backward = ~leads & (here - before == 1)
    forward = leads & (after - here == 1)
    value[rows[(here - 1)[backward]]] = places.value[backward]
    value[rows[here[forward]]] = places.value[forward]
    return value


class _Bounds:
    """Word indices between which each place looks for its phrase."""

    def __init__(self, places: Places, sentence: NDArray[np.int64]) -> None:
        own = sentence[places.first]
        starts = np.searchsorted(sentence, own, side="left")
        stops = np.searchsorted(sentence, own, side="right")
        number = len(own)
        same_as_last = np.append(False, own[1:] == own[:-1])
        same_as_next = np.append(own[1:] == own[:-1], False)
        last_end = np.append(0, places.last[:-1] + 1)
        next_first = np.append(places.first[1:], len(sentence))
        self.sentence_start = starts
        self.before = np.where(same_as_last, last_end, starts)
        self.after = np.where(same_as_next, next_first, stops)
        leaders = np.where(~same_as_last, np.arange(number), -1)
        self.first_of_sentence = np.maximum.accumulate(leaders)


def _sentences(words: Words) -> NDArray[np.int64]:
    """A number that grows with every sentence and text: int64 [words]."""
    end = words.has(Kind.CLAUSE_END)
    closed = np.append(False, end[:-1])
    new_text = np.append(False, words.text[1:] != words.text[:-1])
    return np.cumsum(closed | new_text)
