"""Byte-level BPE: train, load, encode, decode. Knows neither Ray nor the lake.

Byte-level BPE (Radford et al. 2019; BPE: Sennrich et al. 2016) has no unknown token: any text in
any language encodes and decodes back. Text is normalised to NFKC and, by default, lower-cased:
with a vocabulary of some thousands, "A red" and "a red" should not be learnt twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mmcore.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]")
PAD, BOS, EOS, MASK = range(4)
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)


@dataclass(frozen=True)
class Encoded:
    """Token ids of texts, flattened: text i is `ids[offsets[i]:offsets[i + 1]]`.

    ids: int32 [total], without special tokens; offsets: int64 [number of texts + 1].
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens per text: int64 [n]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """For each token, the number of its text: int64 [total]."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


def train_tokenizer(
    batches: Iterable[list[str]], vocab_size: int, min_frequency: int = 2, lowercase: bool = True
) -> bytes:
    """A tokenizer as JSON bytes; the same texts in any order give the same bytes.

    vocab_size: the most tokens, special ones and the 256 bytes included; a small corpus has fewer,
    since a merge must occur `min_frequency` times.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"tokenize.vocab_size must be at least {SMALLEST_VOCABULARY} (every byte and "
            f"{len(SPECIAL_TOKENS)} special tokens), not {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFKC()] + ([normalizers.Lowercase()] if lowercase else [])
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches, trainer)
    return tokenizer.to_str(pretty=False).encode()


def load_tokenizer(source: bytes | str | Path) -> Tokenizer:
    """A tokenizer from its JSON bytes or from a path to them; `UserError` where it is none."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        tokenizer = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises bare Exception on malformed JSON
        name = "the given bytes" if isinstance(source, bytes) else str(source)
        raise UserError(f"{name} hold no tokenizer.json of the tokenizers library") from error
    if [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] != [PAD, BOS, EOS, MASK]:
        raise UserError(f"the tokenizer must have {', '.join(SPECIAL_TOKENS)} as ids 0 to 3")
    # a page that writes "[EOS]" means five characters; it must not be able to end a caption
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode_batch(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    """Token ids of texts, without special tokens."""
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    lists = [encoding.ids for encoding in encodings]
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    ids = np.fromiter(chain.from_iterable(lists), np.int32, int(offsets[-1]))
    return Encoded(ids, offsets)


def pad_batch(encoded: Encoded, length: int, bos: bool = True, eos: bool = True) -> NDArray:
    """Ids as a rectangle for a model: int64 [n, length], `[BOS] ids [EOS] [PAD] …`, cut to fit."""
    first = int(bos)
    room = length - first - int(eos)
    if room < 1:
        raise UserError(f"a text length of {length} leaves no room for a token")
    kept = np.minimum(encoded.lengths, room)
    column = np.arange(room)
    inside = column < kept[:, None]
    out = np.full((len(kept), length), PAD, np.int64)
    body = np.full((len(kept), room), PAD, np.int64)
    body[inside] = encoded.ids[(encoded.offsets[:-1, None] + column)[inside]]
    out[:, first : first + room] = body
    if bos:
        out[:, 0] = BOS
    if eos:
        out[np.arange(len(kept)), first + kept] = EOS
    return out


def decode(tokenizer: Tokenizer, ids: Sequence[int] | NDArray[np.integer]) -> str:
    """The text of ids; special tokens are left out and what follows `[EOS]` is ignored."""
    listed = [int(i) for i in ids]
    if EOS in listed:
        listed = listed[: listed.index(EOS)]
    return tokenizer.decode(listed, skip_special_tokens=True).strip()


def decode_batch(
    tokenizer: Tokenizer, rows: Iterable[Sequence[int] | NDArray[np.integer]]
) -> list[str]:
    """`decode` for many."""
    return [decode(tokenizer, row) for row in rows]
