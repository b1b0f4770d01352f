"""A unit of the crawl against small real servers, well-behaved and hostile."""

from __future__ import annotations

import gzip
import zlib

import pytest

from mmcore.crawl.fetch import FetchLimits
from mmcore.crawl.gate import Politeness
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.unit import Unit, crawl_unit
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob
from mmcore.lake import Lake
from tests.crawl.helpers import SITE_FILES, crawl, settings, writers
from tests.crawl.site import LocalSite, Reply, moved, picture, png


def page(*images: str, links: tuple[str, ...] = (), head: str = "") -> Reply:
    shown = "".join(f'<img src="{src}" alt="alt of {src}">' for src in images)
    led = "".join(f'<a href="{href}">x</a>' for href in links)
    return Reply(f"<html><head>{head}</head><body>{shown}{led}</body></html>")


def test_pages_and_images_are_found_and_each_url_is_fetched_once(lake: Lake) -> None:
    routes = {
        "/": page("a.png", links=("/two.html", "/two.html#x", "/dead.html")),
        "/two.html": page("a.png", "b.png", links=("/",)),
        "/a.png": picture(1),
        "/b.png": picture(1),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert set(site.hits.values()) == {1}
        assert site.agents == {"mmcorebot/test"}
        shown = [r["image_url"].removeprefix(site.base) for r in done.references]
        assert shown == ["/a.png", "/a.png", "/b.png"]
        assert done.row(site.url("/a.png"))["referrer"] == site.url("/")
        assert done.row(site.url("/dead.html"))["reason"] == "http_error"
        assert done.row(site.url("/dead.html"))["status"] == 404
        assert [(r["url"], r["image"]) for r in done.raw] == [(site.url("/a.png"), png(1))]
        assert done.result.images["url"].to_pylist() == [site.url("/a.png"), site.url("/b.png")]


def test_content_does_not_depend_on_the_order_of_answers(lake: Lake) -> None:
    def _routes(slow: int) -> dict[str, Reply | list[Reply]]:
        routes: dict[str, Reply | list[Reply]] = {}
        for i in range(12):
            delay = 0.05 if i % 3 == slow else 0.0
            shown = page(f"{i}.png", "all.png", links=(f"/p{i + 1}", f"/p{(i * 5) % 12}", "/q"))
            routes[f"/p{i}"] = Reply(shown.body, delay=delay)
            good = picture(i, delay=delay)
            busy = Reply("later", 429, headers=(("Retry-After", "0"),))
            routes[f"/{i}.png"] = [busy, good] if i % 3 == slow else good
        routes["/all.png"] = picture(99)
        return routes

    with LocalSite(_routes(0)) as site:
        first = crawl(lake, site.url("/p0"), scope={"max_depth": 5, "max_pages": 9})
        site.routes = _routes(1)
        site.hits.clear()
        second = crawl(lake, site.url("/p0"), scope={"max_depth": 5, "max_pages": 9})
        assert first.reason(site.url("/all.png")) == "ok"
        assert "limit_reached" in {row["reason"] for row in first.outcomes}
    assert first.digests == second.digests


def test_robots_txt_is_obeyed_for_pages_and_images(lake: Lake) -> None:
    routes = {
        "/robots.txt": Reply("User-agent: mmcorebot\nDisallow: /no/\n", content_type="text/plain"),
        "/": page("/no/a.png", "/b.png", links=("/no/page.html",)),
        "/b.png": picture(),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/no/a.png")) == "robots_disallowed"
        assert done.reason(site.url("/no/page.html")) == "robots_disallowed"
        assert set(site.hits) - SITE_FILES == {"/", "/b.png"}
        assert done.result.images["robots"].to_pylist() == ["allowed"]


@pytest.mark.parametrize(("status", "expected"), [(500, "robots_disallowed"), (403, "ok")])
def test_a_broken_robots_txt_means_stay_away_and_a_refused_one_means_none(
    lake: Lake, status: int, expected: str
) -> None:
    with LocalSite({"/robots.txt": Reply("x", status), "/": page()}) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/"), "page") == expected
        assert site.hits["/"] == (1 if expected == "ok" else 0)
        assert site.hits["/robots.txt"] == (3 if status == 500 else 1)


def test_consent_is_honoured_on_pages_and_on_images(lake: Lake) -> None:
    no_ai, no_index = (("X-Robots-Tag", "noai"),), "<meta name=robots content=noindex>"
    routes = {
        "/": page("free.png", "tagged.png", "other.png", links=("/meta", "/head", "/nofollow")),
        "/meta": page("m.png", "free.png", links=("/behind",), head=no_index),
        "/head": Reply(page("h.png", "m.png").body, headers=no_ai),
        "/nofollow": page(links=("/hidden",), head="<meta name=robots content=nofollow>"),
        "/behind": page(),
        "/free.png": picture(1),
        "/tagged.png": picture(2, headers=(("X-Robots-Tag", "noimageindex"),)),
        "/other.png": picture(3, headers=(("X-Robots-Tag", "otherbot: noai"),)),
    }  # fmt: skip
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        reasons = {row["url"].removeprefix(site.base): row["reason"] for row in done.outcomes}
        assert reasons["/meta"] == "noindex"
        assert reasons["/head"] == "noai"
        assert (reasons["/m.png"], reasons["/h.png"]) == ("noai", "noai")
        assert (reasons["/free.png"], reasons["/other.png"]) == ("ok", "ok")
        assert reasons["/tagged.png"] == "noindex"
        assert reasons["/behind"] == "ok", "noindex does not mean nofollow"
        assert "/hidden" not in reasons
        assert site.hits["/m.png"] == site.hits["/h.png"] == 0
        assert {r["page_url"] for r in done.references} == {site.url("/")}
        assert len(done.raw) == 2


def test_redirects_are_followed_and_loops_are_named(lake: Lake) -> None:
    routes: dict[str, Reply | list[Reply]] = {
        "/": page("/moved.png", "/ring.png", links=("/old", "/loop/a", "/to/0")),
        "/old": moved("new"),
        "/new": page("x.png"),
        "/moved.png": moved("/real.png", 301),
        "/real.png": picture(),
        "/ring.png": moved("/ring.png"),
        "/loop/a": moved("/loop/b"),
        "/loop/b": moved("/loop/a"),
    }
    routes |= {f"/to/{i}": moved(f"/to/{i + 1}") for i in range(50)}
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"), host=HostLimits(max_redirects=4))
        assert done.reason(site.url("/old")) == "redirected"
        assert done.reason(site.url("/new")) == "ok"
        assert done.reason(site.url("/loop/a")) == "redirect_loop"
        assert done.reason(site.url("/loop/b")) == "redirect_loop"
        assert done.reason(site.url("/ring.png")) == "redirect_loop"
        assert done.reason(site.url("/to/0")) == "too_many_redirects"
        assert site.hits["/to/5"] == 0
        assert done.reason(site.url("/moved.png")) == "redirected"
        assert done.result.redirects[("image", site.url("/moved.png"))] == site.url("/real.png")
        assert done.reason(site.url("/real.png")) == "ok"


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/x.png", "http://localhost:{port}/secret.png"],
)
def test_a_redirect_to_a_private_address_is_refused(lake: Lake, target: str) -> None:
    with LocalSite() as site:
        goal = target.format(port=site.port)
        site.routes = {"/": page("/go.png"), "/go.png": moved(goal), "/secret.png": picture()}
        first = crawl(lake, site.url("/"))
        leads = tuple(first.result.foreign_images)
        assert [lead.url for lead in leads] == [goal]
        unit = Unit(1, (HostJob(host_of(goal), images=leads),))
        result = crawl_unit(unit, (), settings(), writers(lake), lambda line: None)
        assert result.reasons == {("image", "private_address"): 1, ("robots", "private_address"): 1}
        assert site.hits["/secret.png"] == 0


def test_loopback_is_refused_unless_the_source_names_it(lake: Lake) -> None:
    with LocalSite({"/": page()}) as site:
        done = crawl(lake, site.url("/"), private_hosts=frozenset())
        assert done.reason(site.url("/")) == "private_address"
        assert not site.hits


def test_a_busy_server_is_asked_again_when_it_says(lake: Lake) -> None:
    busy = Reply("slow down", 429, headers=(("Retry-After", "0"),))
    routes: dict[str, Reply | list[Reply]] = {
        "/": page("soon.png", "never.png", "long.png", "down.png"),
        "/soon.png": [busy, Reply("x", 503), picture()],
        "/never.png": busy,
        "/long.png": Reply("", 429, headers=(("Retry-After", "3600"),)),
        "/down.png": Reply("broken", 500),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/soon.png")) == "ok"
        assert done.row(site.url("/soon.png"))["attempts"] == 3
        assert done.reason(site.url("/never.png")) == "rate_limited"
        assert (site.hits["/never.png"], site.hits["/long.png"]) == (3, 1)
        assert done.reason(site.url("/long.png")) == "rate_limited"
        assert done.row(site.url("/down.png"))["status"] == 500


def test_a_host_that_keeps_failing_is_left_alone(lake: Lake) -> None:
    images = [f"{i}.png" for i in range(40)]
    routes = {"/": page(*images)} | {f"/{name}": Reply("", 500) for name in images}
    polite = Politeness(rate=None, attempts=1, backoff=0.0, park_after=10)
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"), politeness=polite, host=HostLimits(connections=2))
        counts = done.result.reasons
        assert counts[("image", "http_error")] + counts[("image", "host_parked")] == 40
        assert counts[("image", "host_parked")] >= 28
        assert sum(site.hits[path] for path in set(site.hits) - SITE_FILES) <= 13


def test_no_more_connections_than_allowed_are_open(lake: Lake) -> None:
    images = [f"{i}.png" for i in range(30)]
    routes = {"/": page(*images)} | {f"/{n}": picture(i, delay=0.01) for i, n in enumerate(images)}
    with LocalSite(routes) as site:
        crawl(lake, site.url("/"), host=HostLimits(connections=3))
        assert site.most_open == 3


HOSTILE = {
    "endless.png": Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n\x89PNG\r\n\x1a\n", hang=3, drip=True),
    "silent.png": Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x89PNG", hang=3),
    "mute.png": Reply(raw=b"", hang=3),
    "garbage.png": Reply(raw=b"\x00\x01\x02 not http at all\r\n\r\n"),
    "closed.png": Reply(raw=b""),
    "short.png": Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + png()),
    "chunks.png": Reply(
        raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a size\r\n"
    ),
    "flood.png": Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000 + b"\r\n\r\n"),
    "huge.png": Reply(png() + bytes(3 << 20), content_type="image/png"),
    "bomb.png": Reply(
        gzip.compress(png() + bytes(200 << 20)), headers=(("Content-Encoding", "gzip"),)
    ),
    "brotli.png": Reply(png(), headers=(("Content-Encoding", "br"),)),
    "badzip.png": Reply(b"not gzip", headers=(("Content-Encoding", "gzip"),)),
    "empty.png": Reply(b""),
    "nothing.png": Reply(b"", 204),
    "page.png": Reply("<!doctype html><title>sorry</title>"),
    "lie.png": Reply("<html><body>sorry", content_type="image/png"),
    "plain.png": Reply("just words", content_type="image/png"),
    "ftp.png": moved("ftp://example.org/x.png"),
    "secret.png": moved("http://user:secret@example.org/x.png"),
    "nowhere.png": Reply("", 302),
}
EXPECTED = {
    "endless.png": "timeout",
    "silent.png": "timeout",
    "mute.png": "timeout",
    "garbage.png": "connection_error",
    "closed.png": "connection_error",
    "short.png": "connection_error",
    "chunks.png": "connection_error",
    "flood.png": "connection_error",
    "huge.png": "too_large",
    "bomb.png": "too_large",
    "brotli.png": "wrong_content_type",
    "badzip.png": "connection_error",
    "empty.png": "empty",
    "nothing.png": "empty",
    "page.png": "wrong_content_type",
    "lie.png": "wrong_content_type",
    "plain.png": "wrong_content_type",
    "ftp.png": "invalid_url",
    "secret.png": "invalid_url",
    "nowhere.png": "http_error",
}


def test_every_hostile_answer_ends_with_a_reason(lake: Lake) -> None:
    routes: dict[str, Reply | list[Reply]] = {"/": page(*HOSTILE, "good.png")}
    routes |= {f"/{name}": reply for name, reply in HOSTILE.items()}
    routes["/good.png"] = picture()
    with LocalSite(routes) as site:
        done = crawl(
            lake,
            site.url("/"),
            host=HostLimits(connections=16, max_image_bytes=1 << 20),
            fetch=FetchLimits(total_seconds=1.0, connect_seconds=1.0, idle_seconds=0.4),
        )
        found = {name: done.reason(site.url(f"/{name}")) for name in HOSTILE}
        assert found == EXPECTED
        assert [row["url"] for row in done.raw] == [site.url("/good.png")]


def test_an_image_is_kept_whatever_the_server_calls_it(lake: Lake) -> None:
    routes = {
        "/": page("a.bin", "b.png", "c.svg", "d", "e.png"),
        "/a.bin": picture(1, content_type="application/octet-stream"),
        "/b.png": picture(2, content_type="text/html"),
        "/c.svg": Reply("<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml"),
        "/d": Reply(png(3)[:40], content_type=None),
        "/e.png": Reply(zlib.compress(png(4)), headers=(("Content-Encoding", "deflate"),)),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        kinds = {row["url"].removeprefix(site.base): row["content_type"] for row in done.raw}
        png_type = "image/png"
        assert kinds == {
            "/a.bin": png_type, "/b.png": png_type, "/c.svg": "image/svg+xml", "/d": png_type,
            "/e.png": png_type,
        }  # fmt: skip
        assert png(4) in [row["image"] for row in done.raw]


def test_what_is_no_page_is_not_read_as_one(lake: Lake) -> None:
    routes = {
        "/": page(links=("/data.pdf", "/unnamed", "/xhtml", "/zipped")),
        "/data.pdf": Reply(b"%PDF-1.4" + bytes(200_000), content_type="application/pdf"),
        "/unnamed": Reply("<html><img src=u.png>", content_type=None),
        "/xhtml": Reply("<html><img src='x.png'/></html>", content_type="application/xhtml+xml"),
        "/zipped": Reply(
            gzip.compress(b"<html><img src=z.png>"), headers=(("Content-Encoding", "gzip"),)
        ),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert done.reason(site.url("/data.pdf")) == "wrong_content_type"
        names = [r["image_url"].rsplit("/")[-1] for r in done.references]
        assert names == ["u.png", "x.png", "z.png"]


def test_a_page_is_read_in_its_own_charset(lake: Lake) -> None:
    latin = '<meta charset="iso-8859-1"><img src="bär.png" alt="Bär">'.encode("latin-1")
    routes = {
        "/": Reply(latin, content_type="text/html"),
        "/b%C3%A4r.png": picture(),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        assert done.references[0]["alt"] == "Bär"
        assert done.reason(site.url("/b%C3%A4r.png")) == "ok"


def test_only_the_scope_is_visited_and_the_rest_is_on_record(lake: Lake) -> None:
    routes = {
        "/docs/": page("/img/a.png", links=("/docs/two", "/blog/", "http://example.org/x")),
        "/docs/two": page(links=("/docs/three",)),
        "/docs/three": page(),
        "/img/a.png": picture(),
    }
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/docs/"), scope={"path_prefix": "/docs/", "max_depth": 1})
        assert done.reason(site.url("/img/a.png")) == "ok", "images come from anywhere"
        assert done.reason(site.url("/blog/")) == "out_of_scope"
        assert done.reason("http://example.org/x") == "out_of_scope"
        assert done.reason(site.url("/docs/three")) == "limit_reached"


def test_images_of_other_hosts_are_left_to_other_units(lake: Lake) -> None:
    routes = {"/": page("http://cdn.example/x.png", "/a.png"), "/a.png": picture()}
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"))
        (lead,) = done.result.foreign_images
        assert (lead.url, lead.referrer) == ("http://cdn.example/x.png", site.url("/"))
        assert done.reason(lead.url) is None
        none = crawl(lake, site.url("/"), scope={"foreign_images": False})
        assert none.result.foreign_images == []
        assert none.reason("http://cdn.example/x.png") == "out_of_scope"


def test_parts_are_cut_by_rows_and_by_bytes(lake: Lake) -> None:
    images = [f"{i}.png" for i in range(10)]
    routes = {"/": page(*images)} | {f"/{n}": picture(i) for i, n in enumerate(images)}
    with LocalSite(routes) as site:
        done = crawl(lake, site.url("/"), rows_per_part=4)
        assert [part.rows for part in done.result.raw] == [4, 4, 2]
        assert [part.rows for part in done.result.references] == [4, 4, 2]
        shas = [row["sha256"] for row in done.raw]
        assert shas == sorted(shas)
        small = crawl(lake, site.url("/"), part_bytes=1)
        assert [part.rows for part in small.result.raw] == [1] * 10


def test_twenty_thousand_links_on_a_page_do_not_hold_the_crawl(lake: Lake) -> None:
    links = "".join(f'<a href="/p{i}">' for i in range(20_000))
    with LocalSite({"/": Reply(links)}) as site:
        done = crawl(lake, site.url("/"), scope={"max_pages": 5})
        counts = done.result.reasons
        assert counts[("page", "limit_reached")] == 19_996
        assert sum(site.hits[path] for path in set(site.hits) - SITE_FILES) == 5
