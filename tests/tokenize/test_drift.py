"""Drift: a night that the vocabulary no longer fits says so, and why; another one does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mmcore.tokenize.drift import (
    DriftRules,
    Fit,
    add_fits,
    drift_report,
    fallback_tokens,
    measure_fit,
)
from mmcore.tokenize.encode import encode_batch, encode_texts
from mmcore.tokenize.statistics import count_documents
from mmcore.tokenize.tokenizer import TokenizerSettings, load_tokenizer, train_tokenizer

ENGLISH = [
    f"a {c} {s} on the {p}"
    for c in ("red", "blue")
    for s in ("circle", "star", "dog")
    for p in ("left", "right", "table", "grass")
] * 10
GREEK = ["ένας κόκκινος κύκλος στα αριστερά", "δύο μπλε αστέρια", "ένα σκυλί στο γρασίδι"] * 80
RULES = DriftRules(min_texts=100)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(train_tokenizer([ENGLISH], TokenizerSettings(vocab_size=400)))


def fits(tokenizer: Tokenizer, texts: list[str], langs: list[str | None]) -> dict[str, Fit]:
    size = tokenizer.get_vocab_size()
    unseen = count_documents(encode_batch(tokenizer, ENGLISH), size) == 0
    column = pa.array(texts)
    return measure_fit(
        encode_texts(tokenizer, column),
        column,
        pa.array(langs, pa.string()),
        fallback_tokens(tokenizer),
        unseen,
    )


def trained(tokenizer: Tokenizer) -> dict[str, Fit]:
    return fits(tokenizer, ENGLISH, ["en"] * len(ENGLISH))


def test_counts_are_those_of_the_texts_by_language(tokenizer: Tokenizer) -> None:
    found = fits(tokenizer, ["a red dog", "", "ä", "☃"], ["en", "en", None, "el"])
    ids = encode_batch(tokenizer, ["a red dog"]).lengths[0]
    assert found["en"] == Fit(2, 9, int(ids), 0, 0)
    # a space, then two bytes of ä or three of ☃, which the sample has not
    assert found["und"] == Fit(1, 1, 3, 2, 2 + found["und"].unseen - 2)
    assert found["el"].fallback == 3
    assert add_fits([found, found])["en"] == Fit(4, 18, 2 * int(ids), 0, 0)


def test_a_night_like_the_sample_suggests_nothing(tokenizer: Tokenizer) -> None:
    night = fits(tokenizer, ENGLISH[:120], ["en"] * 120)
    report = drift_report(night, trained(tokenizer), RULES)
    assert report["suggest_retraining"] is False and report["because"] == {}
    figures = report["languages"]["en"]
    assert figures["texts"] == 120
    assert figures["tokens_per_character"] == pytest.approx(
        figures["trained_tokens_per_character"], rel=0.05
    )


def test_a_new_language_suggests_retraining(tokenizer: Tokenizer) -> None:
    night = fits(tokenizer, GREEK, ["el"] * len(GREEK))
    report = drift_report(night, trained(tokenizer), RULES)
    assert report["suggest_retraining"] is True
    assert report["because"] == {
        "el": "240 texts of a language that the tokenizer was not trained on"
    }


def test_a_language_that_became_another_says_by_how_much(tokenizer: Tokenizer) -> None:
    night = fits(tokenizer, GREEK, ["en"] * len(GREEK))
    because = drift_report(night, trained(tokenizer), RULES)["because"]["en"]
    for words in ("tokens per character", "bytes or unknown, 0.0% in training", "did not occur"):
        assert words in because


def test_new_words_alone_lengthen_the_texts(tokenizer: Tokenizer) -> None:
    texts = ["photosynthesis quantifies chlorophyll"] * 200
    report = drift_report(fits(tokenizer, texts, ["en"] * 200), trained(tokenizer), RULES)
    assert "tokens per character" in report["because"]["en"]
    loose = RULES.model_copy(update={"max_growth": 10.0, "max_unseen": 1.0})
    night = fits(tokenizer, texts, ["en"] * 200)
    assert drift_report(night, trained(tokenizer), loose)["because"] == {}


def test_a_few_texts_prove_nothing(tokenizer: Tokenizer) -> None:
    night = fits(tokenizer, GREEK[:99], ["el"] * 99)
    assert drift_report(night, trained(tokenizer), RULES)["suggest_retraining"] is False


def test_bytes_and_unknown_tokens_are_told_from_whole_characters(tokenizer: Tokenizer) -> None:
    flags = fallback_tokens(tokenizer)
    names = {token: flags[number] for token, number in tokenizer.get_vocab().items()}
    assert not names["a"] and not names["Ġ"] and not names["[PAD]"] and not names["Ġred"]
    assert names["Ã"] and names["Ģ"]
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(ENGLISH, trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    assert np.flatnonzero(fallback_tokens(words)).tolist() == [words.token_to_id("<unk>")]
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("<0xE2>", -1.0), ("a", -1.0)], 0, True))
    assert fallback_tokens(pieces).tolist() == [True, True, False]
