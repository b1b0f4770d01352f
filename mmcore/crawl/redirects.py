"""Where chains of redirects end, worked out once everything is fetched.

Each URL is requested once, whoever led to it; what a chain amounts to must not depend on which of
its URLs was met first, so it is judged afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Chain:
    """The end of a chain: `reason` is `redirected`, `redirect_loop` or `too_many_redirects`."""

    reason: str
    end: str


def follow(url: str, targets: Mapping[str, str], most: int) -> Chain:
    """Follow redirects from `url`; `targets` maps a redirecting URL to where it points."""
    seen, current = {url}, url
    for _ in range(most):
        current = targets[current]
        if current in seen:
            return Chain("redirect_loop", current)
        if current not in targets:
            return Chain("redirected", current)
        seen.add(current)
    return Chain(
        "redirect_loop" if _loops(current, targets, seen) else "too_many_redirects", current
    )


def _loops(url: str, targets: Mapping[str, str], seen: set[str]) -> bool:
    """Whether the chain, followed to its end, comes back to itself."""
    while url in targets:
        url = targets[url]
        if url in seen:
            return True
        seen.add(url)
    return False
