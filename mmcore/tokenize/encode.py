"""Texts to token ids: flat arrays, equal work done once.

A caption is mostly words that other captions have too. Where a tokenizer cuts at every space (all
that `train_tokenizer` makes do), the distinct words of a batch are encoded and put together again
with NumPy; the ids are those of the library, at a fraction of its time. Words are encoded many at
once, as one long text: what the library does for each text costs as much as a word does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers

# Nothing, a space at either end, two in a row, or other white space: the pieces around these depend
# on each other. The class is Unicode's White_Space but for the space itself, as RE2 writes it.
_UNEVEN = (
    r"^$|^ | $|  |"
    r"[\t-\r\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"
)
_SPACE = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(" ")[0][0]
_WORDS_AT_ONCE = 128  # one long text of some kilobytes; the library is slower on longer ones
# Normalizers for which normal(a + " " + b) is normal(a) + " " + normal(b).
_LOCAL = {"NFKC", "NFC", "Lowercase"}


@dataclass(frozen=True)
class Encoded:
    """Token ids of texts, flattened: text i is `ids[offsets[i]:offsets[i + 1]]`.

    ids: uint16 or uint32 [total] (see `id_type`), without special tokens; offsets: int64 [n + 1].
    """

    ids: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens per text: int64 [n]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """For each token, the number of its text: int64 [total]."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def take(self, which: NDArray[np.integer]) -> Encoded:
        """The texts `which` in that order, repeated where it repeats."""
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return Encoded(self.ids[shift + np.arange(offsets[-1])], offsets)


def id_type(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint16 and uint32 that holds every id of a vocabulary."""
    return np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.uint32)


def encode_texts(tokenizer: Tokenizer, texts: pa.Array) -> Encoded:
    """Token ids of an array of strings (no nulls), each distinct text encoded once."""
    codes = texts.dictionary_encode()
    return _encode_distinct(tokenizer, codes.dictionary).take(codes.indices.to_numpy())


def encode_batch(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    """Token ids of texts, by the library alone."""
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    lists = [encoding.ids for encoding in encodings]
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    kind = id_type(tokenizer.get_vocab_size())
    return Encoded(np.fromiter(chain.from_iterable(lists), kind, int(offsets[-1])), offsets)


def cuts_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the ids of "a b" are those of "a" and then those of "b", for any words a and b.

    Byte-level pre-tokenization (GPT-2's expression) never lets a piece go on over a space, so it is
    enough that every text gets a space in front and that normalization does not look over one. A
    token that is found before all that may look anywhere.
    """
    if tokenizer.normalizer is None or tokenizer.pre_tokenizer is None:
        return False
    if not all(token.special for token in tokenizer.get_added_tokens_decoder().values()):
        return False
    steps = json.loads(tokenizer.normalizer.__getstate__()).get("normalizers", [])
    cut = json.loads(tokenizer.pre_tokenizer.__getstate__())
    return (
        (cut.get("type"), cut.get("add_prefix_space"), cut.get("use_regex"))
        == ("ByteLevel", False, True)
        and steps[-1:] == [{"type": "Prepend", "prepend": " "}]
        and {step["type"] for step in steps[:-1]} <= _LOCAL
    )


def _encode_distinct(tokenizer: Tokenizer, texts: pa.Array) -> Encoded:
    if not cuts_at_spaces(tokenizer):
        return encode_batch(tokenizer, texts.to_pylist())
    uneven = pc.match_substring_regex(texts, _UNEVEN)
    if not pc.any(uneven).as_py():
        return _encode_by_word(tokenizer, texts)
    whole = encode_batch(tokenizer, texts.filter(uneven).to_pylist())
    words = _encode_by_word(tokenizer, texts.filter(pc.invert(uneven)))
    return _interleaved(words, whole, uneven.to_numpy(zero_copy_only=False))


def _interleaved(some: Encoded, others: Encoded, which: NDArray[np.bool_]) -> Encoded:
    """The texts of both in one order; `which` [n] says which of them are of `others`."""
    both = Encoded(
        np.concatenate([some.ids, others.ids]),
        np.concatenate([some.offsets, others.offsets[1:] + some.offsets[-1]]),
    )
    place = np.empty(len(which), np.int64)
    place[~which] = np.arange(len(some.lengths))
    place[which] = np.arange(len(others.lengths)) + len(some.lengths)
    return both.take(place)


def _encode_by_word(tokenizer: Tokenizer, texts: pa.Array) -> Encoded:
    words = pc.split_pattern(texts, " ")
    codes = words.flatten().dictionary_encode()
    tokens = _encode_words(tokenizer, codes.dictionary)
    expanded = tokens.take(codes.indices.to_numpy())
    ends = words.offsets.to_numpy().astype(np.int64)
    return Encoded(expanded.ids, expanded.offsets[ends - ends[0]])


def _encode_words(tokenizer: Tokenizer, words: pa.Array) -> Encoded:
    """Token ids of words (not empty, no white space), for a tokenizer that cuts at spaces."""
    edges = np.append(np.arange(0, len(words), _WORDS_AT_ONCE), len(words))
    lots = pa.ListArray.from_arrays(pa.array(edges, pa.int32()), words)
    joined = encode_batch(tokenizer, pc.binary_join(lots, " ").to_pylist())
    # With as many spaces as words, each begins the tokens of its word. There are more where the
    # normal form of a word has some, as that of an acute accent has.
    sums = np.concatenate([[0], np.cumsum(_spaces(tokenizer, joined.ids))])
    clear = np.diff(sums[joined.offsets]) == np.diff(edges)
    if not clear.all():
        joined = joined.take(np.flatnonzero(clear))
    starts = np.flatnonzero(_spaces(tokenizer, joined.ids))
    split = Encoded(joined.ids, np.append(starts, len(joined.ids)))
    if clear.all():
        return split
    alone = np.repeat(~clear, np.diff(edges))
    return _interleaved(split, encode_batch(tokenizer, words.filter(alone).to_pylist()), alone)


def _spaces(tokenizer: Tokenizer, ids: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Spaces in each token of a byte-level tokenizer: int64 [total]."""
    counts = np.zeros(int(ids.max(initial=0)) + 1, np.int64)
    for number in np.flatnonzero(np.bincount(ids)):
        token = tokenizer.id_to_token(int(number))
        counts[number] = token.count(_SPACE) if token else 0
    return counts[ids]
