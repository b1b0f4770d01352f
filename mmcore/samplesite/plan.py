"""The parts a site is planned from: pictures, figures on pages, pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from mmcore.samplesite.config import SiteConfig
from mmcore.samplesite.scenes import Scene

KEPT = "kept"
ABSENT = "absent"


def address(base_url: str, path: str) -> str:
    """The absolute URL of a site path (unicode, maybe with blanks), percent-encoded."""
    return base_url + quote(path, safe="/?=&~-._")


@dataclass(frozen=True)
class Picture:
    """One image URL: what it answers and what must happen to it.

    kind: "" or the kind of dirt that the picture itself is.
    fate: "kept" or "stage:reason"; ``also`` lists outcomes that are right as well
        ("absent": the URL need not be seen at all).
    target: where a redirect leads, or the path this is a copy of.
    refusals: how many first requests get a 429.
    """

    path: str
    kind: str
    scene: Scene | None
    fate: str
    also: tuple[str, ...] = ()
    format: str = ""
    scale: float = 1.0
    quality: int = 86
    content_type: str = ""
    robots: str = ""
    refusals: int = 0
    status: int = 200
    target: str = ""
    variant: int = 0
    first_edition: int = 1


@dataclass(frozen=True)
class Figure:
    """One picture standing on a page with its texts.

    told: the scene that the texts speak of; a wrong caption speaks of another one.
    dirt: "" or the kind of dirt in the texts or the markup; ``extra``: path of a second
    candidate for srcset and <picture>.
    """

    key: str
    picture: str
    scene: Scene
    told: Scene
    lang: str
    dirt: str = ""
    extra: str = ""
    detail: str = ""
    revision: int = 0


@dataclass(frozen=True)
class Page:
    """One page URL: its figures, its links and how it behaves.

    fate: "ok" or the crawl reason it must get, ``also`` what is right as well.
    links: (path or absolute URL, text). ornaments: paths of pictures without texts.
    """

    path: str
    kind: str
    lang: str
    title: str
    fate: str = "ok"
    dirt: str = ""
    also: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    ornaments: tuple[str, ...] = ()
    next_path: str = ""
    meta_robots: str = ""
    header_robots: str = ""
    declares_lang: bool = True
    base: str = ""
    broken: bool = False
    latin1: bool = False
    slow: bool = False
    refusals: int = 0
    status: int = 200
    target: str = ""
    first_edition: int = 1


@dataclass(frozen=True)
class Site:
    """All that a site answers, by unicode path."""

    config: SiteConfig
    pictures: dict[str, Picture] = field(repr=False)
    pages: dict[str, Page] = field(repr=False)
