"""A bounded, language-balanced sample of the texts a tokenizer is trained on.

Every language gets a share proportional to its number of texts to the power of `language_alpha`
(exponential smoothing as in multilingual BERT and XLM-R, Conneau et al. 2020): below 1 small
languages are heard more than they weigh. Which texts of a language are taken is decided by a hash
of the text, so the sample does not depend on their order or on how they are cut into parts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

UNKNOWN_LANGUAGE = "und"  # ISO 639-2: undetermined
TEXTS = pa.schema([("lang", pa.string()), ("text", pa.string())])


class SampleSettings(BaseModel):
    """How the texts that a tokenizer is trained on are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_training_texts: int = Field(
        200_000, ge=1, description="Distinct texts that the tokenizer is trained on at most."
    )
    language_alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a language among them: its number of texts to this power; 1 takes "
        "texts as they come, 0 the same number of every language.",
    )


def language_quotas(counts: dict[str, int], total: int, alpha: float) -> dict[str, int]:
    """Most texts per language: at most `total` in all and at most what there is of each.

    What a small language cannot fill goes to the others, by the same powers of their counts.
    """
    names = sorted(name for name, count in counts.items() if count > 0)
    have = np.array([counts[name] for name in names], np.float64)
    weight, quota = have**alpha, np.zeros(len(names))
    open_ = np.ones(len(names), bool)
    while open_.any():
        room = total - quota[~open_].sum()
        wanted = room * weight / weight[open_].sum()
        full = open_ & (wanted >= have)
        if not full.any():
            quota[open_] = wanted[open_]
            break
        quota[full] = have[full]
        open_ &= ~full
    # a language that is there at all is heard, where the total allows one text of each
    least = 1 if total >= len(names) else 0
    whole = np.maximum(np.floor(quota + 1e-9).astype(np.int64), least)
    while whole.sum() > total:
        whole[np.argmax(whole)] -= 1
    return dict(zip(names, whole.tolist(), strict=True))


class BalancedSample:
    """Keeps the texts with the smallest hashes of each language, up to its quota (bottom-k)."""

    def __init__(self, quotas: dict[str, int]) -> None:
        self._quotas = quotas
        self._hashes = {name: np.empty(0, np.uint64) for name in quotas}
        self._texts = {name: pa.array([], pa.string()) for name in quotas}

    def add(self, langs: pa.Array, texts: pa.Array) -> None:
        """Offer texts: two arrays of strings of one length; a null language is `und`."""
        codes = pc.fill_null(langs, UNKNOWN_LANGUAGE).dictionary_encode()
        for number, name in enumerate(codes.dictionary.to_pylist()):
            if self._quotas.get(name, 0):
                mine = pc.unique(texts.filter(pc.equal(codes.indices, number)))
                self._offer(name, mine)

    def table(self) -> pa.Table:
        """`TEXTS`, sorted by language and hash."""
        filled = [name for name in sorted(self._texts) if len(self._texts[name])]
        parts = [
            pa.table({"lang": pa.repeat(name, len(self._texts[name])), "text": self._texts[name]})
            for name in filled
        ]
        return pa.concat_tables([TEXTS.empty_table(), *(part.cast(TEXTS) for part in parts)])

    def _offer(self, name: str, texts: pa.Array) -> None:
        hashes = text_hashes(texts)
        kept, quota = self._hashes[name], self._quotas[name]
        if len(kept) == quota:  # only what would push one of them out
            small = hashes < kept[-1]
            hashes, texts = hashes[small], texts.filter(pa.array(small))
        merged, first = np.unique(np.concatenate([kept, hashes]), return_index=True)
        chosen = pa.array(first[:quota])
        self._hashes[name] = merged[:quota]
        self._texts[name] = pa.concat_arrays([self._texts[name], texts]).take(chosen)


def text_hashes(texts: pa.Array) -> NDArray[np.uint64]:
    """64-bit hashes of strings, the same in every process and on every machine: uint64 [n]."""
    return pd.util.hash_array(texts.to_numpy(zero_copy_only=False), categorize=False)
