"""What a page or an answer says about being used: meta robots and X-Robots-Tag.

Directives: noindex, nofollow, noimageindex, none (as the search engines document them), and noai,
noimageai (DeviantArt's convention), noml. Both forms may be addressed to one crawler only. What
they lead to is the recipe's policy; what was seen travels with each row in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mmcore.crawl.tdm import UNSAID, Reservation

Refusal = Literal["noai", "tdm_reserved", "noindex"]
Choice = Literal["refuse", "record"]

_NO_AI = frozenset({"noai", "noimageai", "noml"})
# These carry a value after a colon, so the colon does not name a crawler.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_CRAWLER = re.compile(r"\*|[a-z][a-z0-9_.-]*")


def header_directives(values: Iterable[str], agent: str) -> frozenset[str]:
    """Directives of X-Robots-Tag headers that hold for `agent` (a lower-case product token).

    `otherbot: noindex, noai` holds for otherbot only, up to the next crawler's name. Dates have
    commas and colons too: those name nobody.
    """
    found: set[str] = set()
    for value in values:
        applies = True
        for piece in value.lower().split(","):
            name, colon, rest = piece.strip().partition(":")
            if colon and name.strip() not in _VALUED and _CRAWLER.fullmatch(name.strip()):
                applies = name.strip() in (agent, "*")
                piece = rest
            if applies:
                found |= _words(piece)
    return _expanded(found)


def meta_directives(metas: Iterable[tuple[str, str]], agent: str) -> frozenset[str]:
    """Directives of (name, content) pairs of `<meta>`: name `robots`, or the agent's own."""
    found: set[str] = set()
    for name, content in metas:
        if name.strip().lower() in ("robots", agent):
            for piece in re.split("[,;]", content.lower()):
                found |= _words(piece)
    return _expanded(found)


def _words(piece: str) -> set[str]:
    """The directives between two commas: one, as a rule; some sites put blanks between them."""
    name, colon, _ = piece.strip().partition(":")
    return {name.strip()} if colon else set(name.split())


def _expanded(words: set[str]) -> frozenset[str]:
    if "none" in words:
        words = words | {"noindex", "nofollow"}
    return frozenset(words - {""})


class ConsentPolicy(BaseModel):
    """What the crawl does with an image its site, page or licence speaks about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    noai: Choice = Field("refuse", description="Pages and images marked noai, noimageai or noml.")
    noindex: Choice = Field("refuse", description="Pages and images marked noindex or none.")
    noimageindex: Choice = Field("refuse", description="Images marked noimageindex.")
    tdm: Choice = Field("refuse", description="What a TDM reservation (TDMRep) is made for.")
    licenses: tuple[str, ...] | None = Field(
        None,
        description="Only images under a licence whose URL contains one of these; null: any, or "
        "none.",
    )

    def refusal(self, directives: frozenset[str], tdm: Reservation = UNSAID) -> Refusal | None:
        """Why what stands under these is not taken, the strongest word first; None if it is."""
        if self.noai == "refuse" and directives & _NO_AI:
            return "noai"
        if self.tdm == "refuse" and tdm.reserved:
            return "tdm_reserved"
        unindexed = {"noindex"} if self.noindex == "refuse" else set()
        unindexed |= {"noimageindex"} if self.noimageindex == "refuse" else set()
        return "noindex" if directives & unindexed else None

    def accepts_license(self, license: str | None) -> bool:
        """Whether an image under this licence (a URL, None where none is named) is wanted."""
        if self.licenses is None:
            return True
        return any(wanted.lower() in (license or "").lower() for wanted in self.licenses)
