"""Feelings of short texts: negation, contrast, intensity, emoji, two languages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmcore.weak.sentiment import feel
from mmcore.weak.words import detect_languages

POSITIVE = [
    "I love this one",
    "not bad at all",
    "Never seen anything so lovely.",
    "could not be more beautiful",
    "I cannot stop smiling",
    "It was boring at first, but now I love it",
    "kein bisschen langweilig, einfach schön",
    "Selten war etwas so herrlich",
    "gar nicht traurig, im Gegenteil",
    "test 😀",
    "nice :-)",
    "J'adore 😍",
]
NEGATIVE = [
    "what a sad picture",
    "not good",
    "not so good",
    "far from perfect",
    "I do not like this mood",
    "It used to be lovely, now it is just awful",
    "cannot look at it without tears",
    "Mir gefällt die Stimmung nicht",
    "überhaupt nicht schön 😞",
    "alles andere als gelungen",
    "hm :(",
]
NEUTRAL = ["neither happy nor sad", "not bad, not good", "Ganz okay, nichts Besonderes.", "meh"]
NOTHING = ["First!", "Which camera was this?", "a tree like this", "", "Der Link geht", "+1"]


def labels(*texts: str | None) -> list[str]:
    array = pa.array(texts, pa.string())
    return feel(array, detect_languages(array, pa.nulls(len(texts), pa.string()))).label.tolist()


@pytest.mark.parametrize(
    ("texts", "label"),
    [(POSITIVE, "positive"), (NEGATIVE, "negative"), (NEUTRAL, "neutral"), (NOTHING, "")],
)
def test_texts_feel_what_a_reader_would_say(texts: list[str], label: str) -> None:
    found = dict(zip(texts, labels(*texts), strict=True))
    assert {text: feeling for text, feeling in found.items() if feeling != label} == {}


def test_each_text_is_read_on_its_own() -> None:
    texts = [*POSITIVE, *NEGATIVE, None, *NEUTRAL]
    together = labels(*texts)
    assert together == [labels(text)[0] for text in texts]


def test_louder_words_are_stronger() -> None:
    found = feel(pa.array(["good", "absolutely wonderful"]), np.array(["en", "en"], object))
    assert found.strength[1] > found.strength[0]
