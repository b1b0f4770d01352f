"""Train a tokenizer, load one, decode with it. Knows neither Ray nor the lake.

Both kinds are byte-level (Radford et al. 2019): the alphabet is the 256 bytes, so there is no
unknown token and any text in any language comes back. `bpe` merges the commonest pairs (Sennrich et
al. 2016), `unigram` keeps the pieces that make the corpus most likely (Kudo 2018).

A round trip is exact: decoding the ids of a text gives `normalise(text)`, character by character,
and with normalization `none` and `lowercase: false` that is the text itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mmcore.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]")
PAD, BOS, EOS, MASK = range(4)
ALPHABET = tuple(sorted(pre_tokenizers.ByteLevel.alphabet()))
SMALLEST_VOCABULARY = len(ALPHABET) + len(SPECIAL_TOKENS)
_NORMALIZERS: dict[str, list[Any]] = {
    "nfkc": [normalizers.NFKC],
    "nfc": [normalizers.NFC],
    "none": [],
}
_SCORE_DIGITS = 4
# the library scores the bytes that a corpus lacks from the lowest score upwards, in steps of 0.0001
_LACKING = 0.0001 * (len(ALPHABET) + 1)


class TokenizerSettings(BaseModel):
    """What a trained tokenizer is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bpe", "unigram"] = Field(
        "bpe", description="bpe: byte-level byte-pair encoding; unigram: Kudo's, of bytes too."
    )
    vocab_size: int = Field(
        2048,
        ge=SMALLEST_VOCABULARY,
        le=1_000_000,
        description="Most tokens, of a tokenizer of your own too; a small corpus has fewer. Ids "
        "take two bytes up to 65536.",
    )
    min_frequency: int = Field(2, ge=1, description="Least occurrences of a merged token (bpe).")
    normalization: Literal["nfkc", "nfc", "none"] = Field(
        "nfkc",
        description="Unicode form of the texts: nfkc makes ﬁ and ½ plain, nfc keeps them, none "
        "changes nothing.",
    )
    lowercase: bool = Field(
        True, description="Lower-case texts before encoding; false keeps the case."
    )


def train_tokenizer(texts: Iterable[list[str]], settings: TokenizerSettings) -> bytes:
    """A tokenizer as JSON bytes; the same texts in any order give the same bytes.

    texts: batches; a small corpus gives fewer than `vocab_size` tokens.
    """
    common: dict[str, Any] = {
        "vocab_size": settings.vocab_size,
        "special_tokens": list(SPECIAL_TOKENS),
        "initial_alphabet": list(ALPHABET),
        "show_progress": False,
    }
    if settings.kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer: Any = trainers.BpeTrainer(min_frequency=settings.min_frequency, **common)
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(**common)
    steps = [make() for make in _NORMALIZERS[settings.normalization]]
    steps += [normalizers.Lowercase()] if settings.lowercase else []
    # "red" is one token at the start of a text and within it; decoding takes this one space off
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Prepend(" ")])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(texts, trainer)
    written = tokenizer.to_str(pretty=False)
    return (written if settings.kind == "bpe" else _settled(written)).encode()


def load_tokenizer(source: bytes | str | Path) -> Tokenizer:
    """A tokenizer from its JSON bytes or from a path to them; `UserError` where it is none."""
    tokenizer = parse_tokenizer(source)
    if [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] != [PAD, BOS, EOS, MASK]:
        raise UserError(f"the tokenizer must have {', '.join(SPECIAL_TOKENS)} as ids 0 to 3")
    # a page that writes "[EOS]" means five characters; it must not be able to end a caption
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def parse_tokenizer(source: bytes | str | Path) -> Tokenizer:
    """Any tokenizer of the library, whatever its special tokens; `UserError` where it is none."""
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return Tokenizer.from_str(data.decode())
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from error
    except Exception as error:  # the library raises bare Exception on malformed JSON
        raise UserError(f"{name} hold no tokenizer.json of the tokenizers library") from error


def normalise(tokenizer: Tokenizer, text: str) -> str:
    """What a round trip of `text` gives back, for a tokenizer of `train_tokenizer`."""
    return tokenizer.normalizer.normalize_str(text).removeprefix(" ")


def decode(tokenizer: Tokenizer, ids: Sequence[int] | NDArray[np.integer]) -> str:
    """The text of ids; special tokens are left out and what follows `[EOS]` is ignored."""
    listed = [int(i) for i in ids]
    if EOS in listed:
        listed = listed[: listed.index(EOS)]
    return tokenizer.decode([i for i in listed if i > MASK], skip_special_tokens=True)


def _settled(written: str) -> str:
    """A unigram tokenizer without what the library leaves to chance.

    Its sums run in the order of a hash map: scores differ in their last digits, and bytes that the
    corpus lacks get scores in any order. Rounded and sorted, the same texts give the same bytes.
    """
    body: dict[str, Any] = json.loads(written)
    vocabulary = body["model"]["vocab"]
    first, rest = vocabulary[: len(SPECIAL_TOKENS)], vocabulary[len(SPECIAL_TOKENS) :]
    lowest = round(min(score for _, score in rest), _SCORE_DIGITS)
    scores = {
        piece: lowest
        if len(piece) == 1 and score < lowest + _LACKING
        else round(score, _SCORE_DIGITS)
        for piece, score in rest
    }
    ordered = sorted(scores, key=lambda piece: (-scores[piece], piece))
    body["model"]["vocab"] = [*first, *([piece, scores[piece]] for piece in ordered)]
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
