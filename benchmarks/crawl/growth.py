"""What a crawl costs as its list or its site grows: 1, 10 and 100 times the URLs, synthetic bodies.

    python benchmarks/crawl/growth.py [--base 4000] [--factors 1,10,100] [--source urls|site]

`site` has one page for every image, ten links on each, on one host.

Every size runs in a process of its own; a server process beside it is not counted. CPU seconds and
peak memory (PSS) are of the crawl's whole process tree. An empty crawl is measured first and its
CPU time, which is Ray starting, is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmcore.crawl.sources import SiteSource, Source
from mmcore.crawl.url_list import UrlsSource

HOSTS = [f"127.0.0.{last}" for last in range(11, 19)]


async def serve(port: int) -> None:
    """Answer every path with a PNG header and bytes that only this path has."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                kind, body = resource(path)
                status = b"200 OK" if body else b"404 Not Found"
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, kind, len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def resource(path: bytes) -> tuple[bytes, bytes]:
    """(media type, body): any `.png`, and `/PAGES/NUMBER.html`; no body for what is not there."""
    if path.endswith(b".png"):
        return b"image/png", b"\x89PNG\r\n\x1a\n" + path.ljust(4096, b"\0")
    if not path.endswith(b".html"):
        return b"text/plain", b""
    pages, page = (int(part) for part in path.removesuffix(b".html").split(b"/")[1:])
    links = (i for i in range(10 * page + 1, 10 * page + 11) if i < pages)
    body = "".join(f'<p><a href="{i}.html">on to {i}</a></p>' for i in links)
    return b"text/html", f'<h1>{page}</h1><img src="{page}.png" alt="no {page}">{body}'.encode()


def crawl(port: int, count: int, kind: str) -> dict[str, float]:
    """Crawl `count` URLs in this process and measure it."""
    from mmcore.cluster import ClusterSettings, connect
    from mmcore.cluster.usage import measured
    from mmcore.crawl.stage import Config, run
    from mmcore.lake import Lake

    with tempfile.TemporaryDirectory() as folder, measured() as usage:
        config = Config(requests_per_second=None, rows_per_chunk=1024)
        if kind == "urls":
            source: Source = url_list(Path(folder, "list.parquet"), port, count)
        else:
            start = f"http://{HOSTS[0]}:{port}/{count // 2}/0.html"
            source = SiteSource(start=(start,), allow_private=True, sitemaps=False)
        with connect(ClusterSettings(cpus=1)):
            crawled = run(Lake(str(Path(folder, "lake"))), "2026-01-01", config, [source])
            wanted = count if kind == "urls" else count // 2  # as many pages as images
            if crawled.rows != wanted:
                raise SystemExit(f"{crawled.rows} rows of {wanted}")
    return {
        "urls": count,
        "cpu_s": usage.cpu_seconds,
        "wall_s": usage.wall_seconds,
        "peak_mb": usage.peak_memory_mb,
    }


def url_list(path: Path, port: int, count: int) -> UrlsSource:
    """A list of `count` images, written to `path`."""
    urls = [f"http://{HOSTS[i % len(HOSTS)]}:{port}/{i}.png" for i in range(count)]
    pq.write_table(pa.table({"url": urls, "text": [f"text {i}" for i in range(count)]}), path)
    return UrlsSource(path=str(path), allow_private=tuple(HOSTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=4000)
    parser.add_argument("--factors", default="1,10,100")
    parser.add_argument("--source", choices=["urls", "site"], default="urls")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--crawl", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(0))
    elif arguments.crawl:
        port, count = arguments.crawl
        print(json.dumps(crawl(port, count, arguments.source)))
    else:
        sizes = [arguments.base * int(f) for f in arguments.factors.split(",")]
        compare(sizes, arguments.source)


def compare(sizes: list[int], kind: str) -> None:
    """Run every size and print the table."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    port = server.stdout.readline().decode().strip()
    try:
        runs = []
        for count in [8, *sizes]:
            command = [sys.executable, __file__, "--crawl", port, str(count), "--source", kind]
            said = subprocess.run(command, capture_output=True, check=True).stdout
            runs.append(json.loads(said.decode().splitlines()[-1]))
    finally:
        server.terminate()
        server.wait()
    idle = runs[0]["cpu_s"]
    print("| URLs | CPU ms a URL | URLs a second | peak memory, MiB |\n|---|---|---|---|")
    for run in runs[1:]:
        cost = 1000 * (run["cpu_s"] - idle) / run["urls"]
        rate = run["urls"] / run["wall_s"]
        print(f"| {run['urls']:,} | {cost:.2f} | {rate:,.0f} | {run['peak_mb']:,.0f} |")


if __name__ == "__main__":
    main()
