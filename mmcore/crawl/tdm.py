"""TDM Reservation Protocol (W3C TDM Reservation Protocol, TDMRep): may text and data be mined?

A site says so in HTTP headers, in `<meta>` of a page, or in `/.well-known/tdmrep.json`, a list of
rules by path. What a page says comes before the header, the header before the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mmcore.crawl.urls import resolve_or_none

WELL_KNOWN = "/.well-known/tdmrep.json"
MAX_BYTES = 1 << 20
_MOST_RULES = 10_000


@dataclass(frozen=True)
class Reservation:
    """What was said about mining: `reserved` is None where nothing was."""

    reserved: bool | None = None
    policy: str | None = None
    """URL of the terms under which it is allowed all the same."""
    source: str | None = None
    """`meta`, `header` or `file`."""


UNSAID = Reservation()


@dataclass(frozen=True)
class TdmFile:
    """Rules of a tdmrep.json: (path pattern, reservation), in the file's order."""

    rules: tuple[tuple[str, Reservation], ...] = ()

    def of(self, url: str) -> Reservation:
        """What the file says of a URL: the longest pattern that matches, the first of equals."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        matching = [rule for rule in self.rules if _pattern(rule[0]).match(path)]
        return max(matching, key=lambda rule: len(rule[0]), default=("", UNSAID))[1]


def from_headers(reservation: str | None, policy: str | None, url: str) -> Reservation:
    """Of the headers `TDM-Reservation` and `TDM-Policy` of an answer."""
    return _reservation(reservation, policy, url, "header")


def from_metas(metas: Iterable[tuple[str, str]], url: str) -> Reservation:
    """Of (name, content) pairs of a page's `<meta>`."""
    said = {name.strip().lower(): content for name, content in metas}
    return _reservation(said.get("tdm-reservation"), said.get("tdm-policy"), url, "meta")


def parse_tdmrep(body: bytes, origin: str) -> TdmFile:
    """A tdmrep.json; a file that is not one, or a rule that is none, says nothing."""
    try:
        entries = json.loads(body[:MAX_BYTES].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return TdmFile()
    rules = []
    for entry in entries[:_MOST_RULES] if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("location"), str):
            said = _reservation(
                entry.get("tdm-reservation"), entry.get("tdm-policy"), origin + "/", "file"
            )
            rules.append((entry["location"], said))
    return TdmFile(tuple(rules))


def combined(*reservations: Reservation) -> Reservation:
    """The first that says anything."""
    return next((said for said in reservations if said.reserved is not None), UNSAID)


def _reservation(value: Any, policy: Any, url: str, source: str) -> Reservation:
    text = str(value).strip() if isinstance(value, str | int) else ""
    if text not in ("0", "1"):
        return UNSAID
    terms = resolve_or_none(url, policy) if isinstance(policy, str) else None
    return Reservation(text == "1", terms, source)


def _pattern(location: str) -> re.Pattern[str]:
    """A location as a regular expression: `*` is any run, a final `$` the end (RFC 9309 2.2.3)."""
    ends = location.endswith("$")
    pieces = (re.escape(piece) for piece in re.split(r"\*+", location.removesuffix("$")))
    return re.compile(".*".join(pieces) + (r"\Z" if ends else ""), re.S)
