"""One guarded GET: bounded in time, bytes, inflation and destinations. Never follows a redirect."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from mmcore.crawl.address import DnsError, PinnedResolver, PrivateAddress
from mmcore.crawl.urls import host_name

# Reading on keeps the connection for the next request; beyond this a new connection is cheaper.
_WORTH_DRAINING = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIED = frozenset({429, 500, 502, 503, 504})

Wanted = Callable[[bytes, str], bool]
"""(first bytes, media type) -> whether the rest of the body is wanted."""


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of one request. Times in seconds, sizes in bytes (after decompression)."""

    total_seconds: float = 60.0
    connect_seconds: float = 10.0
    idle_seconds: float = 15.0
    max_header_bytes: int = 32_768


@dataclass(frozen=True, slots=True)
class Answer:
    """What a GET came to. `reason` is `ok`, `redirected` or why there is no usable body."""

    url: str
    reason: str
    status: int | None = None
    body: bytes = b""
    content_type: str = ""
    """The header as sent, with its parameters."""
    location: str | None = None
    x_robots_tag: tuple[str, ...] = ()
    language: str | None = None
    link: tuple[str, ...] = ()
    """Link headers (RFC 8288): a canonical URL or a licence may stand there."""
    tdm_reservation: str | None = None
    tdm_policy: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    retry_after: float | None = None
    retryable: bool = False
    detail: str | None = None
    elapsed: float = field(default=0.0, compare=False)
    seen_at: datetime | None = field(default=None, compare=False)
    """When the answer came, UTC."""

    @property
    def media_type(self) -> str:
        """`image/png` of `image/png; charset=…`; empty where the server named none."""
        return media_type(self.content_type)


@dataclass(frozen=True, slots=True)
class Validators:
    """What lets a server answer 304 Not Modified (RFC 9110 13.1); of an earlier answer."""

    etag: str | None
    last_modified: str | None

    def headers(self) -> dict[str, str]:
        """If-None-Match, and If-Modified-Since for servers that only know dates."""
        wanted = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in wanted.items() if value}


def media_type(content_type: str) -> str:
    """A Content-Type header without parameters, lower case."""
    return content_type.partition(";")[0].strip().lower()


class Fetcher:
    """GETs over one connection pool. Use as an async context manager."""

    def __init__(
        self,
        user_agent: str,
        limits: FetchLimits,
        resolver: PinnedResolver,
        connections: int,
        connections_per_host: int,
    ) -> None:
        self._limits = limits
        self._resolver = resolver
        self._agent = user_agent
        self._pool = (connections, connections_per_host)

    async def __aenter__(self) -> Fetcher:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            limit=self._pool[0],
            limit_per_host=self._pool[1],
            use_dns_cache=False,  # the pins are the cache
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=limits.total_seconds,
                sock_connect=limits.connect_seconds,
                sock_read=limits.idle_seconds,
            ),
            headers={"User-Agent": self._agent, "Accept-Encoding": "gzip, deflate"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # inflated here, with a bound
            trust_env=False,  # a proxy would resolve names behind the guard's back
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(
        self,
        url: str,
        accept: str,
        max_bytes: int,
        wanted: Wanted,
        validators: Validators | None = None,
    ) -> Answer:
        """GET a normalised URL. Whatever the server does, the result is an Answer.

        With validators the answer may be `not_modified`, without a body.
        """
        headers = {"Accept": accept} | (validators.headers() if validators else {})
        start = time.monotonic()
        received = [0]
        try:
            await self._resolver.pin(host_name(url))
            answer = await self._request(url, headers, max_bytes, wanted, received)
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            answer = _failure(url, error, received[0])
        return _timed(answer, time.monotonic() - start)

    async def _request(
        self,
        url: str,
        headers: dict[str, str],
        max_bytes: int,
        wanted: Wanted,
        received: list[int],
    ) -> Answer:
        target = URL(url, encoded=True)
        async with self._session.get(target, headers=headers, allow_redirects=False) as response:
            answer = _head(url, response)
            if answer.reason != "ok":
                await _drain(response)
                return answer
            declared = response.content_length
            if declared is not None and declared > max_bytes:
                response.close()
                return _with(answer, reason="too_large")
            return await _read(response, answer, max_bytes, wanted, received)


async def _read(
    response: aiohttp.ClientResponse,
    answer: Answer,
    max_bytes: int,
    wanted: Wanted,
    received: list[int],
) -> Answer:
    """The body, inflated; stops at the first byte too many or when it is not wanted."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    inflate = _decoder(coding)
    if inflate is None:
        response.close()
        return _with(answer, reason="wrong_content_type", detail=f"content coding {coding}")
    body, checked = bytearray(), False
    async for chunk in response.content.iter_any():
        received[0] += len(chunk)
        body += inflate(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes or received[0] > max_bytes:
            response.close()
            return _with(answer, reason="too_large", body=bytes(body[:max_bytes]))
        if not checked and (len(body) >= 512 or response.content.at_eof()):
            checked = True
            if not wanted(bytes(body[:1024]), answer.media_type):
                await _drain(response)
                return _with(answer, reason="wrong_content_type")
    if not body:
        return _with(answer, reason="empty")
    if not checked and not wanted(bytes(body[:1024]), answer.media_type):
        return _with(answer, reason="wrong_content_type")
    return _with(answer, body=bytes(body))


def _decoder(coding: str) -> Callable[[bytes, int], bytes] | None:
    """A function (chunk, most bytes out) -> inflated bytes; None for an unknown coding."""
    if coding in ("", "identity"):
        return lambda chunk, most: chunk
    if coding in ("gzip", "x-gzip"):
        return _bounded(zlib.decompressobj(wbits=31))
    return _bounded_deflate() if coding == "deflate" else None


def _bounded(inflater: zlib._Decompress) -> Callable[[bytes, int], bytes]:
    return lambda chunk, most: inflater.decompress(chunk, max(most, 1))


def _bounded_deflate() -> Callable[[bytes, int], bytes]:
    """`deflate` is zlib by the standard and raw deflate from some servers: the first byte tells."""
    inflater: list[zlib._Decompress] = []

    def _inflate(chunk: bytes, most: int) -> bytes:
        if not inflater:
            zlib_header = bool(chunk) and chunk[0] & 0x0F == 8
            inflater.append(zlib.decompressobj(wbits=15 if zlib_header else -15))
        return inflater[0].decompress(chunk, max(most, 1))

    return _inflate


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Keep the connection if little is left to read, else drop it."""
    length = 0 if response.status in (204, 304) else response.content_length
    if length is not None and length <= _WORTH_DRAINING:
        await response.read()
    else:
        response.close()


def _head(url: str, response: aiohttp.ClientResponse) -> Answer:
    """Status and headers as an Answer without a body."""
    status, headers = response.status, response.headers
    location = _text(headers.get("Location")) if status in _REDIRECTS else None
    return Answer(
        url,
        _status_reason(status, location),
        status=status,
        content_type=_text(headers.get("Content-Type")) or "",
        location=location,
        x_robots_tag=tuple(_text(v) or "" for v in headers.getall("X-Robots-Tag", [])),
        language=_text(headers.get("Content-Language")),
        link=tuple(_text(v) or "" for v in headers.getall("Link", [])),
        tdm_reservation=_text(headers.get("TDM-Reservation")),
        tdm_policy=_text(headers.get("TDM-Policy")),
        etag=_validator(headers.get("ETag")),
        last_modified=_validator(headers.get("Last-Modified")),
        retry_after=_retry_after(headers.get("Retry-After")),
        retryable=status in _RETRIED,
    )


def _text(value: str | None) -> str | None:
    """A header without the surrogates that stand for bytes which are not UTF-8."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if value else value


def _validator(value: str | None) -> str | None:
    """A validator that can be sent back as it came; what is not plain ASCII cannot."""
    usable = value and len(value) <= 1024 and value.isascii() and value.isprintable()
    return value if usable else None


def _status_reason(status: int, location: str | None) -> str:
    if status in (200, 203):
        return "ok"
    if status == 204:
        return "empty"
    if status == 304:
        return "not_modified"
    if location:
        return "redirected"
    return "rate_limited" if status == 429 else "http_error"


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header: a number or an HTTP date (RFC 9110 10.2.3)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _failure(url: str, error: Exception, received: int) -> Answer:
    """A failed request as an Answer."""
    detail = f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()[:300]
    if isinstance(error, PrivateAddress):
        return Answer(url, "private_address", detail=detail)
    if isinstance(error, DnsError):
        return Answer(url, "dns_error", detail=detail)
    if isinstance(error, TimeoutError):
        # A server that dripped bytes until the deadline would only do so again.
        return Answer(url, "timeout", detail=detail, retryable=received == 0)
    if isinstance(error, aiohttp.InvalidURL):
        return Answer(url, "invalid_url", detail=detail)
    return Answer(url, "connection_error", detail=detail, retryable=True)


def _with(answer: Answer, **changes: Any) -> Answer:
    return replace(answer, **changes)


def _timed(answer: Answer, seconds: float) -> Answer:
    return _with(answer, elapsed=seconds, seen_at=datetime.now(UTC))
