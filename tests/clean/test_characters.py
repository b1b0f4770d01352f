"""Counts over whole columns are those that one would make text by text."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter

import pyarrow as pa
import pytest

from mmcore.clean import text

ALPHABET = "abcdeAB  ..12éÉßΣσαжЖ猫がा\u0301٣Ⅷ½🙂\u2003-_"
WORDS = ["red", "Red", "kite", "KITE", "blue", "über", "猫", "a1", "x", "in", "square", "½"]


def _random_texts(seed: int, number: int) -> list[str]:
    draw = random.Random(seed)
    noise = ["".join(draw.choices(ALPHABET, k=draw.randint(0, 40))) for _ in range(number)]
    phrases = [" ".join(draw.choices(WORDS, k=draw.randint(1, 25))) for _ in range(number)]
    return ["", *noise, "aaaa", "", *phrases, "zzz"]


def _runs_of(words: str) -> list[str]:
    """Runs of letters, marks and numbers in small letters, one character at a time."""
    inside = [unicodedata.category(c)[0] in "LMN" for c in words]
    spaced = "".join(c if i else " " for c, i in zip(words, inside, strict=True))
    small = "".join(c.lower() if len(c.lower()) == 1 else c for c in spaced)
    return small.split(" ")


def _expected(words: str) -> dict[str, float]:
    visible = [c for c in words if not c.isspace()]
    kinds = Counter(unicodedata.category(c) for c in visible)
    letters = sum(n for kind, n in kinds.items() if kind[0] in "LM")
    runs = [run for run in _runs_of(words) if run]
    triples = list(zip(runs, runs[1:], runs[2:], strict=False)) if len(runs) >= 8 else []
    long = [run for run in runs if len(run) >= 4]
    longest = max((len(list(g)) for g in _equal_runs(words)), default=0)
    return {
        "chars": len(words),
        "bytes": len(words.encode()),
        "words": sum(any(unicodedata.category(c)[0] in "LMN" for c in w) for w in words.split()),
        "letter_share": letters / max(len(visible), 1),
        "digit_share": kinds["Nd"] / max(len(visible), 1),
        "capital_share": kinds["Lu"] / max(letters, 1),
        "repetition": 1 - len(set(triples)) / len(triples) if triples else 0,
        "word_share": max(Counter(long).values()) / len(long) if len(long) >= 6 else 0,
        "word_repetition": 1 - len(set(runs)) / len(runs) if runs else 0,
        "longest_run": longest,
    }


def _equal_runs(words: str) -> list[str]:
    runs: list[str] = []
    for c in words:
        runs = [*runs[:-1], runs[-1] + c] if runs and runs[-1][0] == c else [*runs, c]
    return runs


@pytest.mark.parametrize("seed", range(3))
def test_attributes_are_those_of_a_plain_loop(seed: int) -> None:
    texts = _random_texts(seed, 300)
    measured = text.measure(pa.array(texts)).drop_columns(["file_name", "boilerplate"]).to_pylist()
    for words, row in zip(texts, measured, strict=True):
        assert row == pytest.approx(_expected(words), abs=1e-6), words


def test_batches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array(_random_texts(5, 200))
    whole = text.measure(texts)
    monkeypatch.setattr(text, "_TEXTS_PER_BATCH", 7)
    monkeypatch.setattr(text, "_BYTES_PER_BATCH", 100)
    assert text.measure(texts).equals(whole)


def test_no_texts_give_no_rows() -> None:
    assert text.measure(pa.array([], pa.string())).num_rows == 0


def test_placeholders_are_no_words() -> None:
    row = text.measure(pa.array(["Call <PHONE> or <EMAIL>"])).to_pylist()[0]
    assert (row["words"], row["chars"], row["capital_share"]) == (2, 23, pytest.approx(1 / 6))
