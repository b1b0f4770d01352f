"""The tokenizer: any text encodes and decodes back, and training gives the same bytes each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmcore.errors import MmcoreError, UserError
from mmcore.tokenize.statistics import (
    count_documents,
    dump_statistics,
    load_statistics,
    mean_specificity,
)
from mmcore.tokenize.tokenizer import (
    BOS,
    EOS,
    MASK,
    PAD,
    SPECIAL_TOKENS,
    decode,
    decode_batch,
    encode_batch,
    load_tokenizer,
    pad_batch,
    train_tokenizer,
)

TEXTS = ["A red circle on the left", "ein roter Kreis links", "two blue stars", "größer, bunter 😀"]


@pytest.fixture(scope="module")
def trained() -> bytes:
    return train_tokenizer([TEXTS * 5], 400)


def test_any_text_comes_back_lower_cased(trained: bytes) -> None:
    tokenizer = load_tokenizer(trained)
    texts = [*TEXTS, "", "漢字 и кириллица", "tab\tnew\nline"]
    encoded = encode_batch(tokenizer, texts)
    rows = [encoded.ids[a:b] for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    assert decode_batch(tokenizer, rows) == [text.lower() for text in texts]


def test_case_can_be_kept() -> None:
    tokenizer = load_tokenizer(train_tokenizer([TEXTS], 300, lowercase=False))
    assert decode(tokenizer, encode_batch(tokenizer, ["Roter Kreis"]).ids) == "Roter Kreis"


def test_special_tokens_have_fixed_ids_and_cannot_be_written_by_a_page(trained: bytes) -> None:
    tokenizer = load_tokenizer(trained)
    assert [tokenizer.token_to_id(t) for t in SPECIAL_TOKENS] == [PAD, BOS, EOS, MASK]
    encoded = encode_batch(tokenizer, ["[EOS] [PAD] stop [MASK]"])
    assert not set(encoded.ids.tolist()) & {PAD, BOS, EOS, MASK}
    assert decode(tokenizer, encoded.ids) == "[eos] [pad] stop [mask]"


def test_order_of_the_texts_does_not_matter(trained: bytes) -> None:
    assert train_tokenizer([[text] for text in reversed(TEXTS * 5)], 400) == trained


def test_training_is_the_same_in_another_process_with_other_threads(tmp_path: Path) -> None:
    texts = [f"{a} {b} thing number {i % 17}" for i, a in enumerate(TEXTS * 50) for b in TEXTS]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = (
        "import json, sys, pathlib; from mmcore.tokenize.tokenizer import train_tokenizer;"
        "sys.stdout.buffer.write(train_tokenizer("
        "[json.loads(pathlib.Path(sys.argv[1]).read_text())], 500))"
    )
    for threads in ("1", "3"):
        out = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "texts.json")],
            env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            check=True,
        )
        assert out.stdout == train_tokenizer([texts], 500)


def test_vocabulary_is_bounded_by_the_corpus_and_by_the_setting(trained: bytes) -> None:
    assert load_tokenizer(trained).get_vocab_size() < 400
    assert load_tokenizer(train_tokenizer([TEXTS * 5], 265)).get_vocab_size() == 265
    with pytest.raises(UserError, match="vocab_size must be at least 260"):
        train_tokenizer([TEXTS], 100)


def test_padding_cuts_and_fills_to_a_rectangle(trained: bytes) -> None:
    encoded = encode_batch(load_tokenizer(trained), ["a red circle on the left", "a", ""])
    padded = pad_batch(encoded, 5)
    assert padded.shape == (3, 5) and padded.dtype == np.int64
    assert padded[0, 0] == BOS and padded[0, -1] == EOS
    assert padded[2].tolist() == [BOS, EOS, PAD, PAD, PAD]
    assert (pad_batch(encoded, 5, bos=False)[1] != BOS).all()
    with pytest.raises(UserError, match="no room"):
        pad_batch(encoded, 2)


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
    with pytest.raises(UserError, match="ids 0 to 3"):
        load_tokenizer(trained.replace(b'"[PAD]"', b'"[PAX]"'))


def test_rare_words_make_a_text_specific(trained: bytes) -> None:
    tokenizer = load_tokenizer(trained)
    texts = ["a red circle"] * 50 + ["two blue stars"]
    encoded = encode_batch(tokenizer, texts)
    frequency = count_documents(encoded, tokenizer.get_vocab_size())
    idf = load_statistics(dump_statistics(frequency, len(texts)))
    assert idf.min() >= 0
    specificity = mean_specificity(encoded, idf)
    assert specificity[0] < 0.1 < specificity[-1]
    assert mean_specificity(encode_batch(tokenizer, [""]), idf).tolist() == [0.0]


def test_a_token_counts_once_per_text(trained: bytes) -> None:
    tokenizer = load_tokenizer(trained)
    encoded = encode_batch(tokenizer, ["red red red", "red"])
    assert count_documents(encoded, tokenizer.get_vocab_size()).max() == 2


def test_damaged_statistics_say_so() -> None:
    with pytest.raises(MmcoreError, match="retrain"):
        load_statistics(b"{}")
