"""Text to token ids and back, with the tokenizer that a model was trained with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmcore.errors import UserError
from mmcore.models.config import BOS, EOS, PAD, SPECIAL_TOKENS


class TextTokenizer:
    """A ``tokenizers`` tokenizer whose special tokens are where the model expects them."""

    def __init__(self, json_text: str) -> None:
        """UserError where the text is not a tokenizer or its special tokens differ."""
        try:
            self._tokenizer = Tokenizer.from_str(json_text)
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"tokenizer.json is not a tokenizer: {error}.") from None
        for token, expected in SPECIAL_TOKENS.items():
            found = self._tokenizer.token_to_id(token)
            if found != expected:
                raise UserError(
                    f"tokenizer.json gives {token} the id {found}, but models need {expected}; "
                    "train the tokenizer with mmcore."
                )
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # A question that spells "[EOS]" means five characters; it must not end itself.
        self._tokenizer.encode_special_tokens = True
        self.json_text = json_text

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read ``tokenizer.json``."""
        return cls(path.read_text("utf-8"))

    @property
    def size(self) -> int:
        """Number of token ids."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode(self, texts: Sequence[str], max_tokens: int) -> NDArray[np.int64]:
        """int64 [B, T]: BOS, ids, EOS, padding; T is the longest text, at most max_tokens."""
        return pad_ids(self.ids(texts), max_tokens)

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Texts of rows of ids; special tokens are left out."""
        batch = [[int(i) for i in row if i != PAD] for row in rows]
        return [t.strip() for t in self._tokenizer.decode_batch(batch, skip_special_tokens=True)]


def pad_ids(rows: Sequence[Sequence[int]], max_tokens: int) -> NDArray[np.int64]:
    """Frame every row with BOS and EOS, cut to ``max_tokens``, pad -> int64 [B, T], T >= 2."""
    cut = [row[: max_tokens - 2] for row in rows]
    width = max((len(row) for row in cut), default=0) + 2
    out = np.full((len(cut), width), PAD, np.int64)
    out[:, 0] = BOS
    for number, row in enumerate(cut):
        out[number, 1 : len(row) + 1] = row
        out[number, len(row) + 1] = EOS
    return out
