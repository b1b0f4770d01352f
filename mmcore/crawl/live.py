"""The network side of a Ray task: connections, gates and robots that outlast a batch of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmcore.crawl.address import PinnedResolver
from mmcore.crawl.asking import Asker
from mmcore.crawl.fetch import Fetcher, FetchLimits
from mmcore.crawl.findings import Findings
from mmcore.crawl.gate import Gate, Politeness
from mmcore.crawl.host import HostCrawl
from mmcore.crawl.journal import Journal
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.memory import Archive, Memory
from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.spill import Spill
from mmcore.crawl.tdm import TdmFile
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob, Scope

_MOST_CONNECTIONS = 256
_SECONDS_BETWEEN_LINES = 3.0
# Not worth a person's attention while the crawl runs.
_GOOD = (
    ("page", "ok"),
    ("page", "redirected"),
    ("page", "out_of_scope"),
    ("page", "wrong_content_type"),
    ("image", "ok"),
    ("image", "redirected"),
    ("robots", "ok"),
    ("robots", "http_error"),
    ("tdm", "ok"),
    ("tdm", "http_error"),
    ("sitemap", "ok"),
    ("sitemap", "http_error"),
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How a unit crawls and how large its parts are."""

    user_agent: str
    fetch: FetchLimits
    host: HostLimits
    politeness: Politeness
    private_hosts: frozenset[str]
    rows_per_part: int
    part_bytes: int


class Session:
    """Crawls batches of hosts over one connection pool; a host keeps its gate and robots.

    Use as an async context manager.
    """

    def __init__(self, settings: Settings, hosts: int, archive: Archive | None) -> None:
        """`hosts`: how many are crawled at once, at most."""
        self._settings, self._archive = settings, archive
        per_host = settings.host.connections
        self._fetcher = Fetcher(
            settings.user_agent,
            settings.fetch,
            PinnedResolver(settings.private_hosts),
            min(per_host * hosts, _MOST_CONNECTIONS),
            per_host,
        )
        self._gates: dict[str, Gate] = {}
        self._robots: dict[str, dict[str, RobotsFile]] = {}
        self._tdm: dict[str, dict[str, TdmFile]] = {}

    async def __aenter__(self) -> Session:
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._fetcher.__aexit__(*error)

    async def crawl(
        self,
        jobs: Sequence[HostJob],
        scopes: Sequence[Scope],
        memory: Memory,
        found: Findings,
        spill: Spill,
        report: Callable[[Findings, float], None],
    ) -> None:
        """Do the jobs to the end; what they find is in `found`, and durable in the journal."""
        journal = Journal(self._archive.journal, spill) if self._archive is not None else None
        beside = [asyncio.ensure_future(_report_until_cancelled(found, report))]
        if journal is not None:
            beside.append(asyncio.ensure_future(journal.write_until_cancelled()))
        crawls = [self._host(job, scopes, memory, journal, found, spill).run() for job in jobs]
        try:
            await _unless_failing(asyncio.gather(*crawls), beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        if journal is not None:
            await journal.flush()
        for origin, file in found.robots.items():
            self._robots.setdefault(host_of(origin), {})[origin] = file
        for origin, said in found.tdm.items():
            self._tdm.setdefault(host_of(origin), {})[origin] = said

    def _host(
        self,
        job: HostJob,
        scopes: Sequence[Scope],
        memory: Memory,
        journal: Journal | None,
        found: Findings,
        spill: Spill,
    ) -> HostCrawl:
        gate = self._gates.setdefault(job.host, Gate(self._settings.politeness, job.host))
        asker = Asker(self._fetcher, gate, memory, journal, found, spill)
        job = replace(
            job,
            robots=job.robots | self._robots.get(job.host, {}),
            tdm=job.tdm | self._tdm.get(job.host, {}),
        )
        return HostCrawl(job, scopes, asker, self._settings.host, memory, found, spill)


async def _unless_failing(work: Awaitable[Any], beside: Sequence[asyncio.Future[Any]]) -> None:
    """Await the work; a journal that cannot be written ends it, with its error."""
    working = asyncio.ensure_future(work)
    await asyncio.wait([working, *beside], return_when=asyncio.FIRST_COMPLETED)
    for task in beside:
        if task.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            task.result()
    await working


async def _report_until_cancelled(
    found: Findings, report: Callable[[Findings, float], None]
) -> None:
    """Say how the crawl is getting on, every few seconds."""
    before = 0
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LINES)
        report(found, (found.requests - before) / _SECONDS_BETWEEN_LINES)
        before = found.requests


def report_line(where: str, report: Report, found: Findings, rate: float) -> None:
    """One line: what there is so far, requests a second, the queue and how long it will take."""
    tally = found.tally
    lost = sum(tally.values()) - sum(tally[key] for key in _GOOD)
    left = f" (about {found.queued / rate:,.0f} s)" if rate else ""
    report(
        f"{where}: {tally[('page', 'ok')]:,} pages, {len(found.images):,} images, "
        f"{rate:,.0f} requests/s, {found.queued:,} queued{left}, {lost:,} failed or refused"
    )
