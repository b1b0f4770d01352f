"""Comparing short answers the way VQA v2 does: spelling differences do not count, words do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())} | {"none": "0"}
# Typed without the apostrophe; "were", "well", "its" and their like are words of their own.
_CONTRACTED = (
    "aren't can't couldn't couldn't've didn't doesn't don't hadn't hasn't haven't he'd isn't it'd "
    "mightn't might've mustn't must've shouldn't should've that's there's they'd they're they've "
    "wasn't we've weren't what's where's who's won't wouldn't would've y'all you'd you'll you're "
    "you've"
)
_CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'"})
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w\s.'’:+%°$€£-]|_")
_AGREEING_ANNOTATORS = 3


def normalize_answer(answer: str) -> str:
    """An answer in the form that is compared: case, articles, punctuation, number words folded.

    The rules are those of the VQA v2 evaluation (Goyal et al. 2017): lower case, commas inside
    numbers and full stops that are no decimal points removed, other punctuation made a space,
    number words to digits, articles dropped, contractions spelt one way. Unicode is NFKC first.
    """
    text = unicodedata.normalize("NFKC", answer).translate(_APOSTROPHES).casefold()
    text = _COMMA_IN_NUMBER.sub("", text)
    text = _PERIOD.sub("", text)
    text = _PUNCTUATION.sub(" ", text)
    words = (word.rstrip("'-:").lstrip("':") or word for word in text.split())
    folded = (_NUMBERS.get(word, word) for word in words if word not in _ARTICLES)
    kept = " ".join(_CONTRACTIONS.get(word, word) for word in folded)
    return kept or " ".join(answer.casefold().split())


def vqa_accuracy(
    predicted: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Accuracy of each answer, float64 [N] in 0..1.

    An answer counts fully when three annotators gave it, or all of them where there are fewer
    than three; each annotator who gave it adds an equal share up to that.
    """
    scores = np.zeros(len(predicted))
    for index, (answer, given) in enumerate(zip(predicted, references, strict=True)):
        normal = normalize_answer(answer)
        agreeing = sum(normalize_answer(reference) == normal for reference in given)
        scores[index] = min(1.0, agreeing / max(1, min(_AGREEING_ANNOTATORS, len(given))))
    return scores


def question_group(question: str, given: str | None) -> str:
    """The type a question is reported under: the given one, else its first word or two."""
    if given:
        return given
    words = normalize_answer(question).split()
    if not words:
        return "other"
    return " ".join(words[:2]) if words[0] == "how" else words[0]
