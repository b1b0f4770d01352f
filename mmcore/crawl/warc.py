"""WARC archives (ISO 28500) as a source: pages give references, images come from the archive too.

Common Crawl's files, or those of wget, Heritrix and Browsertrix. Links are not followed: an archive
is what somebody crawled already. Images that are not in it are fetched, if the recipe says so.
"""

from __future__ import annotations

import glob
import hashlib
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from mmcore.crawl.charset import decode_page
from mmcore.crawl.consent import header_directives
from mmcore.crawl.extract import extract_page
from mmcore.crawl.fetch import media_type
from mmcore.crawl.findings import Findings, Stored
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.sniff import image_type, looks_like_html
from mmcore.crawl.spill import Spill
from mmcore.crawl.tdm import combined, from_headers
from mmcore.crawl.urls import host_name, resolve_or_none
from mmcore.crawl.work import ImageLead
from mmcore.errors import UserError
from mmcore.lake import open_storage

_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_ENDINGS = (".warc", ".warc.gz")


class WarcSource(BaseModel):
    """WARC files, as Common Crawl and other archives keep the web."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["warc"] = "warc"
    path: str = Field(
        description="A .warc or .warc.gz, a folder of them, a glob, or s3://bucket/prefix; "
        "relative to the recipe."
    )
    hosts: tuple[str, ...] | None = Field(
        None, description="Only pages of these hosts; null: all pages."
    )
    fetch_missing: bool = Field(
        True, description="Fetch images that pages show and the archive does not have."
    )


def warc_files(source: WarcSource) -> list[str]:
    """The archives in name order, as absolute paths or s3:// URIs. UserError if there is none."""
    path = Path(source.path)
    if source.path.startswith("s3://"):
        files = _s3_files(source.path)
    elif path.is_dir():
        files = [str(file.absolute()) for file in path.rglob("*") if file.name.endswith(_ENDINGS)]
    else:
        files = [str(Path(name).absolute()) for name in glob.glob(source.path, recursive=True)]
    if not files:
        raise UserError(
            f"The warc source {source.path} has no archive: name a .warc or .warc.gz, a folder of "
            "them, or a glob."
        )
    return sorted(files)


def _s3_files(path: str) -> list[str]:
    if path.endswith(_ENDINGS):
        return [path]
    storage = open_storage(path)
    return [storage.location(key) for key in storage.keys("") if key.endswith(_ENDINGS)]


def read_warc(
    path: str, source: WarcSource, found: Findings, spill: Spill, limits: HostLimits
) -> None:
    """Read one archive into the findings; bodies go to the spill, one record is in memory.

    Every response has an outcome. An archive that breaks off gives what came before, and
    `bad_record` for itself. The last answer of a URL counts.
    """
    reader = _Reader(source, found, spill, limits)
    try:
        with _open(path) as file:
            for record in _responses(file):
                reader.take(record)
    except (ArchiveLoadFailed, OSError, EOFError, ValueError, zlib.error) as error:
        where = path if path.startswith("s3://") else "file://" + quote(path)
        detail = f"it cannot be read from here on: {error}"
        found.note(Outcome(where, "archive", "bad_record", detail=detail[:300]))
    reader.finish()


def _open(path: str) -> IO[bytes]:
    if path.startswith("s3://"):
        folder, _, name = path.rpartition("/")
        file: IO[bytes] = open_storage(folder).open(name)
        return file
    return open(path, "rb")


def _responses(file: IO[bytes]) -> Iterator[Any]:
    for record in ArchiveIterator(file, no_record_parse=False, check_digests=False):
        if record.rec_type == "response" and record.http_headers is not None:
            yield record


class _Reader:
    """State while an archive is read."""

    def __init__(
        self, source: WarcSource, found: Findings, spill: Spill, limits: HostLimits
    ) -> None:
        self._source, self._found, self._spill, self._limits = source, found, spill, limits
        self._wanted: dict[str, str] = {}
        """Images that pages show -> the first page, by URL."""
        self._withdrawn: set[str] = set()
        """Images that a page shows which was taken down."""

    def take(self, record: Any) -> None:
        """One response record."""
        url = resolve_or_none("", record.rec_headers.get_header("WARC-Target-URI"))
        if url is None:
            return
        headers = record.http_headers
        status = int(headers.get_statuscode() or 0)
        seen = _time(record.rec_headers.get_header("WARC-Date"))
        declared = media_type(headers.get_header("Content-Type") or "")
        outcome = Outcome(url, "page", "ok", status, content_type=declared or None, fetched_at=seen)
        if declared.startswith("image/"):
            outcome = replace(outcome, kind="image")
        listed = self._limits.withdrawn.has_url(url)
        if listed and (outcome.kind == "image" or status not in (200, 203)):
            self._found.note(replace(outcome, reason="taken_down"))
            return
        if status not in (200, 203):
            target = resolve_or_none(url, headers.get_header("Location"))
            redirected = 300 <= status < 400 and target is not None
            reason = "redirected" if redirected else "http_error"
            self._found.note(replace(outcome, reason=reason, redirect=target))
            return
        body, problem = self._body(record)
        if problem is not None:
            reason = "too_large" if problem == "too_large" else "bad_record"
            self._found.note(replace(outcome, reason=reason, detail=problem))
        elif declared in _HTML_TYPES or (not declared and looks_like_html(body[:1024])):
            self._page(url, record, body, outcome)
        else:
            self._image(url, record, body, replace(outcome, kind="image"), seen)

    def _body(self, record: Any) -> tuple[bytes, str | None]:
        """(content without transfer and content codings, what is wrong with it)."""
        most = max(self._limits.max_page_bytes, self._limits.max_image_bytes)
        try:
            body: bytes = record.content_stream().read(most + 1)
        except Exception as error:  # a coding that does not decode raises what its codec likes
            return b"", f"{type(error).__name__}: {error}"[:300]
        return body, "too_large" if len(body) > most else None

    def _page(self, url: str, record: Any, body: bytes, outcome: Outcome) -> None:
        headers, agent, policy = record.http_headers, self._limits.agent, self._limits.consent
        if self._source.hosts is not None and host_name(url) not in self._source.hosts:
            self._found.note(replace(outcome, reason="out_of_scope"))
            return
        if len(body) > self._limits.max_page_bytes:
            self._found.note(replace(outcome, reason="too_large"))
            return
        text, codec = decode_page(body, headers.get_header("Content-Type") or "")
        page = extract_page(text, url, codec, headers.get_header("Content-Language"), agent)
        said = tuple(v for name, v in headers.headers if name.lower() == "x-robots-tag")
        if self._limits.withdrawn.has_url(url):
            self._withdrawn |= {reference.image_url for reference in page.references}
            self._found.note(replace(outcome, reason="taken_down"))
            return
        tdm = combined(page.tdm, _tdm(headers, url))
        refused = policy.refusal(page.directives | header_directives(said, agent), tdm)
        self._found.note(replace(outcome, reason=refused or "ok", bytes=len(body)))
        wanted = tuple(r for r in page.references if policy.accepts_license(r.license))
        taken = {r.image_url for r in wanted} if refused is None else set()
        for reference in page.references:
            image = reference.image_url
            if image in taken:
                self._wanted[image] = min(self._wanted.get(image, url), url)
                self._found.refer("image", image, url)
            else:
                self._found.withheld.setdefault(image, refused or "license_refused")
                self._found.refer("withheld", image, url)
        if taken:
            kept = replace(page, links=(), references=wanted)
            data = pickle.dumps((kept, ", ".join(said) or None, tdm))
            self._found.pages[url] = self._spill.append(data)

    def _image(self, url: str, record: Any, body: bytes, outcome: Outcome, seen: datetime) -> None:
        headers = record.http_headers
        said = tuple(v for name, v in headers.headers if name.lower() == "x-robots-tag")
        tdm = _tdm(headers, url)
        directives = header_directives(said, self._limits.agent)
        refused = self._limits.consent.refusal(directives, tdm)
        kind = image_type(body[:1024], media_type(headers.get_header("Content-Type") or ""))
        reason = refused or ("ok" if kind else "wrong_content_type" if body else "empty")
        if reason != "ok" or kind is None:
            self._found.note(replace(outcome, reason=reason))
            return
        sha = hashlib.sha256(body).hexdigest()
        if barred := self._limits.barred(sha):
            self._found.note(replace(outcome, reason=barred))
            return
        self._found.note(replace(outcome, bytes=len(body), content_type=kind, sha256=sha))
        if sha not in self._found.bodies:
            self._found.bodies[sha] = self._spill.append(body)
        header = ", ".join(said) or None
        self._found.images[url] = Stored(sha, kind, "archive", header, seen, tdm)

    def finish(self) -> None:
        """Ask for, or put on record, the images that the archive does not have; drop those that
        are shown only where they must not be taken from, and those of pages that were taken down,
        wherever else they are shown."""
        for image, reason in sorted(self._found.withheld.items()):
            if image not in self._wanted and self._found.images.pop(image, None) is not None:
                outcome = self._found.outcomes["image", image]
                self._found.note(replace(outcome, reason=reason, sha256=None, bytes=0))
        for image in sorted(self._withdrawn):
            self._found.images.pop(image, None)
            self._found.note(Outcome(image, "image", "taken_down"))
        for image, page in sorted(self._wanted.items()):
            if ("image", image) in self._found.outcomes:
                continue
            if self._source.fetch_missing:
                self._found.foreign_images[image] = ImageLead(image, referrer=page)
            else:
                missing = Outcome(image, "image", "missing_file", detail="not in the archive")
                self._found.note(missing)


def _tdm(headers: Any, url: str) -> Any:
    return from_headers(
        headers.get_header("TDM-Reservation"), headers.get_header("TDM-Policy"), url
    )


def _time(written: str | None) -> datetime:
    try:
        return datetime.fromisoformat((written or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime.now(UTC)
