"""Run one unit of a crawl in this process, and read what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from mmcore.crawl.fetch import FetchLimits
from mmcore.crawl.gate import Politeness
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.live import Settings
from mmcore.crawl.unit import Unit, UnitResult, Writers, crawl_unit
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob, PageLead, Scope
from mmcore.lake import DatasetWriter, Lake, Part

SITE_FILES = {"/robots.txt", "/sitemap.xml", "/.well-known/tdmrep.json"}
"""What a crawl asks every site for, whatever its pages say."""
QUICK = FetchLimits(total_seconds=5, connect_seconds=2, idle_seconds=0.5)
HASTY = Politeness(rate=None, attempts=3, backoff=0.01, max_retry_after=2.0, park_after=1000)


@dataclass
class Crawl:
    """A finished unit and its tables."""

    result: UnitResult
    references: list[dict[str, Any]]
    raw: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]

    def reason(self, url: str, kind: str | None = None) -> str | None:
        found = [r for r in self.outcomes if r["url"] == url and kind in (None, r["kind"])]
        assert len(found) <= 1, "one row a URL and kind"
        return found[0]["reason"] if found else None

    def row(self, url: str) -> dict[str, Any]:
        return next(r for r in self.outcomes if r["url"] == url)

    @property
    def digests(self) -> list[str]:
        parts = [*self.result.references, *self.result.raw, *self.result.outcomes]
        return [part.content_sha256 for part in parts]


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "user_agent": "mmcorebot/test",
        "fetch": QUICK,
        "host": HostLimits(),
        "politeness": HASTY,
        "private_hosts": frozenset({"127.0.0.1"}),
        "rows_per_part": 256,
        "part_bytes": 1 << 27,
    }
    return Settings(**(values | changes))


def writers(lake: Lake, day: str = "2026-01-01") -> Writers:
    volatile = ("detail", "attempts", "elapsed_ms", "fetched_at")
    return Writers(
        lake.writer("references", day),
        lake.writer("raw", day),
        lake.writer("outcomes", day, volatile=volatile),
        lake.writer("crawled", day),
        lake.writer("answers", day),
    )


def crawl(lake: Lake, *starts: str, scope: dict[str, Any] | None = None, **changes: Any) -> Crawl:
    """Crawl the start URLs' hosts as one unit with one scope."""
    hosts = sorted({host_of(url) for url in starts})
    jobs = tuple(
        HostJob(host, tuple(PageLead(u, 0) for u in starts if host_of(u) == host)) for host in hosts
    )
    scopes = (Scope(frozenset(hosts), **(scope or {})),)
    used = writers(lake)
    result = crawl_unit(Unit(0, jobs), scopes, settings(**changes), used, lambda line: None)
    return Crawl(
        result,
        _rows(used.references, result.references),
        _rows(used.raw, result.raw),
        _rows(used.outcomes, result.outcomes),
    )


def _rows(writer: DatasetWriter, parts: list[Part]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in parts:
        with writer.storage.open(f"{writer.folder}/{part.file}") as file:
            rows += pq.ParquetFile(file).read().to_pylist()
    return rows
