"""Makes a benchmark's images and serves them on several loopback addresses, each a host of its own.

    python benchmarks/crawl/image_server.py --files FOLDER --port P --hosts 127.0.0.11,127.0.0.12 \
        --log requests.jsonl

With `--mix hard` (the default) some images misbehave, by their number, the same on every run:
5 % answer 429 with `Retry-After: 1` to their first request, 5 % drip for three seconds, 2 % end
early in their first answer (Content-Length promises more). `nginx_config` is for the clean mix,
where nginx serves the same folder. A file is `i/NUMBER.jpg` or `.png`; all else, robots.txt too,
is 404.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import random
import signal
import struct
import tarfile
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from PIL import Image

HOSTS = tuple(f"127.0.0.{last}" for last in range(11, 19))
"""Every address of 127.0.0.0/8 is this machine (RFC 1122, 3.2.1.3): no set-up needed on Linux."""
_DRIP_SECONDS = 3.0
_DRIP_PIECES = 10
_MEDIA = {".jpg": "image/jpeg", ".png": "image/png", ".html": "text/html; charset=utf-8"}
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}

_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
user root;
events {{ worker_connections 4096; }}
http {{
    types {{ image/jpeg jpg; image/png png; text/html html; }}
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    open_file_cache max=8000;
    server {{
{listen}
        root {files};
    }}
}}
"""

# (columns, rows) of photographs in one JPEG, and its share; the rest are PNG drawings as they are.
_LAYOUTS = (((3, 2), 0.45), ((2, 2), 0.25), ((4, 3), 0.10), ((1, 1), 0.10))
_BASES = 2500  # distinct pictures; copies of them differ in a comment, so in bytes and sha256
_QUALITY = 88
_DRAWING_PIXELS = 4_000_000


# -- files and captions --


def make_files(photos: Path, drawings: Path, folder: Path, count: int) -> list[dict[str, str]]:
    """Write `count` images to `folder`/i; returns `{file, caption}` of each, by number.

    photos: a folder of .tar files of JPEGs, all of one size, with `annotations.jsonl`. drawings: a
    folder of PNGs. Four fifths are JPEG mosaics of photographs, a tenth the photographs themselves,
    a tenth PNGs (8-bit RGB or RGBA, up to 4 megapixels). Made again only where `count` differs.
    """
    record = folder / f"files-{count}.jsonl"
    if record.exists():
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    (folder / "i").mkdir(parents=True, exist_ok=True)
    bases = list(itertools.islice(_bases(photos, drawings), min(count, _BASES)))
    made = []
    for number in range(count):
        data, suffix, caption = bases[number % len(bases)]
        name = f"i/{number:06d}{suffix}"
        (folder / name).write_bytes(with_comment(data, f"copy {number}".encode()))
        made.append({"file": name, "caption": f"{caption} [{number}]"})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
    record.write_text(lines, encoding="utf-8")
    return made


def with_comment(data: bytes, comment: bytes) -> bytes:
    """The same pixels with a comment: JPEG COM (ITU-T T.81, B.2.4.5) or PNG tEXt (RFC 2083)."""
    if data.startswith(b"\x89PNG"):
        body = b"tEXtComment\0" + comment
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + data[33:]  # after the signature and IHDR
    after = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2  # after JFIF
    return data[:after] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[after:]


def _bases(photos: Path, drawings: Path) -> Iterator[tuple[bytes, str, str]]:
    """Endless distinct pictures in a fixed random order: (bytes, suffix, caption)."""
    choose = random.Random(7)
    lines = (photos / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    captions = {row["image"]: row["captions"][0] for row in map(json.loads, lines)}
    stock = [item for path in sorted(photos.glob("*.tar")) for item in _members(path)]
    plain = [path for path in sorted(drawings.rglob("*.png")) if path.is_file()]
    choose.shuffle(plain)
    usable = filter(_usable_png, plain)
    shares = [share for _, share in _LAYOUTS]
    while True:
        place = choose.choices(range(5), [*shares, 1 - sum(shares)])[0]
        if place == len(_LAYOUTS):
            path = next(usable)
            yield path.read_bytes(), ".png", path.stem.replace("_", " ").replace("-", " ")
            continue
        columns, rows = _LAYOUTS[place][0]
        picked = choose.sample(stock, columns * rows)
        caption = captions.get(picked[0][0], picked[0][0])
        jpeg = picked[0][1] if len(picked) == 1 else _mosaic([p[1] for p in picked], columns)
        yield jpeg, ".jpg", caption


def _members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        files = [(info.name, tar.extractfile(info)) for info in tar if info.isfile()]
        return [(name, file.read()) for name, file in files if file is not None]


def _usable_png(path: Path) -> bool:
    head = path.read_bytes()[:29]
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    return depth == 8 and colour in (2, 6) and width * height <= _DRAWING_PIXELS


def _mosaic(photos: list[bytes], columns: int) -> bytes:
    tiles = [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]
    width, height = tiles[0].size
    whole = Image.new("RGB", (width * columns, height * (len(tiles) // columns)))
    for place, tile in enumerate(tiles):
        whole.paste(tile, (place % columns * width, place // columns * height))
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


# -- serving --


def nginx_config(files: Path, folder: Path, hosts: Iterable[str], port: int) -> str:
    """An nginx configuration that serves `files` on every host; its own files go to `folder`."""
    listen = "\n".join(f"        listen {host}:{port} backlog=1024;" for host in hosts)
    return _NGINX.format(folder=folder, listen=listen, files=files)


def behaviour(number: int) -> str:
    """What the hard mix does with image `number`: `plain`, `busy`, `drip` or `short`."""
    percent = (number * 2654435761 >> 7) % 100  # Knuth's multiplicative hash spreads neighbours
    if percent < 5:
        return "busy"
    if percent < 10:
        return "drip"
    return "short" if percent < 12 else "plain"


def host_of_image(number: int, hosts: tuple[str, ...], mix: str) -> str:
    """Clean: hosts in turn. Hard: the first host has every second image, the others share."""
    if mix == "clean" or len(hosts) == 1:
        return hosts[number % len(hosts)]
    return hosts[0] if number % 2 == 0 else hosts[1 + number // 2 % (len(hosts) - 1)]


@dataclass
class Server:
    """One process, one event loop, HTTP/1.1 with persistent connections."""

    files: Path
    mix: str
    log: TextIO
    seen: set[int] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        host = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target, close = _parse(head)
                if not await self._answer(writer, host, target) or close:
                    break
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # the client has gone, or sends what is not HTTP
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, host: str, target: str) -> bool:
        """Send one answer; False where the connection cannot be used again."""
        path = self.files / target.lstrip("/")
        number = int(path.stem) if path.stem.isdigit() else -1
        kind = behaviour(number) if self.mix == "hard" and number >= 0 else "plain"
        first = number not in self.seen
        self.seen.add(number)
        if ".." in target or not path.is_file():
            self._note(host, number, 404, kind)
            return await _send(writer, 404, "text/plain", b"")
        if kind == "busy" and first:
            self._note(host, number, 429, kind)
            return await _send(writer, 429, "text/plain", b"", "Retry-After: 1\r\n")
        self._note(host, number, 200, kind)
        body, media = path.read_bytes(), _MEDIA.get(path.suffix, "application/octet-stream")
        if kind == "short" and first:
            await _send(writer, 200, media, body[: len(body) // 2], promised=len(body))
            return False
        if kind == "drip":
            return await _drip(writer, media, body)
        return await _send(writer, 200, media, body)

    def _note(self, host: str, number: int, status: int, kind: str) -> None:
        record = {"t": time.monotonic(), "host": host, "n": number, "status": status, "kind": kind}
        self.log.write(json.dumps(record) + "\n")


def _parse(head: bytes) -> tuple[str, bool]:
    """Target of a request, and whether the client wants the connection closed (RFC 9112, 9.6)."""
    line, _, fields = head.partition(b"\r\n")
    words = line.split(b" ")
    target = words[1].decode("ascii", "replace") if len(words) == 3 else "/"
    lowered = fields.lower().replace(b" ", b"")
    return target.partition("?")[0], b"connection:close" in lowered or line.endswith(b"/1.0")


def _head(status: int, media: str, length: int, extra: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {media}\r\n"
        f"Content-Length: {length}\r\n{extra}\r\n"
    ).encode("ascii")


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    media: str,
    body: bytes,
    extra: str = "",
    promised: int | None = None,
) -> bool:
    length = len(body) if promised is None else promised
    writer.write(_head(status, media, length, extra) + body)
    await writer.drain()
    return True


async def _drip(writer: asyncio.StreamWriter, media: str, body: bytes) -> bool:
    writer.write(_head(200, media, len(body)))
    step = -(-len(body) // _DRIP_PIECES)
    for start in range(0, len(body), step):
        writer.write(body[start : start + step])
        await writer.drain()
        await asyncio.sleep(_DRIP_SECONDS / _DRIP_PIECES)
    return True


async def run(files: Path, hosts: tuple[str, ...], port: int, mix: str, log: Path) -> None:
    """Serve until SIGTERM or SIGINT; the log is complete once the process has ended."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with log.open("w", encoding="utf-8") as file:
        server = Server(files, mix, file)
        listening = await asyncio.start_server(server.serve, list(hosts), port, backlog=1024)
        async with listening:
            await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hosts", default=",".join(HOSTS))
    parser.add_argument("--mix", choices=["clean", "hard"], default="hard")
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    hosts = tuple(given.hosts.split(","))
    asyncio.run(run(given.files, hosts, given.port, given.mix, given.log))


if __name__ == "__main__":
    main()
