"""Sitemaps (sitemaps.org protocol 0.9): XML, indexes, plain text, RSS and Atom, gzipped or not."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from mmcore.crawl.fetch import Answer
from mmcore.crawl.urls import host_of, origin_of, resolve_or_none

MAX_BYTES = 50 << 20
"""Of one file, inflated; the protocol allows no more."""
_MOST_URLS = 50_000
_MOST_FILES = 1_000
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Sitemap:
    """What one file lists, each once, in its order."""

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    problem: str | None = None
    """Why it ends where it does, if not at its end; what came before counts."""


class _Refused(Exception):
    """The file goes further than it may."""


@dataclass
class _Reader:
    """State of one XML file: the text of the `loc` (or feed `link`) that is open."""

    url: str
    pages: dict[str, None] = field(default_factory=dict)
    sitemaps: dict[str, None] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(_local(name))
        self.text = []
        if len(self.path) > 32:
            raise _Refused("it is nested too deep")
        relation = attributes.get("rel", "alternate")
        if self.path[-2:] == ["entry", "link"] and relation == "alternate":
            self._add(self.pages, attributes.get("href"))

    def characters(self, data: str) -> None:
        if sum(map(len, self.text)) < 8192:
            self.text.append(data)

    def end(self, name: str) -> None:
        where, written = self.path[-2:], "".join(self.text)
        self.path.pop()
        self.text = []
        if where == ["sitemap", "loc"]:
            self._add(self.sitemaps, written)
        elif where in (["url", "loc"], ["item", "link"]):
            self._add(self.pages, written)

    def doctype(self, *_: object) -> None:
        raise _Refused("it declares a document type")

    def _add(self, found: dict[str, None], written: str | None) -> None:
        target = resolve_or_none(self.url, (written or "").strip())
        if target is not None:
            found[target] = None
        if len(found) >= _MOST_URLS:
            raise _Refused(f"it lists more than {_MOST_URLS:,} URLs")


def parse_sitemap(body: bytes, url: str) -> Sitemap:
    """Read one file, however broken: what came before a break is kept. url: of the file."""
    try:
        data, problem = _inflated(body)
    except zlib.error as error:
        return Sitemap(problem=f"not gzip: {error}")
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if utf16:
        data = data.decode("utf-16", errors="replace").encode()
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _parse_text(data, url, problem)
    reader = _Reader(url)
    parser = expat.ParserCreate("utf-8" if utf16 else None)  # what the file says of itself is past
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype  # entities are how such a file bites
    try:
        parser.Parse(data.lstrip(b" \t\r\n"), True)
    except (expat.ExpatError, _Refused) as error:
        problem = problem or str(error)
    return Sitemap(tuple(reader.pages), tuple(reader.sitemaps), problem)


def _inflated(body: bytes) -> tuple[bytes, str | None]:
    """(content, problem); gzip is told by its first bytes, whatever the headers say."""
    if not body.startswith(_GZIP):
        return body[:MAX_BYTES], None if len(body) <= MAX_BYTES else "it is too large"
    data, rest = b"", body
    while rest.startswith(_GZIP):  # a file may have several members (RFC 1952 2.2)
        inflater = zlib.decompressobj(wbits=31)
        data += inflater.decompress(rest, MAX_BYTES + 1 - len(data))
        if len(data) > MAX_BYTES:
            return data[:MAX_BYTES], "it is too large"
        if not inflater.eof:
            return data, "it breaks off"
        rest = inflater.unused_data
    return data, None


def _parse_text(data: bytes, url: str, problem: str | None) -> Sitemap:
    lines = data.decode("utf-8-sig", errors="replace").splitlines()
    written = (line.strip() for line in lines)
    found = (resolve_or_none("", line) for line in written if line.startswith(("http:", "https:")))
    pages = tuple(dict.fromkeys(page for page in found if page))
    if len(pages) > _MOST_URLS:
        problem = f"it lists more than {_MOST_URLS:,} URLs"
    return Sitemap(pages[:_MOST_URLS], (), problem)


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


async def read_sitemaps(
    page: str, named: Sequence[str], get: Callable[[str], Awaitable[Answer]], most: int
) -> list[tuple[str, str]]:
    """(page URL, the sitemap that lists it), at most `most`, breadth first through indexes.

    page: any of the site. named: the `Sitemap` lines of its robots.txt (RFC 9309 2.2.4); without
    any, `/sitemap.xml` is tried. `get` gives the final answer for a URL. Only sitemaps on the
    page's own host are read: another host's robots.txt would have to allow them.
    """
    host = host_of(page)
    queue = [url for url in (resolve_or_none(page, n) for n in named) if url]
    queue = queue or [f"{origin_of(page)}/sitemap.xml"]
    asked: set[str] = set()
    found: dict[str, str] = {}
    while queue and len(asked) < _MOST_FILES and len(found) < most:
        url = queue.pop(0)
        if url in asked or host_of(url) != host:
            continue
        asked.add(url)
        answer = await get(url)
        if answer.reason != "ok":
            continue
        sitemap = parse_sitemap(answer.body, url)
        queue += sitemap.sitemaps
        for target in sitemap.pages:
            found.setdefault(target, url)
    return list(found.items())[:most]
