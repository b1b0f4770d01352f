"""What a site says about being used: seen, put on record, and decided by the recipe."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from mmcore.crawl.consent import ConsentPolicy, header_directives
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.sitemaps import parse_sitemap
from mmcore.crawl.sources import SiteSource
from mmcore.crawl.stage import Config, run
from mmcore.crawl.tdm import UNSAID, combined, from_headers, from_metas, parse_tdmrep
from mmcore.lake import Lake
from tests.crawl.helpers import crawl
from tests.crawl.site import LocalSite, Reply, picture

SITE = "http://example.org"
RULES = [
    {"location": "/", "tdm-reservation": 0},
    {"location": "/art/*", "tdm-reservation": 1, "tdm-policy": "/terms.json"},
    {"location": "*.gif$", "tdm-reservation": "1"},
    {"location": "/broken", "tdm-reservation": "perhaps"},
    "not a rule",
]


def test_the_longest_rule_of_a_tdmrep_file_that_matches_counts() -> None:
    file = parse_tdmrep(json.dumps(RULES).encode(), SITE)
    assert file.of(f"{SITE}/page").reserved is False
    art = file.of(f"{SITE}/art/cat.png")
    assert art.reserved and art.policy == f"{SITE}/terms.json" and art.source == "file"
    assert file.of(f"{SITE}/x.gif").reserved and not file.of(f"{SITE}/x.gif.png").reserved


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b'{"a": 1}', b"[" * 100_000, b"[1, {}]"])
def test_a_tdmrep_file_that_is_none_says_nothing(body: bytes) -> None:
    assert parse_tdmrep(body, SITE).of(f"{SITE}/") == UNSAID


def test_a_page_speaks_before_its_header_and_the_header_before_the_file() -> None:
    meta = from_metas([("TDM-Reservation", "0")], SITE)
    header = from_headers("1", "https://example.org/terms", SITE)
    assert combined(meta, header).reserved is False
    assert combined(UNSAID, header) == header and header.source == "header"
    assert from_headers("yes", None, SITE) == UNSAID


def test_the_policy_decides_and_the_strongest_word_is_named() -> None:
    words = header_directives(["noai, noindex"], "mmcorebot")
    reserved = from_headers("1", None, SITE)
    assert ConsentPolicy().refusal(words, reserved) == "noai"
    assert ConsentPolicy(noai="record").refusal(words, reserved) == "tdm_reserved"
    assert ConsentPolicy(noai="record", tdm="record").refusal(words, reserved) == "noindex"
    lenient = ConsentPolicy(noai="record", tdm="record", noindex="record")
    assert lenient.refusal(words, reserved) is None
    assert ConsentPolicy(licenses=("creativecommons.org",)).accepts_license(None) is False


def limits(**policy: Any) -> HostLimits:
    return HostLimits(consent=ConsentPolicy(**policy))


def test_reserved_pages_and_images_are_refused_or_recorded(lake: Lake) -> None:
    reserved = (("TDM-Reservation", "1"), ("TDM-Policy", "/terms"))
    routes = {
        "/": Reply('<img src="/free.png"><img src="/mine.png"><img src="/art/x.png"><a href="/p">'),
        "/p": Reply('<meta name="tdm-reservation" content="1"><img src="/shown-on-p.png">'),
        "/free.png": picture(1),
        "/mine.png": picture(2, headers=reserved),
        "/art/x.png": picture(3),
        "/shown-on-p.png": picture(4),
        "/.well-known/tdmrep.json": Reply(json.dumps(RULES), content_type="application/json"),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/free.png")) == "ok"
        for path in ("/mine.png", "/art/x.png", "/p", "/shown-on-p.png"):
            assert done.reason(site.url(path)) == "tdm_reserved"
        assert site.hits["/shown-on-p.png"] == 0
        site.hits.clear()
        recorded = crawl(lake, site.url("/"), host=limits(tdm="record"))
        assert recorded.reason(site.url("/mine.png")) == "ok"


@pytest.mark.usefixtures("ray_session")
def test_the_evidence_travels_with_the_row(lake: Lake) -> None:
    page = (
        '<link rel="canonical" href="/real"><a rel="license" '
        'href="https://creativecommons.org/licenses/by/4.0/">by</a><img src="/i.png" alt="a">'
    )
    headers = (("TDM-Reservation", "1"), ("TDM-Policy", "/terms"))
    routes = {"/": Reply(page), "/real": Reply(page), "/i.png": picture(1, headers=headers)}
    with LocalSite(routes) as site:
        source = SiteSource(start=(site.url("/"),), allow_private=True)
        config = Config(requests_per_second=None, consent=ConsentPolicy(tdm="record"))
        rows = run(lake, "2026-01-01", config, [source]).read().to_pylist()
        assert {row["page_url"] for row in rows} == {site.url("/"), site.url("/real")}
        assert {row["canonical_url"] for row in rows} == {site.url("/real")}
        seen = json.loads(rows[0]["consent"])
        assert seen["tdm_reserved"] is True and seen["tdm_policy"] == site.url("/terms")
        assert seen["license"].startswith("https://creativecommons.org")
        assert seen["robots"] == "absent"
        assert seen["seen"] == rows[0]["fetched_at"].date().isoformat()


def test_only_licensed_images_are_asked_for_where_the_recipe_says_so(lake: Lake) -> None:
    page = (
        '<figure><img src="/by.png"><a rel="license" href="https://creativecommons.org/licenses/'
        'by/4.0/">by</a></figure><figure><img src="/none.png"></figure>'
    )
    with LocalSite({"/": Reply(page), "/by.png": picture(1), "/none.png": picture(2)}) as site:
        done = crawl(lake, site.url("/"), host=limits(licenses=("creativecommons.org/licenses",)))
        assert done.reason(site.url("/by.png")) == "ok"
        assert done.reason(site.url("/none.png")) == "license_refused"
        assert site.hits["/none.png"] == 0


def urlset(*urls: str, kind: str = "url") -> str:
    rows = "".join(f"<{kind}><loc> {url} </loc></{kind}>" for url in urls)
    return f'<?xml version="1.0"?><set xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{rows}</set>'


def test_pages_of_sitemaps_are_visited_through_indexes_and_gzip(lake: Lake) -> None:
    with LocalSite() as site:
        index = urlset(site.url("/a.xml.gz"), site.url("/i.xml"), kind="sitemap")
        listed = urlset(site.url("/hidden"), site.url("/secret/x"), "http://other.example/")
        robots = f"User-agent: *\nDisallow: /secret\nSitemap: {site.url('/i.xml')}\n"
        site.routes = {
            "/robots.txt": Reply(robots, content_type="text/plain"),
            "/i.xml": Reply(index, content_type="text/xml"),
            "/a.xml.gz": Reply(gzip.compress(listed.encode()), content_type="application/gzip"),
            "/": Reply("start"),
            "/hidden": Reply('<img src="/h.png">'),
            "/h.png": picture(9),
        }
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/h.png")) == "ok"
        assert done.reason(site.url("/secret/x")) == "robots_disallowed"
        assert done.row(site.url("/hidden"))["referrer"] == site.url("/a.xml.gz")
        assert max(site.hits.values()) == 1 and "/sitemap.xml" not in site.hits


@pytest.mark.parametrize(
    ("body", "pages", "problem"),
    [
        (urlset("http://a/1", "mailto:x", "http://a/1").encode(), 1, None),
        (urlset("http://a/1").encode()[:-8], 1, "unclosed token"),
        (b"\xef\xbb\xbfhttp://a/1\r\nhttp://a/2\n", 2, None),
        (b"<rss><channel><item><link>http://a/1</link></item></channel></rss>", 1, None),
        (b'<feed><entry><link href="http://a/1"/></entry></feed>', 1, None),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><urlset><url><loc>http://a/&a;</loc></url></urlset>',
         0, "document type"),
        (urlset(*(f"http://a/{i}" for i in range(60_000))).encode(), 50_000, "more than 50,000"),
        (gzip.compress(b" " * (60 << 20)), 0, "too large"),
        (b"\x1f\x8bnot gzip", 0, "not gzip"),
        (gzip.compress(urlset("http://a/1").encode())[:-30], 0, ""),
        (gzip.compress(b"http://a/1\n") + gzip.compress(b"http://a/2\n"), 2, None),
        (urlset("http://a/1").replace("1.0", '1.0" encoding="UTF-16').encode("utf-16"), 1, None),
        (b"<" + b"a><" * 50_000, 0, "deep"),
    ],
)  # fmt: skip
def test_a_sitemap_however_broken_gives_what_it_has(
    body: bytes, pages: int, problem: str | None
) -> None:
    found = parse_sitemap(body, "http://a/sitemap.xml")
    assert len(found.pages) == pages
    assert found.problem is None if problem is None else problem in (found.problem or "")
