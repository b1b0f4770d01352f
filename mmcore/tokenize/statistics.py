"""What is counted on the texts a tokenizer was trained on, and kept beside it.

How rare every token is (inverse document frequency, Spärck Jones 1972), which says how specific a
text is, and per language how well the vocabulary fits: what `drift` compares later nights with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import MmcoreError
from mmcore.tokenize.drift import Fit
from mmcore.tokenize.encode import Encoded


@dataclass(frozen=True)
class Statistics:
    """Of the training sample; frequency: texts that have each token, int64 [vocabulary]."""

    documents: int
    frequency: NDArray[np.int64]
    languages: dict[str, Fit]

    @property
    def idf(self) -> NDArray[np.float64]:
        """Smoothed IDF, ln((1 + documents) / (1 + frequency)): float64 [vocabulary], >= 0."""
        known = np.minimum(self.frequency, self.documents)
        return np.log((1 + self.documents) / (1 + known))

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """Tokens that no text of the sample has: bool [vocabulary]."""
        return self.frequency == 0


def count_documents(encoded: Encoded, vocabulary: int) -> NDArray[np.int64]:
    """In how many texts each token occurs: int64 [vocabulary]."""
    pairs = np.unique(encoded.rows * vocabulary + encoded.ids)
    return np.bincount(pairs % vocabulary, minlength=vocabulary).astype(np.int64)


def mean_specificity(encoded: Encoded, idf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean IDF of the tokens of each text, 0 for an empty one: float64 [n]."""
    total = np.concatenate([[0.0], np.cumsum(idf[encoded.ids])])
    sums = total[encoded.offsets[1:]] - total[encoded.offsets[:-1]]
    return np.round(sums / np.maximum(encoded.lengths, 1), 6)


def dump_statistics(statistics: Statistics) -> bytes:
    """Canonical JSON of the statistics."""
    body = {
        "documents": statistics.documents,
        "document_frequency": statistics.frequency.tolist(),
        "languages": {name: asdict(fit) for name, fit in statistics.languages.items()},
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def load_statistics(data: bytes) -> Statistics:
    """The statistics from `dump_statistics` bytes; MmcoreError where they are none."""
    try:
        body = json.loads(data)
        return Statistics(
            int(body["documents"]),
            np.array(body["document_frequency"], np.int64),
            {name: Fit(**counts) for name, counts in body["languages"].items()},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MmcoreError("statistics.json of the tokenizer is damaged; retrain it") from error
