"""What one host's crawl is asked to do, and what it leaves for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.tdm import TdmFile
from mmcore.crawl.urls import host_of


@dataclass(frozen=True)
class Scope:
    """Which pages belong to a source, and how many of them are wanted."""

    hosts: frozenset[str]
    path_prefix: str = "/"
    max_pages: int | None = None
    max_depth: int | None = None
    foreign_images: bool = True
    sitemaps: bool = True

    def covers(self, url: str) -> bool:
        """Whether a page belongs to the source."""
        return host_of(url) in self.hosts and urlsplit(url).path.startswith(self.path_prefix)


@dataclass(frozen=True, slots=True)
class PageLead:
    """A page to visit: `scope` is an index into the job's scopes."""

    url: str
    scope: int
    depth: int = 0
    hops: int = 0
    referrer: str | None = None


@dataclass(frozen=True, slots=True)
class ImageLead:
    """An image to fetch."""

    url: str
    hops: int = 0
    referrer: str | None = None


@dataclass(frozen=True)
class HostJob:
    """All that is known to do on one host. `known`: page URLs that earlier waves visited."""

    host: str
    pages: tuple[PageLead, ...] = ()
    images: tuple[ImageLead, ...] = ()
    known: frozenset[str] = frozenset()
    robots: dict[str, RobotsFile] = field(default_factory=dict)
    """By origin, as earlier waves were answered."""
    tdm: dict[str, TdmFile] = field(default_factory=dict)
    """By origin, as earlier portions of the host were answered."""
    requested: dict[int, int] = field(default_factory=dict)
    """Pages requested so far, by scope: the page limit holds over all waves."""
