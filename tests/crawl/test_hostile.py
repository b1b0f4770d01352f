"""Servers that lie, drip, flood and trap: each URL ends with a reason, and the crawl ends."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mmcore.crawl.address import PinnedResolver
from mmcore.crawl.fetch import Fetcher, FetchLimits
from mmcore.crawl.limits import HostLimits
from mmcore.lake import Lake
from tests.crawl.helpers import SITE_FILES, crawl
from tests.crawl.site import LocalSite, Reply, moved, picture, png

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
BOMB = gzip.compress(bytes(64 << 20))
SMALL = HostLimits(max_page_bytes=1 << 20, max_image_bytes=1 << 20)
CONNECTION = {"connection_error"}


def chunked(*chunks: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


HOSTILE: dict[str, tuple[Reply, set[str]]] = {
    "endless chunks": (
        Reply(raw=chunked(*[b"10000\r\n" + png() * 900 + b"\r\n"] * 2), hang=30, drip=True),
        {"connection_error", "timeout", "too_large"},
    ),
    "more than the cap": (Reply(raw=HEAD + b"\r\n" + png() + bytes(2 << 20)), {"too_large"}),
    "gzip bomb": (
        Reply(BOMB, content_type="image/png", headers=(("Content-Encoding", "gzip"),)),
        {"too_large"},
    ),
    "a plain body that claims to be gzip": (
        Reply(png(), content_type="image/png", headers=(("Content-Encoding", "gzip"),)),
        CONNECTION,
    ),
    "an unknown coding": (
        Reply(png(), content_type="image/png", headers=(("Content-Encoding", "rot13"),)),
        {"wrong_content_type"},
    ),
    "a header of a mebibyte": (
        Reply(raw=HEAD + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n"),
        CONNECTION,
    ),
    "a hundred thousand headers": (
        Reply(raw=HEAD + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(100_000)) + b"\r\n"),
        {"connection_error", "empty"},
    ),
    "a chunk size that is no number": (Reply(raw=chunked(b"zz\r\nabc\r\n")), CONNECTION),
    "a chunk size beyond all memory": (
        Reply(raw=chunked(b"f" * 40 + b"\r\nabc\r\n")),
        CONNECTION | {"too_large"},
    ),
    "no last chunk": (Reply(raw=chunked(b"8\r\n" + png()[:8] + b"\r\n")), CONNECTION),
    "a length beyond the body": (
        Reply(raw=HEAD + b"Content-Length: 9999\r\n\r\n" + png()),
        CONNECTION | {"timeout"},
    ),
    "a negative length": (Reply(raw=HEAD + b"Content-Length: -5\r\n\r\n" + png()), CONNECTION),
    "two lengths": (
        Reply(raw=HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + png()),
        CONNECTION,
    ),
    "no HTTP at all": (Reply(raw=b"\x00\x01hello there\r\n\r\n"), CONNECTION),
    "a status that is no number": (Reply(raw=b"HTTP/1.1 OK 200\r\n\r\n"), CONNECTION),
    "a drip without an end": (
        Reply(raw=HEAD + b"Content-Length: 100000\r\n\r\n" + png(), hang=30, drip=True),
        {"timeout"},
    ),
    "a file": (moved("file:///etc/passwd"), {"invalid_url"}),
    "a script": (moved("javascript:alert(1)"), {"invalid_url"}),
    "credentials": (moved("http://user:secret@127.0.0.1/"), {"invalid_url"}),
    "itself": (moved("/x.png"), {"redirect_loop"}),
    "an hour of Retry-After": (
        Reply(status=429, headers=(("Retry-After", "99999999999"),)),
        {"rate_limited"},
    ),
    "a Retry-After of nonsense": (
        Reply(status=503, headers=(("Retry-After", "-5 apples"),)),
        {"http_error"},
    ),
    "304 to a plain request": (Reply(raw=b"HTTP/1.1 304 No\r\n\r\n"), {"http_error"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_ends_with_a_reason(lake: Lake, name: str) -> None:
    reply, reasons = HOSTILE[name]
    routes = {"/": Reply('<img src="/x.png"><img src="/good.png">'), "/good.png": picture(1)}
    quick = FetchLimits(total_seconds=1.5, connect_seconds=1, idle_seconds=0.5)
    with LocalSite(routes | {"/x.png": reply}) as site:
        tracemalloc.start()
        done = crawl(lake, site.url("/"), fetch=quick, host=SMALL)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert done.reason(site.url("/x.png")) in reasons
        assert done.reason(site.url("/good.png")) == "ok"
        assert len(done.raw) == 1
        assert peak < 48 << 20, "a bomb of 64 MiB must not be held"


def test_redirects_to_private_places_are_refused_where_they_lead(lake: Lake) -> None:
    with LocalSite({"/secret": picture(5)}) as other:
        routes = {
            "/": Reply('<img src="/a.png"><img src="/b.png">'),
            "/a.png": moved("http://169.254.169.254/latest/meta-data"),
            "/b.png": moved(f"http://localhost:{other.port}/secret"),
        }
        with LocalSite(routes) as site:
            done = crawl(lake, site.url("/"))
            targets = {lead.url for lead in done.result.foreign_images}
            assert len(targets) == 2 and other.hits.total() == 0
            for target in sorted(targets):
                answer = asyncio.run(get(target, PinnedResolver({"127.0.0.1"})))
                assert answer.reason == "private_address"
            assert other.hits.total() == 0


async def get(url: str, resolver: PinnedResolver) -> Any:
    limits = FetchLimits(total_seconds=3, connect_seconds=1, idle_seconds=1)
    async with Fetcher("mmcorebot", limits, resolver, 2, 2) as fetcher:
        return await fetcher.get(url, "*/*", 1 << 20, lambda head, declared: True)


def test_a_name_that_rebinds_to_this_machine_never_reaches_it() -> None:
    with LocalSite({"/": Reply("inside")}) as inside:
        answers = iter([["127.0.0.1"], ["127.0.0.1"]])
        mixed = PinnedResolver(lookup=lambda host: ["93.184.216.34", "127.0.0.1"])
        later = PinnedResolver(lookup=lambda host: next(answers))
        for resolver in (mixed, later):
            answer = asyncio.run(get(f"http://evil.example:{inside.port}/", resolver))
            assert answer.reason == "private_address"
        assert inside.hits.total() == 0


def test_a_pinned_name_is_looked_up_once_however_often_it_is_asked_for() -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async def twice(port: int) -> list[str]:
        resolver = PinnedResolver({"site.example"}, lookup)
        limits = FetchLimits(total_seconds=3, connect_seconds=1, idle_seconds=1)
        async with Fetcher("mmcorebot", limits, resolver, 1, 1) as fetcher:
            wanted = lambda head, declared: True  # noqa: E731
            found = [
                await fetcher.get(f"http://site.example:{port}/{i}", "*/*", 99, wanted)
                for i in range(2)
            ]
            return [answer.reason for answer in found]

    with LocalSite({"/0": Reply("a"), "/1": Reply("b")}) as site:
        assert asyncio.run(twice(site.port)) == ["ok", "ok"]
    assert asked == ["site.example"]


@pytest.mark.parametrize("kind", ["links", "images"])
def test_fifty_thousand_of_them_on_a_page_end(lake: Lake, kind: str) -> None:
    many = range(50_000)
    body = "".join(
        f'<a href="/p{i}">' if kind == "links" else f'<img src="mailto:{i}">' for i in many
    )
    with LocalSite({"/": Reply(body)}) as site:
        done = crawl(lake, site.url("/"), scope={"max_pages": 3})
        assert done.reason(site.url("/"), "page") == "ok"
        assert sum(site.hits[path] for path in set(site.hits) - SITE_FILES) <= 3
        if kind == "links":
            assert done.result.reasons[("page", "limit_reached")] == 49_998


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 20_000 + '<img src="/x.png">',
        "<table><tr><td>" * 5_000 + '<img src="/x.png">',
        '<img src="/x.png">' + "<!--" + "-" * 500_000,
        '<img src="/x.png">' + "\x00" * 100_000,
        '<img src="/x.png" alt="' + "a " * 200_000 + '">',
        '<img src="/x.png"><script>' + "{" * 200_000,
    ],
    ids=["deep", "tables", "comment", "nul", "long alt", "script"],
)
def test_markup_built_to_choke_a_parser_is_read(lake: Lake, body: str) -> None:
    with LocalSite({"/": Reply(body), "/x.png": picture(1)}) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/"), "page") == "ok"
        assert done.reason(site.url("/x.png")) == "ok"


def test_a_calendar_without_an_end_stops_at_the_limit(lake: Lake) -> None:
    class Calendar(dict[str, Reply]):
        def get(self, path: str, default: Any = None) -> Any:
            if path in SITE_FILES:
                return default
            here = path.strip("/")
            return Reply(f'<a href="/{here}0"></a><a href="/{here}1"></a>')

    with LocalSite(Calendar()) as site:
        done = crawl(lake, site.url("/"), scope={"max_pages": 30})
        assert done.result.reasons[("page", "ok")] == 30


def test_a_cookie_is_not_sent_back(lake: Lake, tmp_path: Path) -> None:
    cookie = (("Set-Cookie", "id=1; Path=/"),)
    with LocalSite({"/": Reply('<a href="/b">', headers=cookie), "/b": Reply("b")}) as site:
        crawl(lake, site.url("/"))
        assert site.hits["/b"] == 1 and not any("cookie" in h.lower() for h in site.header_names)
