"""What `mmcore takedown` listed is not asked for and not stored again, from any source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmcore.cli import cli
from mmcore.crawl.sources import FolderSource, SiteSource, Source
from mmcore.crawl.stage import Config
from mmcore.crawl.url_list import UrlsSource
from mmcore.crawl.warc import WarcSource
from mmcore.crawl.webdataset import WebdatasetSource
from mmcore.errors import UserError
from mmcore.graph import Job, run_stage
from mmcore.lake import Lake
from mmcore.recipe import Recipe
from tests.clean.helpers import sha
from tests.crawl.site import LocalSite, Reply, picture, png
from tests.crawl.test_given import HTML, PNG, sample, write_tar, write_warc

DAY, NEXT = "2026-01-01", "2026-01-02"

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def site() -> Iterator[LocalSite]:
    """Two pages; `/other.png` is `/bad.png` at another address, and all can be revalidated."""
    pages = {
        "/": '<a href="/about">about</a><img src="/bad.png" alt="bad"><img src="/good.png">',
        "/about": '<img src="/other.png" alt="other"><img src="/us.png" alt="us">',
    }
    shades = {"/bad.png": 1, "/other.png": 1, "/good.png": 2, "/us.png": 3}
    routes: dict[str, Reply | list[Reply]] = {path: Reply(page) for path, page in pages.items()}
    routes |= {path: picture(n, etag=f'"{n}"') for path, n in shades.items()}
    with LocalSite(routes) as served:
        yield served


def take_down(lake: Lake, target: str) -> None:
    asked = ["takedown", target, "--root", lake.root, "--day", DAY]
    assert CliRunner().invoke(cli, asked, catch_exceptions=False).exit_code == 0


def crawl(lake: Lake, source: Source, day: str = DAY, retry_failed: bool = False) -> None:
    config = Config(requests_per_second=None, backoff_seconds=0.01)
    recipe = Recipe(sources=[source], crawl=config)
    run_stage("crawl", Job(recipe, lake, day, retry_failed=retry_failed))


def stored(lake: Lake, day: str = DAY) -> set[str]:
    """Keys in `raw` and `crawled`; both must agree on what there is."""
    raw = set(lake.dataset("raw", day).read(["sha256"])["sha256"].to_pylist())
    crawled = set(lake.dataset("crawled", day).read(["sha256"])["sha256"].to_pylist())
    assert crawled == raw
    return raw


def reasons(lake: Lake, day: str = DAY) -> dict[str, str]:
    rows = lake.dataset("outcomes", day).read(["url", "kind", "reason"]).to_pylist()
    return {
        row["url"].rsplit("/", 1)[1].rpartition("#")[2]: row["reason"]
        for row in rows
        if row["kind"] in ("page", "image")
    }


def from_site(site: LocalSite) -> SiteSource:
    return SiteSource(start=(site.url("/"),), allow_private=True)


def test_an_image_that_was_taken_down_is_not_asked_for_again(lake: Lake, site: LocalSite) -> None:
    crawl(lake, from_site(site))
    take_down(lake, site.url("/bad.png"))
    site.hits.clear()
    crawl(lake, from_site(site), NEXT)
    assert "/bad.png" not in site.hits and "/good.png" in site.hits
    # The same file at another address is asked for, and its key is known.
    found = reasons(lake, NEXT)
    assert (found["bad.png"], found["other.png"], found["good.png"]) == (
        "taken_down",
        "taken_down",
        "ok",
    )
    crawled = lake.dataset("crawled", NEXT).read(["sha256"])["sha256"].to_pylist()
    assert sorted(crawled) == sorted([sha(png(2)), sha(png(3))])
    # Run again, its own day forgets it too.
    crawl(lake, from_site(site))
    assert stored(lake) == {sha(png(2)), sha(png(3))}


def test_a_page_that_was_taken_down_is_not_asked_for_and_its_images_are_not_stored(
    lake: Lake, site: LocalSite
) -> None:
    crawl(lake, from_site(site))
    take_down(lake, site.url("/about"))
    site.hits.clear()
    crawl(lake, from_site(site), NEXT)
    assert "/about" not in site.hits
    assert reasons(lake, NEXT) == {
        "": "ok",
        "about": "taken_down",
        "bad.png": "taken_down",  # also on that page, under another name
        "good.png": "ok",
    }


def test_a_url_counts_however_it_is_written(lake: Lake, site: LocalSite) -> None:
    take_down(lake, site.url("/x/../bad.png#top"))
    crawl(lake, from_site(site))
    assert "/bad.png" not in site.hits


def test_retrying_what_failed_does_not_bring_back_what_was_taken_down_since(
    lake: Lake, site: LocalSite
) -> None:
    crawl(lake, from_site(site))
    take_down(lake, sha(png(1)))
    crawl(lake, from_site(site), retry_failed=True)
    assert stored(lake) == {sha(png(2)), sha(png(3))}


def test_a_source_whose_start_was_taken_down_says_so(lake: Lake, site: LocalSite) -> None:
    take_down(lake, site.url("/"))
    with pytest.raises(UserError, match="takedown list: leave it out"):
        crawl(lake, from_site(site))
    assert "/" not in site.hits


def test_a_list_of_urls(lake: Lake, site: LocalSite, tmp_path: Path) -> None:
    names = ("bad", "other", "good")
    lines = [json.dumps({"url": site.url(f"/{name}.png"), "text": name}) for name in names]
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    take_down(lake, site.url("/bad.png"))
    take_down(lake, sha(png(1)))
    crawl(lake, UrlsSource(path=str(path), allow_private=("127.0.0.1",)))
    assert stored(lake) == {sha(png(2))} and "/bad.png" not in site.hits
    assert reasons(lake) == {"bad.png": "taken_down", "other.png": "taken_down", "good.png": "ok"}


def test_a_folder(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shade in (("url", 1), ("key", 2), ("copy", 3), ("listed", 3)):
        (folder / f"{name}.png").write_bytes(png(shade))
    lines = [{"image": f"{name}.png"} for name in ("url", "key", "copy", "listed")]
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for target in (f"file://{folder}/url.png", sha(png(2)), f"file://{folder}/listed.png"):
        take_down(lake, target)
    crawl(lake, FolderSource(path=str(folder)))
    found = reasons(lake)
    assert [found[f"{name}.png"] for name in ("url", "key", "copy", "listed")] == [
        "taken_down",
        "taken_down",
        "ok",
        "taken_down",
    ]
    assert stored(lake) == {sha(png(3))}  # at the address that is not listed


def test_a_tar(lake: Lake, tmp_path: Path) -> None:
    members = sample(0, url="http://a.example/x.png") | sample(1) | sample(2)
    write_tar(tmp_path / "x.tar", members)
    take_down(lake, "http://a.example/x.png")
    take_down(lake, sha(png(1)))
    crawl(lake, WebdatasetSource(path=str(tmp_path / "x.tar")))
    assert reasons(lake) == {"00000": "taken_down", "00001": "taken_down", "00002": "ok"}
    assert stored(lake) == {sha(png(2))}


def test_a_web_archive(lake: Lake, tmp_path: Path) -> None:
    old = "http://old.example"
    images: list[Any] = [
        (f"{old}/{name}.png", "200 OK", png(shade), PNG)
        for name, shade in (("url", 1), ("key", 2), ("about", 3), ("good", 4))
    ]
    page = b'<img src="url.png"><img src="key.png"><img src="good.png">'
    pages: list[Any] = [
        (f"{old}/", "200 OK", page, HTML),
        (f"{old}/us", "200 OK", b'<img src="about.png">', HTML),
    ]
    write_warc(tmp_path / "x.warc.gz", [*images, *pages])
    for target in (f"{old}/url.png", sha(png(2)), f"{old}/us"):
        take_down(lake, target)
    crawl(lake, WarcSource(path=str(tmp_path / "x.warc.gz")))
    found = reasons(lake)
    assert [found[name] for name in ("url.png", "key.png", "about.png", "us", "good.png")] == [
        *["taken_down"] * 4,
        "ok",
    ]
    assert stored(lake) == {sha(png(4))}
