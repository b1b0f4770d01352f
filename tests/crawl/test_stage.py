"""The crawl stage on Ray: what it commits, twice the same, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from mmcore.crawl.schemas import CRAWLED, OUTCOMES, RAW, REFERENCES
from mmcore.crawl.sources import FolderSource, SiteSource
from mmcore.crawl.stage import Config, run
from mmcore.errors import UserError
from mmcore.lake import Lake
from tests.crawl.site import LocalSite, Reply, moved, picture, png

DAY = "2026-01-01"
CONFIG = Config(requests_per_second=None, backoff_seconds=0.01, idle_seconds=1, rows_per_part=4)
NAMES = ("references", "raw", "outcomes", "crawled")

pytestmark = pytest.mark.usefixtures("ray_session")


def site_source(*start: str, **more: object) -> SiteSource:
    return SiteSource(start=start, allow_private=True, **more)  # type: ignore[arg-type]


def digests(lake: Lake) -> list[str]:
    return [lake.dataset(name, DAY).digest for name in NAMES]


def test_two_hosts_are_crawled_and_joined_and_a_second_crawl_is_the_same(lake: Lake) -> None:
    with LocalSite() as shop, LocalSite() as cdn:
        cdn.routes = {
            "/p.png": picture(1),
            "/copy.png": picture(2),
            "/to-shop.png": moved(shop.url("/own.png")),
            "/to-dead.png": moved(shop.url("/dead.png")),
        }
        shown = [
            "own.png",
            "same.png",
            *(
                cdn.url(p)
                for p in ("/p.png", "/copy.png", "/to-shop.png", "/gone.png", "/to-dead.png")
            ),
            "dead.png",
        ]
        body = "".join(f'<figure><img src="{s}" alt="{i}"></figure>' for i, s in enumerate(shown))
        shop.routes = {
            "/": Reply(body, headers=(("X-Robots-Tag", "nosnippet"),)),
            "/own.png": picture(0),
            "/same.png": picture(2),
        }
        crawled = run(lake, DAY, CONFIG, [site_source(shop.url("/"))])
        rows = crawled.read().to_pylist()
        before = digests(lake)
        assert max(*shop.hits.values(), *cdn.hits.values()) == 1
        run(lake, DAY, CONFIG, [site_source(shop.url("/"))])
        assert digests(lake) == before
        ok_urls = [shop.url("/own.png"), shop.url("/same.png"), cdn.url("/p.png")]
        assert [row["image_url"] for row in rows] == [
            *ok_urls,
            cdn.url("/copy.png"),
            cdn.url("/to-shop.png"),
        ]
        assert [row["alt"] for row in rows] == ["0", "1", "2", "3", "4"]
        assert rows[4]["sha256"] == rows[0]["sha256"], "a redirect leads to the stored image"
        evidence = json.loads(rows[0]["consent"])
        assert evidence["robots"] == "absent"
        assert evidence["page_x_robots_tag"] == "nosnippet"
        raw = lake.dataset("raw", DAY).read().to_pylist()
        first = min(cdn.url("/copy.png"), shop.url("/same.png"))
        assert {row["image"]: row["url"] for row in raw}[png(2)] == first
        assert len(raw) == len({row["sha256"] for row in raw}) == 3
        reasons = {r["url"]: r["reason"] for r in lake.dataset("outcomes", DAY).read().to_pylist()}
        assert reasons[cdn.url("/to-shop.png")] == "redirected"
        assert reasons[cdn.url("/gone.png")] == "http_error"
        assert len(reasons) == lake.dataset("outcomes", DAY).rows, "one row a URL"
    assert crawled.metadata["funnel"]["occurrences"] == 5
    assert crawled.read().schema.equals(CRAWLED)
    assert [p.label for p in crawled.manifest.parents] == [f"{n}@{DAY}" for n in NAMES[:3]]


def test_a_start_that_moved_to_another_host_is_followed_there(lake: Lake) -> None:
    with LocalSite() as old, LocalSite() as new:
        old.routes = {"/": moved(new.url("/home"))}
        new.routes = {
            "/home": Reply(f'<a href="two">2</a><a href="{old.url("/")}">old</a>'),
            "/two": Reply('<img src="a.png">'),
            "/a.png": picture(),
        }
        crawled = run(lake, DAY, CONFIG, [site_source(old.url("/"))])
        assert [row["page_url"] for row in crawled.read().to_pylist()] == [new.url("/two")]
        assert max(*old.hits.values(), *new.hits.values()) == 1


def test_two_start_hosts_of_a_source_find_pages_for_each_other(lake: Lake) -> None:
    with LocalSite() as one, LocalSite() as two:
        one.routes = {
            "/": Reply(f'<a href="{two.url("/deep")}">x</a>'),
            "/end": Reply('<img src="a.png">'),
            "/a.png": picture(),
        }
        two.routes = {"/": Reply("x"), "/deep": Reply(f'<a href="{one.url("/end")}">x</a>')}
        crawled = run(lake, DAY, CONFIG, [site_source(one.url("/"), two.url("/"))])
        assert [row["page_url"] for row in crawled.read().to_pylist()] == [one.url("/end")]
        assert max(*one.hits.values(), *two.hits.values()) == 1


def test_a_day_without_images_commits_empty_datasets_with_the_right_columns(lake: Lake) -> None:
    with LocalSite({"/": Reply("<p>nothing to see</p>")}) as site:
        run(lake, DAY, CONFIG, [site_source(site.url("/"))])
    for name, schema in zip(NAMES, (REFERENCES, RAW, OUTCOMES, CRAWLED), strict=True):
        table = lake.dataset(name, DAY).read()
        assert table.schema.equals(schema)
        assert table.num_rows == (4 if name == "outcomes" else 0)


@pytest.mark.parametrize(
    ("routes", "private", "says"),
    [
        ({}, True, r"http_error .*404"),
        ({"/": Reply("x")}, False, r"private_address .*allow_private: true"),
        ({"/": moved("/missing")}, True, r"http_error .*404"),
        ({"/": moved("/")}, True, "redirect_loop"),
        ({"/robots.txt": Reply("User-agent: *\nDisallow: /")}, True, "robots_disallowed"),
        ({"/": picture()}, True, "wrong_content_type"),
    ],
)
def test_a_start_that_cannot_be_read_ends_with_a_sentence_and_commits_nothing(
    lake: Lake, routes: dict[str, Reply | list[Reply]], private: bool, says: str
) -> None:
    with LocalSite(routes) as site:
        source = SiteSource(start=(site.url("/"),), allow_private=private)
        with pytest.raises(UserError, match=says):
            run(lake, DAY, CONFIG, [source])
    assert all(lake.find(name, DAY) is None for name in NAMES)


def test_a_host_that_is_down_is_named(lake: Lake) -> None:
    with LocalSite() as site:
        gone = site.url("/")
    with pytest.raises(UserError, match=r"connection_error .*does not answer"):
        run(lake, DAY, CONFIG, [site_source(gone)])


def test_a_site_that_is_down_does_not_stop_a_folder(lake: Lake, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(10):
        (photos / f"{i}.png").write_bytes(png(i % 6))
    records = [{"image": f"{i}.png", "captions": [f"picture {i}", "again"]} for i in range(10)]
    lines = [*map(json.dumps, records), "{", json.dumps({"image": "missing.png"})]
    (photos / "annotations.jsonl").write_text("\n".join(lines))
    with LocalSite() as site:
        gone = site.url("/")
    sources: list[SiteSource | FolderSource] = [
        site_source(gone),
        FolderSource(path=str(photos)),
    ]
    crawled = run(lake, DAY, CONFIG, sources)
    before = digests(lake)
    assert [row["caption"] for row in crawled.read().to_pylist()][:3] == [
        "picture 0",
        "again",
        "picture 1",
    ]
    raw = lake.dataset("raw", DAY).read().to_pylist()
    assert len(raw) == len({row["sha256"] for row in raw}) == 6
    outcomes = lake.dataset("outcomes", DAY).read().to_pylist()
    assert {"bad_record", "missing_file", "connection_error"} <= {r["reason"] for r in outcomes}
    assert len(outcomes) == len({(r["kind"], r["url"]) for r in outcomes})
    run(lake, DAY, CONFIG, sources)
    assert digests(lake) == before


@pytest.mark.parametrize(
    "start", ["example.org", "ftp://example.org/", "http://user:pw@example.org/", "http://"]
)
def test_a_start_that_is_no_usable_url_is_refused(start: str) -> None:
    with pytest.raises(ValidationError):
        SiteSource(start=(start,))
