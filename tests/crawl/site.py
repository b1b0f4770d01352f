"""A small HTTP server whose every answer a test decides, down to the bytes on the wire."""

from __future__ import annotations

import asyncio
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reply:
    """One answer. `raw` replaces everything else and closes the connection afterwards."""

    body: bytes | str = b""
    status: int = 200
    content_type: str | None = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    raw: bytes | None = None
    hang: float = 0.0
    etag: str | None = None
    """Sent as ETag; a request with this If-None-Match gets 304."""
    drip: bool = False
    """After `raw`, one more byte every 20 ms for `hang` seconds."""

    def wire(self) -> bytes:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        lines = [f"HTTP/1.1 {self.status} Test", f"Content-Length: {len(body)}"]
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.etag is not None:
            lines.append(f"ETag: {self.etag}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(target: str, status: int = 302) -> Reply:
    return Reply(status=status, headers=(("Location", target),))


def png(shade: int = 0, side: int = 8) -> bytes:
    """A grey PNG; another shade gives other bytes."""

    def _chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = (b"\x00" + bytes([shade]) * side) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def picture(shade: int = 0, content_type: str | None = "image/png", **more: object) -> Reply:
    return Reply(png(shade), content_type=content_type, **more)  # type: ignore[arg-type]


@dataclass
class LocalSite:
    """Serves `routes` on a free loopback port inside a `with`; paths it does not know are 404.

    A list of replies is given out one a request; the last one stays.
    """

    routes: Mapping[str, Reply | list[Reply]] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    not_modified: Counter[str] = field(default_factory=Counter)
    agents: set[str] = field(default_factory=set)
    header_names: set[str] = field(default_factory=set)
    open_now: int = 0
    most_open: int = 0

    def __enter__(self) -> LocalSite:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return self.base + path

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        for line in head.split("\r\n"):
            self.header_names.add(line.partition(":")[0])
            if line.lower().startswith("user-agent:"):
                self.agents.add(line.partition(":")[2].strip())
        reply = self._reply(path)
        self.hits[path] += 1
        if reply.etag is not None and f"if-none-match: {reply.etag}".lower() in head.lower():
            self.not_modified[path] += 1
            reply = Reply(raw=f"HTTP/1.1 304 Same\r\nETag: {reply.etag}\r\n\r\n".encode())
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await asyncio.sleep(reply.delay)
            writer.write(reply.wire() if reply.raw is None else reply.raw)
            await writer.drain()
            if reply.raw is not None:
                await self._hang(reply, writer)
        finally:
            self.open_now -= 1
        return reply.raw is None

    async def _hang(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        for _ in range(int(reply.hang / 0.02)):
            await asyncio.sleep(0.02)
            if reply.drip:
                writer.write(b"x")
                await writer.drain()

    def _reply(self, path: str) -> Reply:
        found = self.routes.get(path, Reply("gone", 404))
        if isinstance(found, list):
            return found[min(self.hits[path], len(found) - 1)]
        return found
