"""URLs as a browser reads them (WHATWG URL), enough of it for a crawler."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import idna

# What a browser leaves alone; everything else, blanks and non-ASCII included, is percent-encoded.
_PATH_SAFE = "/%:@!$&'()*+,;=~[]|\\-._"
_QUERY_SAFE = "/%:@!$&()*+,;=~[]|\\-._?`{}^"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_STRIPPED = "".join(map(chr, range(0x21)))
_NEWLINES = str.maketrans("", "", "\t\n\r")
_OTHER_SCHEME = re.compile(r"(?!https?:)[a-zA-Z][a-zA-Z0-9+.-]*:", re.IGNORECASE)
_NO_HOST = re.compile(r"https?://+", re.IGNORECASE)
_IMAGE_FILE = re.compile(r"\.(png|jpe?g|jpe|jfif|gif|webp|svg|bmp|tiff?|ico|avif)\Z", re.IGNORECASE)
# MediaWiki describes a picture on a page whose URL ends like the picture: /wiki/File:Cat.jpg
_WIKI_PAGE = re.compile(r"/[^/]*[A-Za-z]:[^/]*\Z")
_NUMBER = re.compile(r"\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)
_MAX_LENGTH = 8000


class InvalidUrl(ValueError):
    """An http(s) URL that cannot be requested; the message says why."""


def resolve(base: str, reference: str, encoding: str = "utf-8") -> str | None:
    """The absolute, normalised URL of a reference on a page, without its fragment.

    None for schemes that are not fetched (mailto, data, javascript …). `encoding` is the page's: a
    browser writes the query in it. Raises InvalidUrl for an http(s) URL nobody could request.
    """
    text = reference.strip(_STRIPPED).translate(_NEWLINES)
    if _OTHER_SCHEME.match(text):
        return None
    if text.startswith(("?", "#")) or not text:
        return _resolve(base, text, encoding)
    # Only the folder of the base matters, so that the pages of a folder share the cache.
    return _resolve(base[: base.rfind("/", 0, _path_end(base)) + 1] or base, text, encoding)


def resolve_or_none(base: str, reference: str | None) -> str | None:
    """`resolve`, with None for everything that cannot be requested."""
    try:
        return resolve(base, reference) if reference else None
    except InvalidUrl:
        return None


def _path_end(url: str) -> int:
    """Index where the path ends, and never inside `//host`."""
    ends = [i for i in (url.find("?"), url.find("#")) if i >= 0]
    end = min(ends, default=len(url))
    return end if url.find("/", 8, end) >= 0 else 0


@lru_cache(maxsize=1 << 16)
def _resolve(base: str, text: str, encoding: str) -> str | None:
    if _NO_HOST.fullmatch(text):
        raise InvalidUrl("it has no host")
    head, mark, tail = text.partition("?")
    text = head.replace("\\", "/") + mark + tail
    try:
        parts = urlsplit(urljoin(base, text))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUrl(str(error)) from None
    if parts.scheme not in _DEFAULT_PORTS:
        return None
    if not host:
        raise InvalidUrl("it has no host")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrl("it carries credentials")
    location = _host(host) + (f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else "")
    path = quote(_without_dots(parts.path or "/"), safe=_PATH_SAFE)
    url = urlunsplit((parts.scheme, location, path, _query(parts.query, encoding), ""))
    if len(url) > _MAX_LENGTH:
        raise InvalidUrl(f"it is longer than {_MAX_LENGTH} characters")
    return url


def _host(host: str) -> str:
    host = host.rstrip(".").lower()
    if ":" in host:
        return f"[{host}]"
    if host.isascii():
        if not re.fullmatch(r"[a-z0-9._-]+", host):
            raise InvalidUrl(f"{host!r} is not a host name")
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise InvalidUrl(f"{host!r} is not a host name: {error}") from None


def _query(query: str, encoding: str) -> str:
    if query.isascii():
        return quote(query, safe=_QUERY_SAFE)
    return quote(query.encode(encoding, errors="xmlcharrefreplace"), safe=_QUERY_SAFE)


def _without_dots(path: str) -> str:
    """Remove `.` and `..` segments, also percent-encoded ones (RFC 3986 5.2.4, WHATWG)."""
    if "/." not in path and "/%2" not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for index, segment in enumerate(segments):
        plain = segment.lower().replace("%2e", ".")
        last = index == len(segments) - 1
        if plain == ".." and len(kept) > 1:
            kept.pop()
        if plain not in (".", ".."):
            kept.append(segment)
        elif last:
            kept.append("")
    return "/".join(kept)


def host_of(url: str) -> str:
    """Host name, with its port where that is not the scheme's own."""
    return urlsplit(url).netloc


def host_name(url: str) -> str:
    """Host name without port."""
    return urlsplit(url).hostname or ""


def origin_of(url: str) -> str:
    """`scheme://host[:port]`: what a robots.txt speaks for (RFC 9309 2.3)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_image_file(url: str) -> bool:
    """Whether a link's path ends like an image file (and is not a wiki's page about one)."""
    path = urlsplit(url).path
    return bool(_IMAGE_FILE.search(path)) and not _WIKI_PAGE.search(path)


def srcset_candidates(value: str) -> list[tuple[str, float]]:
    """(URL, density) of a srcset attribute, in its order (HTML 4.8.4.2.1 "parse a srcset").

    The density is the number of the `w` or `x` descriptor, 1 where there is none.
    """
    found: list[tuple[str, float]] = []
    position, end = 0, len(value)
    while position < end:
        while position < end and (value[position] in _STRIPPED or value[position] == ","):
            position += 1
        start = position
        while position < end and value[position] not in _STRIPPED:
            position += 1
        url = value[start:position]
        if not url:
            break
        if url.endswith(","):
            found.append((url.rstrip(","), 1.0))
            continue
        comma = _descriptor_end(value, position)
        found.append((url, _density(value[position:comma])))
        position = comma + 1
    return [(url, density) for url, density in found if url]


def _descriptor_end(value: str, position: int) -> int:
    """Index of the comma that ends a candidate; commas inside parentheses do not."""
    depth = 0
    for index in range(position, len(value)):
        depth += (value[index] == "(") - (value[index] == ")")
        if value[index] == "," and depth <= 0:
            return index
    return len(value)


def _density(descriptors: str) -> float:
    for word in descriptors.split():
        if word[-1] in "wx":
            return float(word[:-1]) if _NUMBER.fullmatch(word[:-1]) else 0.0
    return 1.0


def best_candidate(value: str) -> str | None:
    """The largest picture of a srcset; the first of equals."""
    # What is written into the page itself (a placeholder) is not to be fetched.
    candidates = [c for c in srcset_candidates(value) if not _OTHER_SCHEME.match(c[0])]
    return max(candidates, key=lambda c: c[1])[0] if candidates else None
