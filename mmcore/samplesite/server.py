"""Serve a sample site on loopback, in this process or in a child process."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from aiohttp import web

from mmcore.errors import MmcoreError, UserError
from mmcore.samplesite.build import build
from mmcore.samplesite.config import SiteConfig
from mmcore.samplesite.content import etag, picture_bytes
from mmcore.samplesite.markup import page_html, robots_txt, sitemap_xml
from mmcore.samplesite.plan import Page, Picture, Site, address

_START_SECONDS = 60.0
_HEADERS = {"Server": "samplesite", "Cache-Control": "no-cache"}


class _Handler:
    """Answers requests; the only state is how often each throttled URL was refused."""

    def __init__(self, site: Site, base_url: str) -> None:
        self.site, self.base_url = site, base_url
        self.refused: Counter[str] = Counter()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="method not allowed", headers=_HEADERS)
        path = request.rel_url.path
        if request.query_string:
            path += "?" + request.rel_url.query_string
        if path == "/robots.txt":
            return _answer(request, robots_txt(self.base_url), "text/plain; charset=utf-8")
        if path == "/sitemap.xml":
            return _answer(request, sitemap_xml(self.site, self.base_url), "application/xml")
        if path in self.site.pictures:
            return await self._picture(request, self.site.pictures[path])
        if path in self.site.pages:
            return await self._page(request, self.site.pages[path])
        return _missing()

    def _refuses(self, path: str, refusals: int) -> bool:
        if self.refused[path] >= refusals:
            return False
        self.refused[path] += 1
        return True

    async def _picture(self, request: web.Request, picture: Picture) -> web.StreamResponse:
        if self._refuses(picture.path, picture.refusals):
            return _later()
        if picture.kind == "missing_image":
            return _missing()
        if picture.kind == "image_loop":
            return self._redirect(picture.path, 302)
        if picture.kind == "never_ends":
            return await _stall(request, self.site.config.stall_seconds)
        if picture.status != 200:
            return self._redirect(picture.target, picture.status)
        # drawing and packing release the interpreter for most of their time
        body, content_type = await asyncio.to_thread(picture_bytes, self.site, picture)
        return _answer(request, body, content_type, picture.robots)

    async def _page(self, request: web.Request, page: Page) -> web.StreamResponse:
        if self._refuses(page.path, page.refusals):
            return _later()
        if page.status == 404:
            return _missing()
        if page.target:
            return self._redirect(page.target, page.status)
        if page.slow:
            await asyncio.sleep(self.site.config.slow_seconds)
        body = page_html(self.site, page, self.base_url)
        # a page in Latin-1 says so in its own <meta> only, as old servers do
        charset = "" if page.latin1 else "; charset=utf-8"
        return _answer(request, body, f"text/html{charset}", page.header_robots)

    def _redirect(self, path: str, status: int) -> web.Response:
        location = {"Location": address(self.base_url, path)}
        return web.Response(status=status, headers={**_HEADERS, **location})


def _answer(
    request: web.Request, body: bytes, content_type: str, robots: str = ""
) -> web.StreamResponse:
    tag = etag(body)
    headers = {**_HEADERS, "ETag": tag}
    if robots:
        headers["X-Robots-Tag"] = robots
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = content_type
    return web.Response(body=body, headers=headers)


def _missing() -> web.Response:
    return web.Response(status=404, text="<h1>404</h1>", content_type="text/html", headers=_HEADERS)


def _later() -> web.Response:
    headers = {**_HEADERS, "Retry-After": "1"}
    return web.Response(status=429, text="slow down", headers=headers)


async def _stall(request: web.Request, seconds: float) -> web.StreamResponse:
    """Promise 20 kB, send a little, and keep the connection open."""
    response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "image/jpeg"})
    response.content_length = 20_000
    await response.prepare(request)
    await response.write(b"\xff\xd8\xff\xe0" + bytes(508))
    await asyncio.sleep(seconds)
    raise ConnectionResetError("the sample picture that never ends was given up")


def bind(host: str, port: int) -> socket:
    """A bound socket; a taken port is the user's to change."""
    sock = socket(AF_INET, SOCK_STREAM)
    sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise UserError(
            f"The sample site cannot listen on {host}:{port} ({error.strerror}); "
            "choose another port, or 0 for any free one."
        ) from error
    return sock


async def _parent_is_gone() -> None:
    """Return when standard input ends, or when another process adopts this one."""
    parent = os.getppid()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while os.getppid() == parent and not reader.at_eof():
        try:
            await asyncio.wait_for(reader.read(1024), timeout=1.0)
        except TimeoutError:
            continue


async def run_server(
    config: SiteConfig,
    host: str,
    port: int,
    *,
    ready: Callable[[str], None],
    child: bool = False,
) -> None:
    """Serve until cancelled, or with ``child`` until the parent process is gone.

    ready: called once with the base URL when requests are answered.
    """
    sock = bind(host, port)
    base_url = f"http://{host}:{sock.getsockname()[1]}"
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _Handler(build(config), base_url))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, backlog=256).start()
        ready(base_url)
        await (_parent_is_gone() if child else asyncio.Event().wait())
    finally:
        await runner.cleanup()


def _command(config: SiteConfig, host: str, port: int) -> list[str]:
    options = {
        "--seed": config.seed,
        "--images": config.images,
        "--edition": config.edition,
        "--slow-seconds": config.slow_seconds,
        "--stall-seconds": config.stall_seconds,
        "--host": host,
        "--port": port,
    }
    words = [word for name, value in options.items() for word in (name, str(value))]
    return [sys.executable, "-m", "mmcore.samplesite", *words, "--child"]


def _first_line(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """What the child says when it is ready, or why it is not."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if readable else b""
    if not line:
        raise MmcoreError("The sample site's server ended, or did not start within a minute.")
    answer: dict[str, str] = json.loads(line)
    return answer


@contextmanager
def serve(config: SiteConfig, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve the site in a child process and yield its base URL (no slash at the end).

    The child ends with the block, and also when this process dies in any way. A taken port
    raises ``UserError``. 429 answers are counted anew by every server.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        _command(config, host, port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child
    )
    try:
        answer = _first_line(process)
        if "error" in answer:
            raise UserError(answer["error"])
        yield answer["base_url"]
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the child's standard input, which ends it; kill it if it does not listen."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
