"""What a unit of the crawl has found so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from mmcore.crawl.answers import Kept, Key
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.spill import Slot
from mmcore.crawl.tdm import UNSAID, Reservation, TdmFile
from mmcore.crawl.work import ImageLead, PageLead


@dataclass(frozen=True, slots=True)
class Stored:
    """An image whose bytes are kept."""

    sha256: str
    media_type: str
    robots: str
    x_robots_tag: str | None
    fetched_at: datetime
    tdm: Reservation = UNSAID
    stored: str | None = None
    """Earlier partition whose `raw` has the bytes; None: they belong into this one."""
    state: str | None = None


@dataclass(repr=False)
class Findings:
    """What the crawl of a unit (one or more hosts) found so far."""

    answers: dict[Key, Kept] = field(default_factory=dict)
    """Final answers by (kind, url)."""
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """By (kind, url)."""
    referrers: dict[tuple[str, str], str] = field(default_factory=dict)
    """First page, by URL, that led to a (kind, url)."""
    images: dict[str, Stored] = field(default_factory=dict)
    bodies: dict[str, Slot] = field(default_factory=dict)
    """Where an image's bytes lie, by sha256."""
    pages: dict[str, Slot] = field(default_factory=dict)
    """Where a page's references lie, by URL."""
    withheld: dict[str, str] = field(default_factory=dict)
    """Images seen only where they must not be taken from -> noindex or noai."""
    foreign_images: dict[str, ImageLead] = field(default_factory=dict)
    foreign_pages: dict[str, PageLead] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    requested: dict[str, dict[int, int]] = field(default_factory=dict)
    robots: dict[str, RobotsFile] = field(default_factory=dict)
    tdm: dict[str, TdmFile] = field(default_factory=dict)
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many outcomes there are of each (kind, reason)."""
    requests: int = 0
    replayed: int = 0
    """Answers taken from the journal of an interrupted crawl."""
    queued: int = 0

    def withhold_body(self, key: Key) -> None:
        """Do not keep the body beyond this crawl: what it says forbids it."""
        self.answers[key] = replace(self.answers[key], archived=False)

    def erase(self, digests: Collection[str]) -> None:
        """Forget stored images whose bytes were erased since: they must not be stored."""
        for url in [url for url, image in self.images.items() if image.sha256 in digests]:
            del self.images[url]
            outcome = self.outcomes["image", url]
            self.note(replace(outcome, reason="blocklisted", sha256=None, bytes=0))

    def note(self, outcome: Outcome) -> None:
        """Put an outcome on record; the last word about a URL counts."""
        key = (outcome.kind, outcome.url)
        if key in self.outcomes:
            self.tally[(outcome.kind, self.outcomes[key].reason)] -= 1
        self.outcomes[key] = outcome
        self.tally[(outcome.kind, outcome.reason)] += 1

    def note_unless_known(self, outcome: Outcome, referrer: str | None) -> None:
        """For what was only seen: a request for it, by another way, says more."""
        self.refer(outcome.kind, outcome.url, referrer)
        if (outcome.kind, outcome.url) not in self.outcomes:
            self.note(outcome)

    def refer(self, kind: str, url: str, page: str | None) -> None:
        """Note that a page led to a URL."""
        key = (kind, url)
        if page is not None and page < self.referrers.get(key, "\U0010ffff"):
            self.referrers[key] = page
