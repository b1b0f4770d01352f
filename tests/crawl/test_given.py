"""Tars in WebDataset form and web archives as sources."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmcore.crawl.stage import Config, run
from mmcore.crawl.warc import WarcSource
from mmcore.crawl.webdataset import WebdatasetSource, read_tar, tar_files
from mmcore.errors import UserError
from mmcore.lake import Lake
from tests.crawl.site import LocalSite, picture, png

DAY = "2026-01-01"
CONFIG = Config(requests_per_second=None, rows_per_part=2)


def write_tar(path: Path, members: dict[str, bytes], gz: bool = False) -> Path:
    with tarfile.open(path, "w:gz" if gz else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def outcomes(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in lake.dataset("outcomes", DAY).read().to_pylist()}


def sample(number: int, **labels: Any) -> dict[str, bytes]:
    return {
        f"{number:05d}.jpg": png(number),
        f"{number:05d}.txt": f"caption {number}".encode(),
        f"{number:05d}.json": json.dumps({"key": f"{number:05d}"} | labels).encode(),
    }


@pytest.mark.usefixtures("ray_session")
def test_tars_of_img2dataset_keep_every_pair(tmp_path: Path, lake: Lake) -> None:
    one = sample(0, url="http://a.example/x.jpg") | sample(1, caption="other", tags=["cat"])
    one |= {"00002.json": b'{"status": "failed_to_download"}', "00003.jpg": b"<html>"}
    two = sample(4, split="val") | sample(5, split="none of them") | {"00006.jpg": png(6)}
    write_tar(tmp_path / "00000.tar", one)
    write_tar(tmp_path / "00001.tar", two, gz=True)
    source = WebdatasetSource(path=str(tmp_path / "{00000..00001}.tar"))
    crawled = run(lake, DAY, CONFIG, [source]).read().to_pylist()
    raw = {r["sha256"]: r["image"] for r in lake.dataset("raw", DAY).read().to_pylist()}
    pairs = {(row["caption"], raw[row["sha256"]]) for row in crawled}
    assert pairs == {
        ("caption 0", png(0)),
        ("caption 1", png(1)),
        ("other", png(1)),
        ("caption 4", png(4)),
        ("caption 5", png(5)),
        (None, png(6)),
    }
    assert {row["source"] for row in crawled} == {"webdataset"}
    assert [row["split"] for row in crawled if row["caption"] == "caption 4"] == ["val"]
    reasons = {url.rpartition("#")[2]: row["reason"] for url, row in outcomes(lake).items()}
    assert reasons["00002"] == "missing_file" and reasons["00003"] == "wrong_content_type"


def test_equal_names_in_two_folders_of_a_tar_stay_two_samples(tmp_path: Path) -> None:
    members = {"a/1.jpg": png(1), "a/1.txt": b"one", "b/1.jpg": png(2), "b/1.txt": b"two"}
    blocks = list(read_tar(str(write_tar(tmp_path / "x.tar", members)), rows=1))
    rows = [row for block in blocks for row in block.crawled]
    images = {sha: data for block in blocks for sha, (_, _, data) in block.images.items()}
    assert [(r["caption"], images[r["sha256"]]) for r in rows] == [("one", png(1)), ("two", png(2))]


def test_a_tar_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", sample(0) | sample(1) | {"2.jpg": b"x" * 9000})
    whole.write_bytes(whole.read_bytes()[:10_000])
    blocks = list(read_tar(str(whole), rows=100))
    assert len(blocks[-1].crawled) >= 1
    assert blocks[-1].outcomes[-1].reason == "bad_record"


def test_names_that_climb_out_of_a_tar_reach_no_file(tmp_path: Path) -> None:
    members = {"../../etc/x.jpg": png(1), "/abs.jpg": png(2), "a\nb.jpg": png(3)}
    path = write_tar(tmp_path / "x.tar", members)
    assert len([r for b in read_tar(str(path), 10) for r in b.crawled]) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar"]


def test_a_source_without_files_says_what_to_name(tmp_path: Path, lake: Lake) -> None:
    with pytest.raises(UserError, match=r"has no \.tar"):
        tar_files(WebdatasetSource(path=str(tmp_path)))
    with pytest.raises(UserError, match="has no archive"):
        run(lake, DAY, CONFIG, [WarcSource(path=str(tmp_path / "*.warc"))])


Answer = tuple[str, str, bytes, dict[str, str]]


def write_warc(path: Path, answers: list[Answer], gz: bool = True) -> Path:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=gz)
        for url, status, body, headers in answers:
            http = StatusAndHeaders(status, list(headers.items()), protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=http)
            )
    return path


HTML = {"Content-Type": "text/html; charset=utf-8"}
PNG = {"Content-Type": "image/png"}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("gz", [True, False], ids=["gz", "plain"])
def test_pages_of_an_archive_get_its_images_and_the_missing_are_fetched(
    tmp_path: Path, lake: Lake, gz: bool
) -> None:
    with LocalSite({"/far.png": picture(7)}) as site:
        page = f'<img src="in.png" alt="in"><img src="{site.url("/far.png")}" alt="far">'
        answers: list[Answer] = [
            ("http://old.example/", "200 OK", page.encode(), HTML),
            ("http://old.example/no", "200 OK", b'<img src="hid.png">',
             HTML | {"X-Robots-Tag": "noai"}),
            ("http://old.example/moved", "301 Moved", b"", HTML | {"Location": "/"}),
            ("http://old.example/dead", "404 Not Found", b"", HTML),
            ("http://old.example/hid.png", "200 OK", png(8), PNG),
        ]  # fmt: skip
        write_warc(tmp_path / "1.warc.gz", answers, gz)
        write_warc(tmp_path / "2.warc.gz", [("http://old.example/in.png", "200 OK", png(3), PNG)])
        source = WarcSource(path=str(tmp_path))
        crawled = run(lake, DAY, CONFIG, [source])
        # A private address is refused: nothing in a recipe for an archive opens it.
        assert {row["alt"] for row in crawled.read().to_pylist()} == {"in"}
        found = outcomes(lake)
        assert found[site.url("/far.png")]["reason"] == "private_address"
        assert found["http://old.example/no"]["reason"] == "noai"
        assert found["http://old.example/hid.png"]["reason"] == "noai", "only that page shows it"
        assert lake.dataset("raw", DAY).rows == 1
        assert found["http://old.example/moved"]["reason"] == "redirected"
        assert found["http://old.example/dead"]["reason"] == "http_error"
        consent = json.loads(crawled.read().to_pylist()[0]["consent"])
        assert consent["robots"] == "archive"


@pytest.mark.usefixtures("ray_session")
def test_an_archive_that_breaks_off_gives_what_came_before(tmp_path: Path, lake: Lake) -> None:
    answers: list[Answer] = [
        ("http://old.example/in.png", "200 OK", png(3), PNG),
        ("http://old.example/", "200 OK", b'<img src="in.png"><img src="x.png">', HTML),
        ("http://old.example/b", "200 OK", b"<p>" * 5000, HTML),
    ]
    path = write_warc(tmp_path / "x.warc", answers, gz=False)
    path.write_bytes(path.read_bytes()[:-9000])
    source = WarcSource(path=str(path), fetch_missing=False)
    crawled = run(lake, DAY, CONFIG, [source])
    assert crawled.rows == 1
    assert outcomes(lake)["http://old.example/x.png"]["reason"] == "missing_file"
