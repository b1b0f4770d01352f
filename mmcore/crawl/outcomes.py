"""What became of each URL, gathered while a unit of the crawl runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from mmcore.crawl.fetch import Answer
from mmcore.crawl.schemas import OUTCOMES


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of `outcomes`."""

    url: str
    kind: str
    reason: str
    status: int | None = None
    bytes: int = 0
    content_type: str | None = None
    sha256: str | None = None
    referrer: str | None = None
    redirect: str | None = None
    state: str | None = None
    """`new`, `unchanged`, `changed` or `gone` since the last crawl of an earlier day."""
    detail: str | None = None
    attempts: int = 0
    elapsed_ms: float | None = None
    fetched_at: datetime | None = None


def outcome_of(
    answer: Answer, kind: str, reason: str, attempts: int, redirect: str | None = None
) -> Outcome:
    """The outcome of an answered or failed request.

    Bytes are those of a complete body only: how far a broken one came differs from run to run.
    """
    return Outcome(
        answer.url,
        kind,
        reason,
        status=answer.status,
        bytes=len(answer.body) if answer.reason == "ok" else 0,
        content_type=answer.media_type or None,
        redirect=redirect,
        detail=answer.detail,
        attempts=attempts,
        elapsed_ms=answer.elapsed * 1000,
        fetched_at=answer.seen_at,
    )


def outcome_table(outcomes: Iterable[Outcome]) -> pa.Table:
    """Rows in the order of (url, kind)."""
    rows = sorted(outcomes, key=lambda o: (o.url, o.kind))
    columns = {name: [getattr(row, name) for row in rows] for name in OUTCOMES.names}
    return pa.Table.from_pydict(columns, schema=OUTCOMES)


def with_referrers(
    outcomes: Iterable[Outcome], referrers: dict[tuple[str, str], str]
) -> list[Outcome]:
    """Outcomes with the first page (by URL) that led to each; referrers by (kind, url)."""
    return [replace(o, referrer=referrers.get((o.kind, o.url), o.referrer)) for o in outcomes]


def count_reasons(outcomes: Iterable[Outcome]) -> Counter[tuple[str, str]]:
    """How many URLs of each (kind, reason)."""
    return Counter((o.kind, o.reason) for o in outcomes)


def count_states(outcomes: Iterable[Outcome]) -> Counter[tuple[str, str]]:
    """How many URLs of each (kind, state); what has no state is not counted."""
    return Counter((o.kind, o.state) for o in outcomes if o.state is not None)
