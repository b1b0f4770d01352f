"""What a page or an answer says about being used: meta robots and X-Robots-Tag.

Directives: noindex, nofollow, noimageindex, none (as the search engines document them), and noai,
noimageai (DeviantArt's convention), noml. Both forms may be addressed to one crawler only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Refusal = Literal["noai", "noindex"]

_NO_AI = frozenset({"noai", "noimageai", "noml"})
_NO_INDEX = frozenset({"noindex", "noimageindex"})
# These carry a value after a colon, so the colon does not name a crawler.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def header_directives(values: Iterable[str], agent: str) -> frozenset[str]:
    """Directives of X-Robots-Tag headers that hold for `agent` (a lower-case product token).

    `otherbot: noindex, noai` holds for otherbot only, up to the next crawler's name.
    """
    found: set[str] = set()
    for value in values:
        applies = True
        for piece in value.lower().split(","):
            name, colon, rest = piece.strip().partition(":")
            if colon and name.strip() not in _VALUED:
                applies = name.strip() in (agent, "*")
                name = rest
            if applies:
                found.add(name.strip())
    return _expanded(found)


def meta_directives(metas: Iterable[tuple[str, str]], agent: str) -> frozenset[str]:
    """Directives of (name, content) pairs of `<meta>`: name `robots`, or the agent's own."""
    found: set[str] = set()
    for name, content in metas:
        if name.strip().lower() in ("robots", agent):
            words = (word.partition(":")[0] for word in content.lower().split(","))
            found |= {word.strip() for word in words}
    return _expanded(found)


def _expanded(words: set[str]) -> frozenset[str]:
    if "none" in words:
        words = words | {"noindex", "nofollow"}
    return frozenset(words - {""})


def refusal(directives: frozenset[str]) -> Refusal | None:
    """Why images under these directives are not taken; `noai` is the stronger word."""
    if directives & _NO_AI:
        return "noai"
    return "noindex" if directives & _NO_INDEX else None
