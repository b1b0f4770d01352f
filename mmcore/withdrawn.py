"""What was taken down and must not come back: URLs not to ask for, files not to store.

The graph makes it of the dataset `takedown`; the crawl need not know where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Withdrawn:
    """A takedown list as the crawl needs it; an empty one withdraws nothing."""

    urls: frozenset[str] = frozenset()
    """Of images and of pages, as they are requested."""
    sha256: frozenset[str] = frozenset()

    def has_url(self, url: str) -> bool:
        """Whether the URL is listed. A fragment names a sample of a tar, and is no part of it."""
        return bool(self.urls) and (url in self.urls or url.partition("#")[0] in self.urls)

    def has_any(self, urls: Iterable[str | None]) -> bool:
        """Whether one of the URLs is listed."""
        return any(self.has_url(url) for url in urls if url is not None)
