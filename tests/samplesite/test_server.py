"""What the server answers over HTTP is what truth says."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile
from yarl import URL

from mmcore.errors import UserError
from mmcore.samplesite import SiteConfig, page_truth, serve, truth
from mmcore.samplesite.content import BOMB_EDGE

CONFIG = SiteConfig(seed=5, images=40, slow_seconds=0.05)
ROOT = Path(__file__).resolve().parents[2]


class Answer(NamedTuple):
    """One answer, redirects followed; ``status`` 0 means that none came in time."""

    status: int
    body: bytes
    headers: dict[str, str]
    error: str


async def _get(session: aiohttp.ClientSession, url: str) -> Answer:
    try:
        async with session.get(URL(url, encoded=True)) as response:
            body = await response.read()
            return Answer(response.status, body, dict(response.headers), "")
    except (TimeoutError, aiohttp.TooManyRedirects) as error:
        return Answer(0, b"", {}, type(error).__name__)


async def _fetch(urls: list[str], seconds: float) -> dict[str, Answer]:
    timeout = aiohttp.ClientTimeout(total=seconds)
    connector = aiohttp.TCPConnector(limit=4)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        answers = await asyncio.gather(*(_get(session, url) for url in urls))
    return dict(zip(urls, answers, strict=True))


def fetch(urls: list[str], seconds: float = 60.0) -> dict[str, Answer]:
    """Request URLs once each."""
    return asyncio.run(_fetch(urls, seconds))


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serve(CONFIG) as url:
        yield url


def _is_whole(body: bytes) -> bool:
    """Whether the bytes decode completely."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with Image.open(io.BytesIO(body)) as image:
            image.load()
    except OSError:
        return False
    return True


def _check_crawl(row: dict[str, object], answer: Answer) -> None:
    """A picture that the crawl must not take."""
    reason = str(row["fate"]).partition(":")[2]
    if reason == "http_error":
        assert answer.status == 404
    elif reason == "redirect_loop":
        assert answer.error == "TooManyRedirects"
    elif reason == "empty":
        assert (answer.status, answer.body) == (200, b"")
    elif reason == "wrong_content_type":
        assert answer.headers["Content-Type"].startswith("text/html")
    elif row["dirt"] in ("noindex_image", "noai_image"):
        assert answer.headers["X-Robots-Tag"] == reason
    elif row["dirt"] == "robots_image":
        assert "/private/" in str(row["image_url"])
    else:
        assert str(row["dirt"]).endswith("_page") and "absent" in str(row["also"])


def _check_clean(row: dict[str, object], answer: Answer) -> None:
    """A picture that cleaning must refuse."""
    reason = str(row["fate"]).partition(":")[2]
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("image/")
    if reason == "not_an_image":
        assert answer.body.startswith(b"<!DOCTYPE html>")
        return
    if reason == "truncated":
        assert not _is_whole(answer.body)
        return
    if reason == "too_many_pixels":
        assert int.from_bytes(answer.body[16:20]) == BOMB_EDGE and len(answer.body) < 200_000
        return
    with Image.open(io.BytesIO(answer.body)) as image:
        width, height = image.size
        extrema = image.convert("RGB").getextrema()
    if reason == "too_small":
        assert 16 <= width == height <= 32
    elif reason == "bad_aspect":
        assert width / height > 4
    else:
        assert reason == "blank" and all(low == high for low, high in extrema)  # type: ignore[misc]


def test_every_image_url_answers_as_truth_says(base_url: str) -> None:
    rows = truth(CONFIG, base_url).to_pylist()
    urls = [row["image_url"] for row in rows if row["dirt"] != "never_ends"]
    throttled = [row["image_url"] for row in rows if row["dirt"] == "throttled_image"]
    refused = [
        [
            answer.headers["Retry-After"]
            for answer in fetch(throttled).values()
            if answer.status == 429
        ]
        for _ in range(3)
    ]
    assert refused == [["1", "1"], ["1"], []]  # one URL refuses once, the other twice
    answers = fetch(urls)
    for row in rows:
        stage, url = row["fate"].partition(":")[0], row["image_url"]
        if row["dirt"] == "never_ends":
            continue
        if stage == "crawl":
            _check_crawl(row, answers[url])
        elif stage == "clean":
            _check_clean(row, answers[url])
        else:
            assert answers[url].status == 200 and _is_whole(answers[url].body), row
    types = {row["dirt"]: answers[row["image_url"]].headers for row in rows if row["scene"]}
    assert types["octet_stream"]["Content-Type"] == "application/octet-stream"
    for row in rows:
        if row["copy_of"]:
            same = answers[row["image_url"]].body == answers[row["copy_of"]].body
            assert same == (row["dirt"] == "exact_copy"), row
        if row["leads_to"]:
            assert answers[row["image_url"]].body == answers[row["leads_to"]].body


def test_every_page_url_answers_as_truth_says(base_url: str) -> None:
    rows = [r for r in page_truth(CONFIG, base_url).to_pylist() if r["kind"] != "outside"]
    throttled = [row["page_url"] for row in rows if row["dirt"] == "throttled_page"]
    assert [answer.status for answer in fetch(throttled).values()] == [429]
    answers = fetch([row["page_url"] for row in rows])
    for row in rows:
        answer = answers[row["page_url"]]
        if row["fate"] == "redirect_loop":
            assert answer.error == "TooManyRedirects"
        elif row["fate"] == "http_error":
            assert answer.status == 404
        else:
            assert answer.status == 200 and answer.body.startswith(b"<!DOCTYPE html>"), row
        if row["dirt"] == "noai_header_page":
            assert answer.headers["X-Robots-Tag"] == "noai"
        if row["dirt"] in ("noindex_page", "noai_page"):
            assert row["fate"].encode() in answer.body
        if row["fate"] == "redirected":
            assert answer.body == answers[row["leads_to"]].body


def test_the_endless_picture_is_bounded_by_the_client_only(base_url: str) -> None:
    rows = truth(CONFIG, base_url).to_pylist()
    endless = [row["image_url"] for row in rows if row["dirt"] == "never_ends"]
    assert [answer.error for answer in fetch(endless, 0.3).values()] == ["TimeoutError"]


def test_robots_sitemap_and_unknown_urls(base_url: str) -> None:
    found = fetch([f"{base_url}/{name}" for name in ("robots.txt", "sitemap.xml", "nowhere")])
    robots, sitemap, nowhere = found.values()
    assert b"Disallow: /private/" in robots.body and b"Crawl-delay" in robots.body
    assert f"Sitemap: {base_url}/sitemap.xml".encode() in robots.body
    assert f"<loc>{base_url}/</loc>".encode() in sitemap.body
    assert nowhere.status == 404


def test_an_unchanged_picture_is_not_sent_again(base_url: str) -> None:
    url = next(
        row["image_url"]
        for row in truth(CONFIG, base_url).to_pylist()
        if row["fate"] == "kept" and not row["dirt"]
    )

    async def twice() -> tuple[int, bytes]:
        async with aiohttp.ClientSession() as session:
            async with session.get(URL(url, encoded=True)) as first:
                tag = first.headers["ETag"]
            known = {"If-None-Match": tag}
            async with session.get(URL(url, encoded=True), headers=known) as second:
                return second.status, await second.read()

    assert asyncio.run(twice()) == (304, b"")


def test_a_taken_port_is_refused_with_a_sentence(base_url: str) -> None:
    port = urlsplit(base_url).port
    assert port is not None
    with pytest.raises(UserError, match=f"{port}.*another port"), serve(CONFIG, port=port):
        pass


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until_closed(port: int) -> bool:
    for _ in range(200):
        if not _is_open(port):
            return True
        time.sleep(0.05)
    return False


def test_the_server_ends_with_its_block() -> None:
    with serve(CONFIG) as url:
        port = urlsplit(url).port or 0
        assert _is_open(port)
    assert not _is_open(port)


def test_the_server_dies_with_a_killed_parent() -> None:
    code = (
        "import time\n"
        "from mmcore.samplesite import SiteConfig, serve\n"
        "with serve(SiteConfig(seed=5, images=40)) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = urlsplit(parent.stdout.readline().decode().strip()).port or 0
        assert _is_open(port)
        parent.send_signal(signal.SIGKILL)
    assert _wait_until_closed(port)


def test_the_command_serves_and_writes_the_truth(tmp_path: Path) -> None:
    target = tmp_path / "truth.parquet"
    command = [sys.executable, "-m", "mmcore.samplesite", "--images", "40", "--seed", "5"]
    command += ["--edition", "2", "--truth", str(target)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().split()[1].rstrip("/")
        assert fetch([f"{url}/"])[f"{url}/"].status == 200
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    config = SiteConfig(seed=5, images=40, edition=2)
    assert pq.read_table(target).to_pylist() == truth(config, url).to_pylist()


def test_the_command_refuses_a_bad_option_with_exit_code_2() -> None:
    command = [sys.executable, "-m", "mmcore.samplesite", "--images", "3"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "between 40 and 6000" in done.stderr
