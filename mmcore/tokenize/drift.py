"""How well a frozen vocabulary still fits: a night's texts against the training sample's.

Nothing is retrained here. Where a language has outgrown the vocabulary, the report says so and why;
a person sets `tokenize.retrain`, since a new vocabulary ends warm starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from mmcore.tokenize.encode import Encoded
from mmcore.tokenize.sample import UNKNOWN_LANGUAGE

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>\Z")


class DriftRules(BaseModel):
    """When a night's texts say that the tokenizer should be trained anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_texts: int = Field(200, ge=1, description="Fewer texts of a language prove nothing.")
    max_growth: float = Field(
        0.15, ge=0, description="Tokens per character may grow by this share of the sample's."
    )
    max_fallback: float = Field(
        0.05, ge=0, le=1, description="Share of bytes and unknown tokens may grow by this much."
    )
    max_unseen: float = Field(
        0.02, ge=0, le=1, description="Most tokens that no text of the sample has, as a share."
    )


@dataclass(frozen=True)
class Fit:
    """Counts over texts of one language. They add up."""

    texts: int = 0
    characters: int = 0
    tokens: int = 0
    fallback: int = 0
    """Tokens that are bytes of a character the vocabulary lacks, or the unknown token."""
    unseen: int = 0
    """Tokens that no text of the training sample has."""

    def __add__(self, other: Fit) -> Fit:
        return Fit(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def tokens_per_character(self) -> float:
        return self.tokens / max(self.characters, 1)

    @property
    def fallback_share(self) -> float:
        return self.fallback / max(self.tokens, 1)

    @property
    def unseen_share(self) -> float:
        return self.unseen / max(self.tokens, 1)


def fallback_tokens(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Tokens that stand for a part of a character or for an unknown one: bool [vocabulary]."""
    flags = np.zeros(tokenizer.get_vocab_size(), bool)
    vocabulary = tokenizer.get_vocab()
    body = json.loads(tokenizer.to_str())
    unknown = body["model"].get("unk_token")
    if body["model"].get("unk_id") is not None:
        unknown = tokenizer.id_to_token(body["model"]["unk_id"])
    byte_level = '"ByteLevel"' in json.dumps(body["pre_tokenizer"])
    for token, number in vocabulary.items():
        partial = _is_partial(token) if byte_level else _BYTE_PIECE.match(token) is not None
        flags[number] = partial or token == unknown
    return flags


def measure_fit(
    encoded: Encoded,
    texts: pa.Array,
    langs: pa.Array,
    fallback: NDArray[np.bool_],
    unseen: NDArray[np.bool_],
) -> dict[str, Fit]:
    """Counts per language of encoded texts; a null language is `und`."""
    codes = pc.fill_null(langs, UNKNOWN_LANGUAGE).dictionary_encode()
    names, of_text = codes.dictionary.to_pylist(), codes.indices.to_numpy()
    of_token = np.repeat(of_text, encoded.lengths)
    size = len(names)
    sums = [
        np.bincount(of_text, minlength=size),
        np.bincount(of_text, pc.utf8_length(texts).to_numpy(), minlength=size),
        np.bincount(of_token, minlength=size),
        np.bincount(of_token[fallback[encoded.ids]], minlength=size),
        np.bincount(of_token[unseen[encoded.ids]], minlength=size),
    ]
    rows = np.stack(sums, axis=1).astype(np.int64).tolist()
    return {name: Fit(*row) for name, row in zip(names, rows, strict=True)}


def add_fits(parts: Iterable[dict[str, Fit]]) -> dict[str, Fit]:
    """Counts of parts together, by language."""
    total: dict[str, Fit] = {}
    for part in parts:
        for name, fit in part.items():
            total[name] = total.get(name, Fit()) + fit
    return dict(sorted(total.items()))


def drift_report(
    night: dict[str, Fit], trained: dict[str, Fit], rules: DriftRules
) -> dict[str, Any]:
    """Plain data for a person: `suggest_retraining`, the reason per language, the figures."""
    reasons = {name: _reasons(fit, trained.get(name), rules) for name, fit in night.items()}
    because = {name: "; ".join(found) for name, found in reasons.items() if found}
    return {
        "suggest_retraining": bool(because),
        "because": because,
        "languages": {name: _figures(fit, trained.get(name)) for name, fit in night.items()},
    }


def _reasons(fit: Fit, trained: Fit | None, rules: DriftRules) -> list[str]:
    if fit.texts < rules.min_texts:
        return []
    if trained is None or not trained.tokens:
        return [f"{fit.texts} texts of a language that the tokenizer was not trained on"]
    found = []
    now, then = fit.tokens_per_character, trained.tokens_per_character
    if now > then * (1 + rules.max_growth):
        found.append(f"{now:.3f} tokens per character, {then:.3f} in training")
    now, then = fit.fallback_share, trained.fallback_share
    if now > then + rules.max_fallback:
        found.append(f"{now:.1%} of the tokens are bytes or unknown, {then:.1%} in training")
    if fit.unseen_share > rules.max_unseen:
        found.append(f"{fit.unseen_share:.1%} of the tokens did not occur in training")
    return found


def _figures(fit: Fit, trained: Fit | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "texts": fit.texts,
        "tokens_per_character": round(fit.tokens_per_character, 4),
        "fallback_share": round(fit.fallback_share, 4),
        "unseen_share": round(fit.unseen_share, 4),
    }
    if trained is not None:
        figures["trained_tokens_per_character"] = round(trained.tokens_per_character, 4)
        figures["trained_fallback_share"] = round(trained.fallback_share, 4)
    return figures


def _byte_values() -> dict[str, int]:
    """The byte that each letter of the byte-level alphabet stands for (Radford et al. 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_values()


def _is_partial(token: str) -> bool:
    """Whether a byte-level token is no whole characters."""
    if any(letter not in _BYTES for letter in token):
        return False  # a special token, written as it is
    try:
        bytes(_BYTES[letter] for letter in token).decode()
    except UnicodeDecodeError:
        return True
    return False
