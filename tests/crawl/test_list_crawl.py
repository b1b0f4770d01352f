"""A crawl of a list of image URLs: its pairs, its chunks, its bad rows, and its second night."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcore.crawl.list_partition import partition_list
from mmcore.crawl.stage import Config, run
from mmcore.crawl.url_list import UrlsSource
from mmcore.lake import Lake
from tests.crawl.site import LocalSite, Reply, moved, picture

DAY, NEXT = "2026-01-01", "2026-01-02"
CONFIG = Config(requests_per_second=None, backoff_seconds=0.01, rows_per_chunk=5)


def write_list(folder: Path, rows: list[tuple[str, str]]) -> UrlsSource:
    path = folder / "list.parquet"
    pq.write_table(pa.table({"url": [u for u, _ in rows], "caption": [t for _, t in rows]}), path)
    return UrlsSource(path=str(path), allow_private=("127.0.0.1",))


@pytest.mark.usefixtures("ray_session")
def test_every_row_gets_the_image_of_its_own_url(tmp_path: Path, lake: Lake) -> None:
    with LocalSite() as one, LocalSite() as two:
        for site, shift in ((one, 0), (two, 100)):
            site.routes = {f"/{i}/image.png": picture(shift + i) for i in range(12)}
        one.routes = dict(one.routes) | {
            "/away.png": moved(two.url("/3/image.png")),
            "/near.png": moved("/4/image.png"),
            "/only-there.png": moved(two.url("/hidden.png")),
        }
        two.routes = dict(two.routes) | {"/hidden.png": picture(250), "/dead": Reply(status=404)}
        rows = [(s.url(f"/{i}/image.png"), f"{s.port} {i}") for i in range(12) for s in (one, two)]
        rows += [(one.url("/1/image.png"), "again"), (one.url("/only-there.png"), "hidden")]
        rows += [(one.url("/near.png"), "near"), (two.url("/dead"), "dead")]
        rows += [("mailto:a@b", "no"), ("", "none"), ("http://", "broken")]
        crawled = run(lake, DAY, CONFIG, [write_list(tmp_path, rows)])
        raw = {r["sha256"]: r["image"] for r in lake.dataset("raw", DAY).read().to_pylist()}
        found = {r["alt"]: raw[r["sha256"]] for r in crawled.read().to_pylist()}
        for i in range(12):
            assert found[f"{one.port} {i}"] == picture(i).body
            assert found[f"{two.port} {i}"] == picture(100 + i).body
        assert found["again"] == picture(1).body and found["near"] == picture(4).body
        assert found["hidden"] == picture(250).body
        assert len(found) == 27 and {r["source"] for r in crawled.read().to_pylist()} == {"urls"}
        outcomes = lake.dataset("outcomes", DAY).read().to_pylist()
        assert sum(r["reason"] == "invalid_url" for r in outcomes) == 3
        assert max(*one.hits.values(), *two.hits.values()) == 1
        first = {n: lake.dataset(n, DAY).digest for n in ("raw", "crawled", "references")}
        run(lake, DAY, CONFIG, [write_list(tmp_path, rows)])
        assert first == {n: lake.dataset(n, DAY).digest for n in first}
        assert not lake.storage.keys("work"), "nothing is left beside the datasets"


@pytest.mark.usefixtures("ray_session")
def test_the_second_night_of_a_list_revalidates_it(tmp_path: Path, lake: Lake) -> None:
    with LocalSite({f"/{i}.png": picture(i, etag=f'"{i}"') for i in range(20)}) as site:
        source = write_list(tmp_path, [(site.url(f"/{i}.png"), str(i)) for i in range(20)])
        run(lake, DAY, CONFIG, [source])
        crawled = run(lake, NEXT, CONFIG, [source])
        assert site.not_modified.total() == 20
        assert lake.dataset("raw", NEXT).rows == 0 and crawled.rows == 20


@pytest.mark.usefixtures("ray_session")
def test_a_redirect_into_another_chunk_is_asked_for_once_a_night(
    tmp_path: Path, lake: Lake
) -> None:
    routes: dict[str, Reply | list[Reply]] = {}
    for i in range(30):
        routes[f"/{i}.png"] = picture(i, etag=f'"{i}"')
        routes[f"/to/{i}.png"] = moved(f"/{i}.png")
    with LocalSite(routes) as site:
        paths = [f"/{i}.png" for i in range(15)] + [f"/to/{i}.png" for i in range(30)]
        source = write_list(tmp_path, [(site.url(path), path) for path in paths])
        crawled = run(lake, DAY, CONFIG, [source])
        assert crawled.rows == 45 and lake.dataset("raw", DAY).rows == 30
        assert max(site.hits.values()) == 1
        crawled = run(lake, NEXT, CONFIG, [source])
        # Half of the targets stand in no row of the list, and are known from the redirect.
        assert site.not_modified == {f"/{i}.png": 1 for i in range(30)}
        assert max(site.hits.values()) == 2
        assert crawled.rows == 45 and lake.dataset("raw", NEXT).rows == 0


def test_a_host_is_in_one_bucket_and_a_chunk_is_bounded(tmp_path: Path) -> None:
    rows = [{"url": f"http://host{i % 40}.example/{i}.jpg", "text": str(i)} for i in range(4000)]
    path = tmp_path / "list.jsonl"
    path.write_text(
        "\n".join(json.dumps(row) for row in [*rows, {"url": "HTTP://Big.example:80/é"}])
    )
    folder = tmp_path / "cut"
    folder.mkdir()
    cut = partition_list(UrlsSource(path=str(path)), folder, rows_per_chunk=100, buckets=8)
    where: dict[str, set[int]] = {}
    texts = []
    for bucket, chunks in enumerate(cut.chunks):
        for chunk in chunks:
            with pa.memory_map(str(chunk)) as file:
                table = pa.ipc.open_file(file).read_all()
            assert table.num_rows < 180
            assert table["url"].to_pylist() == sorted(table["url"].to_pylist())
            texts += table["text"].to_pylist()
            for host in table["host"].unique().to_pylist():
                where.setdefault(host, set()).add(bucket)
    assert cut.rows == 4001 and len(texts) == 4001
    assert all(len(buckets) == 1 for buckets in where.values()) and "big.example" in where
