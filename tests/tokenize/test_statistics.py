"""What is counted on the training sample, and how specific a text is."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from mmcore.errors import MmcoreError
from mmcore.tokenize.drift import Fit
from mmcore.tokenize.encode import encode_batch
from mmcore.tokenize.statistics import (
    Statistics,
    count_documents,
    dump_statistics,
    load_statistics,
    mean_specificity,
)
from mmcore.tokenize.tokenizer import TokenizerSettings, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["a red circle", "two blue stars"] * 5
    return load_tokenizer(train_tokenizer([texts], TokenizerSettings(vocab_size=300)))


def test_rare_words_make_a_text_specific(tokenizer: Tokenizer) -> None:
    texts = ["a red circle"] * 50 + ["two blue stars"]
    encoded = encode_batch(tokenizer, texts)
    frequency = count_documents(encoded, tokenizer.get_vocab_size())
    idf = Statistics(len(texts), frequency, {}).idf
    assert idf.min() >= 0
    specificity = mean_specificity(encoded, idf)
    assert specificity[0] < 0.1 < specificity[-1]
    assert mean_specificity(encode_batch(tokenizer, [""]), idf).tolist() == [0.0]


def test_a_token_counts_once_per_text(tokenizer: Tokenizer) -> None:
    encoded = encode_batch(tokenizer, ["red red red", "red"])
    assert count_documents(encoded, tokenizer.get_vocab_size()).max() == 2


def test_statistics_come_back_as_they_were_written() -> None:
    written = Statistics(3, np.array([3, 0, 1]), {"en": Fit(3, 40, 12, 1, 0)})
    read = load_statistics(dump_statistics(written))
    assert read.languages == written.languages and read.documents == 3
    assert read.unseen.tolist() == [False, True, False]
    assert dump_statistics(read) == dump_statistics(written)


@pytest.mark.parametrize("data", [b"{}", b"", b'{"documents": 1, "document_frequency": []}'])
def test_damaged_statistics_say_so(data: bytes) -> None:
    with pytest.raises(MmcoreError, match="retrain"):
        load_statistics(data)
