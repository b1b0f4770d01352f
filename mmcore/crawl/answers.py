"""What was answered to each request, kept: to continue a crawl, to revalidate it the next night.

`answers@DAY` has one row per URL that was requested, with the headers a cache needs (RFC 9111) and
the body of pages, robots.txt and the like; images lie in `raw`. The journal of a running crawl is
made of the same rows, with the images' bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from mmcore.crawl.fetch import Answer, Validators
from mmcore.crawl.spill import Slot, Spill
from mmcore.crawl.urls import host_of

Key = tuple[str, str]
"""(kind, url)."""

ANSWERS = pa.schema(
    [
        ("url", pa.string()),
        ("kind", pa.string()),
        ("host", pa.string()),
        ("reason", pa.string()),
        ("status", pa.int32()),
        ("content_type", pa.string()),
        ("location", pa.string()),
        ("x_robots_tag", pa.list_(pa.string())),
        ("language", pa.string()),
        ("link", pa.list_(pa.string())),
        ("tdm_reservation", pa.string()),
        ("tdm_policy", pa.string()),
        ("etag", pa.string()),
        ("last_modified", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("body", pa.binary()),
        ("stored", pa.string()),
        ("carried", pa.bool_()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
        ("elapsed", pa.float64()),
        ("seen_at", pa.timestamp("us", tz="UTC")),
    ]
)
ANSWERS_VOLATILE = ("status", "etag", "last_modified", "detail", "attempts", "elapsed", "seen_at")

_HEADERS = (
    "content_type",
    "language",
    "tdm_reservation",
    "tdm_policy",
    "etag",
    "last_modified",
)
_OF_ANSWER = ("url", "reason", "status", "location", *_HEADERS, "detail", "elapsed", "seen_at")
_SHELVES = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer without its body; `slot` tells where the body lies."""

    answer: Answer
    attempts: int
    sha256: str | None = None
    """Of the body, where it was wanted."""
    size: int = 0
    slot: Slot | None = None
    stored: str | None = None
    """Partition whose `raw` (or `answers`, for a page) has the bytes; None: this one."""
    archived: bool = True
    """Whether the body may be kept after the crawl: not for a page that forbids it."""
    carried: bool = False
    """The request failed this time: this is what was answered before."""

    @property
    def validators(self) -> Validators | None:
        """For a conditional request; None where a 304 could not be made use of."""
        reason = self.answer.reason
        # Of what is not wanted nothing is kept, and nothing is needed to know it again.
        usable = reason == "wrong_content_type" or (reason == "ok" and self.sha256 is not None)
        headers = Validators(self.answer.etag, self.answer.last_modified)
        return headers if usable and headers.headers() else None


def shelf(host: str) -> int:
    """Where answers of a host are kept: a number below 1024, the same in every process."""
    return zlib.crc32(host.encode()) % _SHELVES


def shelf_bits(hosts: Iterable[str]) -> str:
    """The shelves of some hosts as a bit set in hex; parts carry it to be skipped unread."""
    bits = 0
    for host in hosts:
        bits |= 1 << shelf(host)
    return f"{bits:x}"


def revalidated(before: Kept, now: Answer, body: bytes) -> Answer:
    """The kept answer, freshened by a 304: headers that came with it replace the old ones
    (RFC 9111 3.2), the body stays."""
    old = before.answer
    fresh = (name for name in _HEADERS if name != "content_type")  # a 304 has no content
    changes = {name: getattr(now, name) or getattr(old, name) for name in fresh}
    return replace(
        old,
        **changes,
        status=304,
        body=body,
        x_robots_tag=now.x_robots_tag or old.x_robots_tag,
        link=now.link or old.link,
        elapsed=now.elapsed,
        seen_at=now.seen_at,
    )


def answers_table(
    rows: Sequence[tuple[str, Kept]], spill: Spill, with_images: bool = False
) -> pa.Table:
    """Rows of ANSWERS of (kind, kept). Bodies of images only for a journal (`with_images`)."""
    answers = [kept.answer for _, kept in rows]
    columns: dict[str, list[object]] = {
        name: [getattr(answer, name) for answer in answers] for name in _OF_ANSWER
    }
    columns |= {
        "kind": [kind for kind, _ in rows],
        "host": [host_of(answer.url) for answer in answers],
        "x_robots_tag": [list(answer.x_robots_tag) for answer in answers],
        "link": [list(answer.link) for answer in answers],
        "sha256": [kept.sha256 for _, kept in rows],
        "bytes": [kept.size for _, kept in rows],
        "body": [_body(kind, kept, spill, with_images) for kind, kept in rows],
        "stored": [kept.stored for _, kept in rows],
        "carried": [kept.carried for _, kept in rows],
        "attempts": [kept.attempts for _, kept in rows],
    }
    return pa.Table.from_pydict({name: columns[name] for name in ANSWERS.names}, schema=ANSWERS)


def _body(kind: str, kept: Kept, spill: Spill, with_images: bool) -> bytes | None:
    if kept.slot is None:
        return None
    if not with_images and (kind == "image" or kept.stored is not None or not kept.archived):
        return None
    return spill.read(kept.slot)


def kept_rows(table: pa.Table, spill: Spill) -> Iterator[tuple[str, Kept]]:
    """(kind, kept) of each row of ANSWERS; bodies go to the spill."""
    for row in table.to_pylist():
        body = row["body"]
        answer = Answer(
            **{name: row[name] for name in _OF_ANSWER},
            x_robots_tag=tuple(row["x_robots_tag"] or ()),
            link=tuple(row["link"] or ()),
        )
        yield (
            row["kind"],
            Kept(
                answer,
                row["attempts"],
                row["sha256"],
                row["bytes"],
                spill.append(body) if body is not None else None,
                row["stored"],
                carried=bool(row["carried"]),
            ),
        )
