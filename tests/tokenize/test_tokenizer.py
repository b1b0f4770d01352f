"""The tokenizer: any text encodes and decodes back, and training gives the same bytes each time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from mmcore.errors import UserError
from mmcore.tokenize.encode import encode_batch
from mmcore.tokenize.tokenizer import (
    BOS,
    EOS,
    MASK,
    PAD,
    SPECIAL_TOKENS,
    TokenizerSettings,
    decode,
    load_tokenizer,
    normalise,
    train_tokenizer,
)
from tests.tokenize.fuzz import random_texts

TEXTS = ["A red circle on the left", "ein roter Kreis links", "two blue stars", "größer, bunter 😀"]
KINDS = ("bpe", "unigram")
FORMS = ("nfkc", "nfc", "none")


def train(texts: list[str], size: int = 400, **settings: object) -> bytes:
    return train_tokenizer([texts], TokenizerSettings(vocab_size=size, **settings))


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train(TEXTS * 5)


def round_trips(data: bytes, texts: list[str]) -> list[str]:
    tokenizer = load_tokenizer(data)
    encoded = encode_batch(tokenizer, texts)
    pairs = zip(encoded.offsets, encoded.offsets[1:], strict=False)
    return [decode(tokenizer, encoded.ids[a:b]) for a, b in pairs]


def test_any_text_comes_back_lower_cased(trained: bytes) -> None:
    texts = [*TEXTS, "", "漢字 и кириллица", "tab\tnew\nline", "  spaces  kept "]
    assert round_trips(trained, texts) == [text.lower() for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_without_normalization_every_text_comes_back_as_it_was(kind: str) -> None:
    data = train(TEXTS * 5, kind=kind, normalization="none", lowercase=False)
    texts = random_texts(3000, seed=1)
    assert round_trips(data, texts) == texts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_text_comes_back_as_its_normal_form(kind: str, form: str) -> None:
    data = train(TEXTS * 5, kind=kind, normalization=form)
    tokenizer = load_tokenizer(data)
    texts = random_texts(2000, seed=2)
    assert round_trips(data, texts) == [normalise(tokenizer, text) for text in texts]


@pytest.mark.parametrize("form", FORMS)
def test_the_normal_form_is_that_of_unicode_then_lower_case(form: str) -> None:
    """Python's Unicode tables are the witness, so only characters that they know are drawn."""
    tokenizer = load_tokenizer(train(TEXTS, normalization=form))
    for text in random_texts(2000, seed=3, assigned=True):
        plain = text if form == "none" else unicodedata.normalize(form.upper(), text)
        # letter by letter: a capital sigma is always σ, also at the end of a word
        assert normalise(tokenizer, text) == "".join(letter.lower() for letter in plain)


def test_case_can_be_kept() -> None:
    assert round_trips(train(TEXTS, 300, lowercase=False), ["Roter Kreis"]) == ["Roter Kreis"]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_fixed_ids_and_cannot_be_written_by_a_page(kind: str) -> None:
    tokenizer = load_tokenizer(train(TEXTS * 5, kind=kind, lowercase=False))
    assert [tokenizer.token_to_id(t) for t in SPECIAL_TOKENS] == [PAD, BOS, EOS, MASK]
    encoded = encode_batch(tokenizer, ["[EOS] [PAD]stop[MASK]"])
    assert not set(encoded.ids.tolist()) & {PAD, BOS, EOS, MASK}
    assert decode(tokenizer, encoded.ids) == "[EOS] [PAD]stop[MASK]"


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_texts_does_not_matter(kind: str) -> None:
    texts = many_texts()
    mixed = random.Random(0).sample(texts, len(texts))
    assert train(texts, 500, kind=kind) == train(mixed, 500, kind=kind)


def many_texts() -> list[str]:
    return [f"{a} {b} thing number {i % 17}" for i, a in enumerate(TEXTS * 50) for b in TEXTS]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_in_another_process_with_other_threads(
    kind: str, tmp_path: Path
) -> None:
    texts = many_texts()
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = (
        "import json, sys, pathlib; "
        "from mmcore.tokenize.tokenizer import TokenizerSettings, train_tokenizer;"
        "sys.stdout.buffer.write(train_tokenizer([json.loads(pathlib.Path(sys.argv[1]).read_text())"
        "], TokenizerSettings(vocab_size=500, kind=sys.argv[2])))"
    )
    for threads in ("1", "3"):
        out = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "texts.json"), kind],
            env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            check=True,
        )
        assert out.stdout == train(texts, 500, kind=kind)


def test_vocabulary_is_bounded_by_the_corpus_and_by_the_setting(trained: bytes) -> None:
    assert load_tokenizer(trained).get_vocab_size() < 400
    assert load_tokenizer(train(TEXTS * 5, 265)).get_vocab_size() == 265
    assert load_tokenizer(train(many_texts(), 265, kind="unigram")).get_vocab_size() == 265
    with pytest.raises(ValueError, match="greater than or equal to 260"):
        train(TEXTS, 100)


def test_decoding_stops_at_the_end_token(trained: bytes) -> None:
    tokenizer = load_tokenizer(trained)
    ids = encode_batch(tokenizer, ["two blue stars"]).ids.tolist()
    assert decode(tokenizer, [BOS, *ids, EOS, *ids, PAD]) == "two blue stars"


def test_what_is_no_tokenizer_is_refused(trained: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(trained)
    assert load_tokenizer(path).get_vocab_size() == load_tokenizer(trained).get_vocab_size()
    for data in (b"", b"{}", b"\xff\xfe"):
        with pytest.raises(UserError, match="no tokenizer"):
            load_tokenizer(data)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_tokenizer(tmp_path / "none.json")
    with pytest.raises(UserError, match="ids 0 to 3"):
        load_tokenizer(trained.replace(b'"[PAD]"', b'"[PAX]"'))
