"""How rare tokens are, and so how specific a text is (IDF: Spärck Jones 1972)."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import MmcoreError
from mmcore.tokenize.tokenizer import Encoded


def count_documents(encoded: Encoded, vocabulary: int) -> NDArray[np.int64]:
    """In how many texts each token occurs: int64 [vocabulary]."""
    pairs = np.unique(encoded.rows * vocabulary + encoded.ids)
    return np.bincount(pairs % vocabulary, minlength=vocabulary).astype(np.int64)


def inverse_document_frequency(frequency: NDArray[np.int64], documents: int) -> NDArray[np.float64]:
    """Smoothed IDF, ln((1 + documents) / (1 + frequency)): float64 [vocabulary], >= 0."""
    return np.log((1 + documents) / (1 + np.minimum(frequency, documents)))


def mean_specificity(encoded: Encoded, idf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean IDF of the tokens of each text, 0 for an empty one: float64 [n]."""
    total = np.concatenate([[0.0], np.cumsum(idf[encoded.ids])])
    sums = total[encoded.offsets[1:]] - total[encoded.offsets[:-1]]
    return np.round(sums / np.maximum(encoded.lengths, 1), 6)


def dump_statistics(frequency: NDArray[np.int64], documents: int) -> bytes:
    """Document frequencies as canonical JSON, kept beside the tokenizer they belong to."""
    body = {"documents": documents, "document_frequency": frequency.tolist()}
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def load_statistics(data: bytes) -> NDArray[np.float64]:
    """The IDF of every token from `dump_statistics` bytes: float64 [vocabulary]."""
    try:
        body = json.loads(data)
        frequency = np.array(body["document_frequency"], np.int64)
        return inverse_document_frequency(frequency, int(body["documents"]))
    except (ValueError, KeyError, TypeError) as error:
        raise MmcoreError("statistics.json of the tokenizer is damaged; retrain it") from error
