"""A killed crawl continues, failed URLs are asked again alone, and a second night revalidates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from mmcore import graph
from mmcore.crawl.answers import shelf_bits
from mmcore.crawl.journal import journal_folder
from mmcore.crawl.memory import Archive, load_memory
from mmcore.crawl.sources import SiteSource
from mmcore.crawl.spill import Spill
from mmcore.crawl.stage import Config, run
from mmcore.errors import UserError
from mmcore.lake import Lake
from mmcore.recipe import load_recipe
from tests.crawl.helpers import SITE_FILES
from tests.crawl.site import LocalSite, Reply, moved, picture

DAY, NEXT = "2026-01-01", "2026-01-02"
CONFIG = Config(
    requests_per_second=None, backoff_seconds=0.01, idle_seconds=1, attempts=2, park_after=1000
)
NAMES = ("references", "raw", "outcomes", "crawled", "answers")


def source(site: LocalSite) -> SiteSource:
    return SiteSource(start=(site.url("/"),), allow_private=True)


def gallery(count: int, **more: Any) -> dict[str, Reply | list[Reply]]:
    """A page that leads to `count` pages with one picture each; all with an ETag."""
    links = "".join(f'<a href="/p{i}">{i}</a>' for i in range(count))
    routes: dict[str, Reply | list[Reply]] = {"/": Reply(links, etag='"root"', **more)}
    for i in range(count):
        routes[f"/p{i}"] = Reply(f'<img src="/i{i}.png" alt="{i}">', etag=f'"p{i}"', **more)
        routes[f"/i{i}.png"] = picture(i, etag=f'"i{i}"', **more)
    return routes


def digests(lake: Lake, day: str = DAY) -> dict[str, str]:
    return {name: lake.dataset(name, day).digest for name in NAMES}


def outcomes(lake: Lake, day: str) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in lake.dataset("outcomes", day).read().to_pylist()}


@pytest.mark.usefixtures("ray_session")
def test_the_next_night_asks_with_validators_and_stores_no_byte_again(lake: Lake) -> None:
    with LocalSite(gallery(4)) as site:
        run(lake, DAY, CONFIG, [source(site)])
        assert site.not_modified.total() == 0
        crawled = run(lake, NEXT, CONFIG, [source(site)])
        assert site.not_modified.total() == 9
        assert {row["state"] for row in crawled.read().to_pylist()} == {"unchanged"}
        assert lake.dataset("raw", NEXT).rows == 0
        assert outcomes(lake, NEXT)[site.url("/i2.png")]["status"] == 304
        states = crawled.metadata["since_last_crawl"]
        assert states["image"] == {"unchanged": 4} and states["page"] == {"unchanged": 5}
        # The third night still finds the bodies, although the second did not store them.
        site.not_modified.clear()
        run(lake, "2026-01-03", CONFIG, [source(site)])
        assert site.not_modified.total() == 9
        pages = [r for r in lake.dataset("answers", NEXT).read().to_pylist() if r["kind"] == "page"]
        assert all(page["body"] is None and page["stored"] == DAY for page in pages)


@pytest.mark.usefixtures("ray_session")
def test_what_changed_and_what_is_gone_is_on_record(lake: Lake) -> None:
    with LocalSite(gallery(4)) as site:
        run(lake, DAY, CONFIG, [source(site)])
        site.routes = dict(site.routes) | {
            "/i0.png": picture(200, etag='"other"'),
            "/i1.png": Reply(status=404),
            "/i2.png": Reply(status=503),
            "/p3": Reply('<img src="/i3.png"><img src="/new.png">', etag='"q3"'),
            "/new.png": picture(99),
        }
        run(lake, NEXT, CONFIG, [source(site)])
        states = {url.rsplit("/", 1)[1]: row["state"] for url, row in outcomes(lake, NEXT).items()}
        assert states["i0.png"] == "changed" and states["i1.png"] == "gone"
        assert states["i2.png"] is None, "a host that is down says nothing about the image"
        assert states["p3"] == "changed" and states["new.png"] == "new"
        assert lake.dataset("raw", NEXT).rows == 2
        # A failure in between does not lose what the first night knew.
        site.routes = gallery(4)
        site.not_modified.clear()
        run(lake, "2026-01-03", CONFIG, [source(site)])
        assert site.not_modified["/i2.png"] == 1
        assert outcomes(lake, "2026-01-03")[site.url("/i2.png")]["state"] == "unchanged"


@pytest.mark.usefixtures("ray_session")
def test_the_same_day_again_gives_the_same_digests_from_304s(lake: Lake) -> None:
    with LocalSite(gallery(5)) as site:
        run(lake, DAY, CONFIG, [source(site)])
        before = digests(lake)
        run(lake, DAY, CONFIG, [source(site)])
        assert site.not_modified.total() == 11
        assert digests(lake) == before
        assert lake.dataset("raw", DAY).rows == 5


@pytest.mark.usefixtures("ray_session")
def test_only_what_failed_is_asked_again(lake: Lake) -> None:
    routes = gallery(4)
    with LocalSite(routes | {"/i1.png": Reply(status=503), "/p2": Reply(status=500)}) as site:
        run(lake, DAY, CONFIG, [source(site)])
        site.hits.clear()
        site.routes = routes
        crawled = run(lake, DAY, CONFIG, [source(site)], retry_failed=True)
        # The site's own files were 404s, which a retry asks for again; p2 shows one more picture.
        assert set(site.hits) - SITE_FILES == {
            "/i1.png",
            "/p2",
            "/i2.png",
        }
        assert crawled.rows == 4 and lake.dataset("raw", DAY).rows == 4
        assert {
            r["reason"] for r in outcomes(lake, DAY).values() if r["kind"] in ("page", "image")
        } == {"ok"}


@pytest.mark.usefixtures("ray_session")
def test_a_retry_without_a_crawl_says_what_to_do(lake: Lake) -> None:
    with LocalSite(gallery(1)) as site, pytest.raises(UserError, match="without --retry-failed"):
        run(lake, DAY, CONFIG, [source(site)], retry_failed=True)


@pytest.mark.usefixtures("ray_session")
def test_a_refused_page_is_not_archived_and_is_asked_for_in_full_again(lake: Lake) -> None:
    page = Reply('<meta name="robots" content="noai"><img src="/i.png">', etag='"x"')
    with LocalSite({"/": page, "/i.png": picture(3)}) as site:
        run(lake, DAY, CONFIG, [source(site)])
        kept = {r["url"]: r for r in lake.dataset("answers", DAY).read().to_pylist()}
        assert kept[site.url("/")]["body"] is None
        run(lake, NEXT, CONFIG, [source(site)])
        assert site.not_modified.total() == 0
        assert outcomes(lake, NEXT)[site.url("/i.png")]["reason"] == "noai"


SCRIPT = """
import sys
from mmcore.cli import main
sys.argv = ["mmcore", "run", "crawl", *sys.argv[1:]]
main()
"""


def start(recipe: Path, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "--recipe", recipe, "--root", root, "--day", DAY],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def journal_answers(lake: Lake) -> int:
    return sum(1 for key in lake.storage.keys("work/crawl") if key.endswith(".arrow"))


def wait_for(condition: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to this in time"
        time.sleep(0.05)


def write_recipe(folder: Path, site: LocalSite) -> Path:
    recipe = {
        "name": "kill",
        "sources": [{"kind": "site", "start": [site.url("/")], "allow_private": True}],
        "crawl": {"requests_per_second": 40, "connections_per_host": 4},
        "cluster": {"cpus": 2},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def unbroken(folder: Path, recipe: Path) -> dict[str, str]:
    """Digests of a crawl that nothing happens to, and that need not be slow enough to be hit."""
    settings = yaml.safe_load(recipe.read_text())
    settings["crawl"]["requests_per_second"] = None
    whole = folder / "whole.yaml"
    whole.write_text(yaml.safe_dump(settings))
    return finished(whole, Lake(str(folder / "whole")))


def finished(recipe: Path, lake: Lake) -> dict[str, str]:
    """Digests of a crawl that is begun, or gone on with, in this process and ends well."""
    graph.run_stage("crawl", graph.Job(load_recipe(recipe), lake, DAY))
    return digests(lake)


@pytest.mark.usefixtures("ray_session")
def test_a_killed_driver_is_continued_and_ends_with_the_same_set(tmp_path: Path) -> None:
    with LocalSite(gallery(120)) as site:
        recipe = write_recipe(tmp_path, site)
        expected = unbroken(tmp_path, recipe)
        site.hits.clear()
        lake = Lake(str(tmp_path / "lake"))
        process = start(recipe, tmp_path / "lake")
        wait_for(lambda: journal_answers(lake) >= 1 and site.hits.total() > 60)
        kill_family(process)
        assert lake.find("crawled", DAY) is None, "nothing half-written is visible"
        hosts = [site.base.removeprefix("http://")]
        first = dict(site.hits)
        journaled = journaled_urls(lake, hosts)
        assert finished(recipe, lake) == expected
        fetched_twice = {path for path, count in site.hits.items() if count > first.get(path, 0)}
        assert journaled and not journaled & {site.url(path) for path in fetched_twice}
        assert journal_answers(lake) == 0, "a committed day needs no journal"


@pytest.mark.usefixtures("ray_session")
def test_a_killed_crawl_of_a_list_is_continued(tmp_path: Path) -> None:
    routes: dict[str, Reply | list[Reply]] = {f"/{i}.png": picture(i) for i in range(120)}
    routes |= {f"/to/{i}.png": moved(f"/{i}.png") for i in range(0, 120, 3)}
    with LocalSite(routes) as site:
        lines = [json.dumps({"url": site.url(path), "text": path}) for path in routes]
        (tmp_path / "list.jsonl").write_text("\n".join(lines))
        recipe = tmp_path / "recipe.yaml"
        source = {"kind": "urls", "path": "list.jsonl", "allow_private": ["127.0.0.1"]}
        crawl = {"requests_per_second": 40, "rows_per_chunk": 20}
        recipe.write_text(yaml.safe_dump({"name": "k", "sources": [source], "crawl": crawl}))
        expected = unbroken(tmp_path, recipe)
        assert max(site.hits.values()) == 1
        site.hits.clear()
        lake = Lake(str(tmp_path / "lake"))
        process = start(recipe, tmp_path / "lake")
        wait_for(lambda: journal_answers(lake) >= 2 and site.hits.total() > 80)
        kill_family(process)
        first = dict(site.hits)
        journaled = journaled_urls(lake, [site.base.removeprefix("http://")])
        assert finished(recipe, lake) == expected
        twice = {path for path, count in site.hits.items() if count > first.get(path, 0)}
        assert journaled and not journaled & {site.url(path) for path in twice}
        assert not lake.storage.keys("work"), "a committed day needs no journal"


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a driver and the Ray processes it started: none may go on fetching."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
    process.kill()
    for member in family:
        if member.is_running():
            member.kill()
    process.communicate()


def journaled_urls(lake: Lake, hosts: list[str]) -> set[str]:
    """URLs whose answers the killed crawl had made durable."""
    found: set[str] = set()
    with Spill() as spill:
        for folder in {key.rsplit("/", 2)[0] for key in lake.storage.keys("work/crawl")}:
            journal = journal_folder(lake.storage, DAY, {})
            memory = load_memory(
                Archive(lake, DAY, type(journal)(lake.storage, folder)), hosts, spill
            )
            found |= {url for _, url in memory.replay}
    return found


@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_is_replaced_and_the_set_is_the_same(tmp_path: Path) -> None:
    with LocalSite(gallery(120)) as site:
        recipe = write_recipe(tmp_path, site)
        expected = unbroken(tmp_path, recipe)
        site.hits.clear()
        lake = Lake(str(tmp_path / "lake"))
        process = start(recipe, tmp_path / "lake")
        wait_for(lambda: journal_answers(lake) >= 1 and site.hits.total() > 60)
        port = int(site.base.rsplit(":", 1)[1])
        for member in psutil.Process(process.pid).children(True):
            if any(c.raddr and c.raddr.port == port for c in member.net_connections("tcp")):
                os.kill(member.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=150)
        assert process.returncode == 0, said.decode()
        assert digests(lake) == expected
        assert sum(count > 1 for count in site.hits.values()) < 120, "most was not asked twice"


def test_the_bit_set_of_shelves_skips_other_hosts() -> None:
    both = int(shelf_bits(["a.example", "b.example"]), 16)
    assert both & int(shelf_bits(["a.example"]), 16)
    assert not both & int(shelf_bits(["c.example"]), 16)
