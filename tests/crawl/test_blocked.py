"""Files on the blocklist are never stored, whatever source they come from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mmcore.crawl.sources import FolderSource, SiteSource
from mmcore.crawl.stage import Config, run
from mmcore.lake import Lake, erase_in_part, publish_erased
from tests.crawl.site import LocalSite, Reply, picture, png

DAY = "2026-01-01"
CONFIG = Config(requests_per_second=None, backoff_seconds=0.01)
PAGE = '<img src="/bad.png" alt="bad"><img src="/good.png" alt="good">'

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def blocklist(tmp_path: Path) -> str:
    path = tmp_path / "blocked.txt"
    path.write_text(hashlib.sha256(png(1)).hexdigest() + "  # reported\n")
    return str(path)


def everything(lake: Lake) -> bytes:
    """All bytes below the lake's root."""
    return b"".join(lake.storage.read(key) for key in lake.storage.keys(""))


def reasons(lake: Lake) -> dict[str, str]:
    rows = lake.dataset("outcomes", DAY).read(["url", "kind", "reason"]).to_pylist()
    return {r["url"].rsplit("/", 1)[1]: r["reason"] for r in rows if r["kind"] == "image"}


def site() -> LocalSite:
    return LocalSite(
        {
            "/": Reply(PAGE),
            "/bad.png": picture(1, etag='"b"'),
            "/good.png": picture(2, etag='"g"'),
        }
    )


def test_a_site(lake: Lake, blocklist: str) -> None:
    with site() as served:
        source = SiteSource(start=(served.url("/"),), allow_private=True)
        crawled = run(lake, DAY, CONFIG, [source], blocklist=blocklist)
        assert crawled.read(["alt"])["alt"].to_pylist() == ["good"]
        assert reasons(lake) == {"bad.png": "blocklisted", "good.png": "ok"}
        assert png(1) not in everything(lake) and png(2) in everything(lake)


def test_a_file_that_was_listed_after_it_was_stored(lake: Lake, blocklist: str) -> None:
    with site() as served:
        source = SiteSource(start=(served.url("/"),), allow_private=True)
        run(lake, DAY, CONFIG, [source])
        crawled = run(lake, DAY, CONFIG, [source], blocklist=blocklist)
        assert crawled.rows == 1 and lake.dataset("raw", DAY).rows == 1
        assert reasons(lake)["bad.png"] == "blocklisted"


def test_a_file_that_clean_erased_is_not_stored_again(lake: Lake) -> None:
    with site() as served:
        source = SiteSource(start=(served.url("/"),), allow_private=True)
        run(lake, DAY, CONFIG, [source])
        raw, writer = lake.dataset("raw", DAY), lake.writer("raw", DAY)
        listed = [hashlib.sha256(png(1)).hexdigest()]
        parts = [erase_in_part(raw, writer, i, listed, "image") for i in range(len(raw.parts))]
        publish_erased(raw, writer, parts)
        crawled = run(lake, DAY, CONFIG, [source])
        assert crawled.rows == 1
        assert reasons(lake) == {"bad.png": "blocklisted", "good.png": "ok"}


def test_a_folder(lake: Lake, tmp_path: Path, blocklist: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shade in (("bad", 1), ("good", 2)):
        (folder / f"{name}.png").write_bytes(png(shade))
    lines = [{"image": f"{name}.png", "captions": [name]} for name in ("bad", "good")]
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)))
    crawled = run(lake, DAY, CONFIG, [FolderSource(path=str(folder))], blocklist=blocklist)
    assert crawled.rows == 1 and png(1) not in everything(lake)
    assert reasons(lake) == {"bad.png": "blocklisted", "good.png": "ok"}
