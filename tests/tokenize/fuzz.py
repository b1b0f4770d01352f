"""Random texts that are hard on a tokenizer: white space, marks, capitals, special tokens."""

from __future__ import annotations

import random
import unicodedata

_HARD = (
    " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"  # white space
    "\u200b\u180e\u00ad\ufeff"  # looks like it, is none
    "\u00a8\u00af\u00b4\ufdfa\ufe70\u2017"  # NFKC makes a space of these, or with one
    "\u0301\u0308\u0344\u0fb2\u0f71"  # marks that compose or reorder
    "\u0130\u03a3\u1e9e\u212b\ufb01½'\u2019"
)
_WORDS = ("'s", "'LL", "[EOS]", "[PAD]", " red", "Circle", "don't", "x'red", "12", "…")


def random_texts(count: int, seed: int, assigned: bool = False) -> list[str]:
    """`count` texts of up to 14 random pieces; `assigned`: only characters that Python knows."""
    draw = random.Random(seed)
    return [
        "".join(_piece(draw, assigned) for _ in range(draw.randrange(15))) for _ in range(count)
    ]


def _piece(draw: random.Random, assigned: bool) -> str:
    kind = draw.random()
    if kind < 0.3:
        return " "
    if kind < 0.5:
        return draw.choice(_HARD)
    if kind < 0.7:
        return draw.choice(_WORDS)
    while True:
        letter = chr(draw.randrange(0x110000 if kind > 0.85 else 0x3000))
        category = unicodedata.category(letter)
        if category != "Cs" and not (assigned and category == "Cn"):
            return letter
