"""Encoding: the ids are those of the library, text for text, however they are computed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from mmcore.tokenize.encode import (
    Encoded,
    cuts_at_spaces,
    encode_batch,
    encode_texts,
    id_type,
)
from mmcore.tokenize.tokenizer import (
    TokenizerSettings,
    load_tokenizer,
    normalise,
    train_tokenizer,
)
from tests.tokenize.fuzz import random_texts

TEXTS = [
    "A red circle on the left",
    "ein roter Kreis",
    "it's the dogs' I'll",
    "größer 😀",
    "漢字",
] * 5


def tokenizer(**settings: object) -> Tokenizer:
    chosen = TokenizerSettings(vocab_size=400, **settings)
    return load_tokenizer(train_tokenizer([TEXTS], chosen))


def same(a: Encoded, b: Encoded) -> bool:
    return np.array_equal(a.ids, b.ids) and np.array_equal(a.offsets, b.offsets)


@pytest.mark.parametrize("form", ["nfkc", "nfc", "none"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ids_are_those_of_the_library_for_every_text(kind: str, form: str) -> None:
    library = tokenizer(kind=kind, normalization=form)
    assert cuts_at_spaces(library)
    texts = random_texts(4000, seed=5)
    expected = encode_batch(library, texts)
    assert same(encode_texts(library, pa.array(texts)), expected)
    even = [" ".join(text.split()) for text in texts]  # none of these is encoded as a whole
    assert same(encode_texts(library, pa.array(even)), encode_batch(library, even))


@pytest.mark.parametrize("form", ["nfkc", "nfc", "none"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_words_encoded_as_one_long_text_keep_their_own_ids(kind: str, form: str) -> None:
    library = tokenizer(kind=kind, normalization=form, lowercase=form != "nfc")
    words = sorted({word for text in random_texts(8000, seed=6) for word in text.split()})
    grown = [word for word in words if " " in normalise(library, word)]
    plain = [word for word in words if " " not in normalise(library, word)]
    assert len(plain) > 1000 and bool(grown) == (form == "nfkc")
    # lots of words that stay words, then some with words whose normal form has spaces
    mixed = pa.array([*plain, *grown, *plain[:300]])
    assert same(encode_texts(library, mixed), encode_batch(library, mixed.to_pylist()))


def test_few_calls_of_the_library_encode_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "mmcore.tokenize.encode.encode_batch",
        lambda library, texts: asked.append(len(texts)) or encode_batch(library, texts),
    )
    words = pa.array([f"漢字{number}" for number in range(1000)])
    assert len(encode_texts(tokenizer(), words).lengths) == 1000
    assert sum(asked) <= 10


def test_a_tokenizer_with_tokens_found_anywhere_gets_whole_texts() -> None:
    library = tokenizer()
    library.add_tokens(["d c"])
    texts = ["a red circle", "red", "a red", "d c"]
    assert not cuts_at_spaces(library)
    assert same(encode_texts(library, pa.array(texts)), encode_batch(library, texts))


def test_no_text_and_empty_texts_have_no_ids() -> None:
    library = tokenizer()
    for texts in ([], [""], ["", "a", ""], [" "], ["  a"]):
        found = encode_texts(library, pa.array(texts, pa.string()))
        assert same(found, encode_batch(library, texts))
        assert len(found.offsets) == len(texts) + 1


def test_a_slice_of_a_column_is_encoded_alone() -> None:
    library = tokenizer()
    column = pa.array(["a red", "two  stars", "a red", "left", "circle"])
    found = encode_texts(library, column.slice(1, 3))
    assert same(found, encode_batch(library, ["two  stars", "a red", "left"]))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(t, "normalizer", normalizers.Prepend(" ")),
        lambda t: setattr(t, "normalizer", normalizers.Sequence([normalizers.Lowercase()])),
        lambda t: setattr(
            t,
            "normalizer",
            normalizers.Sequence([normalizers.Replace("a b", "c"), normalizers.Prepend(" ")]),
        ),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False)),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Metaspace()),
    ],
)
def test_a_tokenizer_that_may_look_over_a_space_gets_whole_texts(change) -> None:  # type: ignore[no-untyped-def]
    library = tokenizer()
    change(library)
    assert not cuts_at_spaces(library)
    texts = ["a b", "A red  circle", "a b"]
    assert same(encode_texts(library, pa.array(texts)), encode_batch(library, texts))
    assert not cuts_at_spaces(Tokenizer(models.BPE()))


def test_ids_take_two_bytes_where_the_vocabulary_allows() -> None:
    assert id_type(65_536) == np.uint16 and id_type(65_537) == np.uint32
    assert encode_texts(tokenizer(), pa.array(["a red"])).ids.dtype == np.uint16


def test_texts_can_be_picked_and_repeated() -> None:
    encoded = Encoded(np.array([7, 8, 9], np.uint16), np.array([0, 2, 2, 3]))
    taken = encoded.take(np.array([2, 0, 1, 0]))
    assert taken.ids.tolist() == [9, 7, 8, 7, 8] and taken.offsets.tolist() == [0, 1, 3, 3, 5]
