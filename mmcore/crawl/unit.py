"""One Ray task's share of a crawl: a few hosts in one event loop, then their parts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from mmcore.crawl.address import PinnedResolver
from mmcore.crawl.fetch import Fetcher, FetchLimits
from mmcore.crawl.gate import Politeness
from mmcore.crawl.host import Findings, HostCrawl, HostLimits
from mmcore.crawl.outcomes import Outcome, count_reasons, outcome_table, with_referrers
from mmcore.crawl.redirects import follow
from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.rows import body_sizes, first_urls, image_table, raw_tables, reference_tables
from mmcore.crawl.spill import Spill
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob, ImageLead, PageLead, Scope
from mmcore.lake import DatasetWriter, Part

PART_STRIDE = 100_000
"""Unit `u` numbers its parts from `u * PART_STRIDE`, whatever the other units write."""
_OUTCOMES_PER_PART = 65_536
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


@dataclass(frozen=True)
class Writers:
    """Where a unit writes; all picklable."""

    references: DatasetWriter
    raw: DatasetWriter
    outcomes: DatasetWriter
    crawled: DatasetWriter


@dataclass(frozen=True)
class Unit:
    """Hosts that are crawled together. `index` orders the units of a crawl."""

    index: int
    jobs: tuple[HostJob, ...]


@dataclass(frozen=True)
class UnitResult:
    """What the driver needs to know of a finished unit: parts and small tables, never bytes."""

    rows: int
    index: int
    references: list[Part]
    raw: list[Part]
    raw_keys: list[list[str]]
    """sha256 of each raw part's rows."""
    raw_urls: dict[str, str]
    """sha256 -> the URL it is stored under."""
    outcomes: list[Part]
    images: pa.Table
    redirects: dict[tuple[str, str], str]
    """(kind, url) -> target."""
    open: list[Outcome]
    """Outcomes that other units decide: redirects to elsewhere, images withheld here."""
    foreign_images: list[ImageLead]
    foreign_pages: list[PageLead]
    visited: frozenset[str]
    requested: dict[str, dict[int, int]]
    robots: dict[str, RobotsFile]
    asked_images: frozenset[str]
    """Images that have an outcome here, stored or not."""
    page_reasons: dict[str, tuple[str, str | None]]
    """URLs of the pages the unit was asked for -> (reason, detail)."""
    reasons: Counter[tuple[str, str]]
    seconds: float


def crawl_unit(
    unit: Unit, scopes: tuple[Scope, ...], settings: Settings, writers: Writers, report: Report
) -> UnitResult:
    """Crawl the unit's hosts to the end and write its references, raw images and outcomes."""
    start = time.monotonic()
    with Spill() as spill:
        found = asyncio.run(_crawl(unit, scopes, settings, spill, report))
        first = first_urls(found)
        base = unit.index * PART_STRIDE
        raw_parts, raw_keys = [], []
        sizes = body_sizes(found.bodies)
        tables = raw_tables(
            first,
            lambda sha: spill.read(found.bodies[sha]),
            sizes,
            settings.rows_per_part,
            settings.part_bytes,
        )
        for number, table in enumerate(tables):
            raw_parts.append(writers.raw.write_table(base + number, table))
            raw_keys.append(table["sha256"].to_pylist())
        references = [
            writers.references.write_table(base + number, table)
            for number, table in enumerate(reference_tables(found, spill, settings.rows_per_part))
        ]
    decided, undecided = settle(found, {job.host for job in unit.jobs}, settings.host.max_redirects)
    return UnitResult(
        rows=len(decided) + len(undecided),
        index=unit.index,
        references=references,
        raw=raw_parts,
        raw_keys=raw_keys,
        raw_urls={sha: url for sha, (url, _) in first.items()},
        outcomes=write_outcomes(writers.outcomes, base, decided),
        images=image_table(found),
        redirects=_redirects(found),
        open=undecided,
        foreign_images=_with_first_referrer(found),
        foreign_pages=[found.foreign_pages[url] for url in sorted(found.foreign_pages)],
        visited=frozenset(found.visited),
        requested=found.requested,
        robots=found.robots,
        asked_images=frozenset(url for kind, url in found.outcomes if kind == "image"),
        page_reasons=_page_reasons(unit, found),
        reasons=count_reasons(decided),
        seconds=time.monotonic() - start,
    )


async def _crawl(
    unit: Unit, scopes: tuple[Scope, ...], settings: Settings, spill: Spill, report: Report
) -> Findings:
    found = Findings()
    per_host = settings.host.connections
    fetcher = Fetcher(
        settings.user_agent,
        settings.fetch,
        PinnedResolver(settings.private_hosts),
        per_host * len(unit.jobs),
        per_host,
    )
    reporting = asyncio.ensure_future(_report_until_cancelled(unit, found, report))
    try:
        async with fetcher:
            crawls = [
                HostCrawl(
                    job, scopes, fetcher, settings.host, settings.politeness, found, spill
                ).run()
                for job in unit.jobs
            ]
            await asyncio.gather(*crawls)
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    return found


async def _report_until_cancelled(unit: Unit, found: Findings, report: Report) -> None:
    """Say how the crawl is getting on, every few seconds."""
    where = unit.jobs[0].host + (f" +{len(unit.jobs) - 1}" if len(unit.jobs) > 1 else "")
    before = 0
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LINES)
        tally, requests = found.tally, found.requests
        lost = sum(tally.values()) - sum(tally[key] for key in _GOOD)
        rate = (requests - before) / _SECONDS_BETWEEN_LINES
        before = requests
        report(
            f"{where}: {tally[('page', 'ok')]:,} pages, {len(found.images):,} images, "
            f"{rate:,.0f} requests/s, {found.queued:,} queued, {lost:,} failed or refused"
        )


def settle(
    found: Findings, hosts: set[str], max_redirects: int
) -> tuple[list[Outcome], list[Outcome]]:
    """(outcomes that are final, outcomes that depend on other units), with referrers.

    hosts: those this unit answers for.
    """
    targets = _redirects(found)
    by_kind = {
        kind: {url: end for (k, url), end in targets.items() if k == kind}
        for kind in ("page", "image")
    }
    decided, undecided = [], []
    for (kind, url), outcome in found.outcomes.items():
        if outcome.reason != "redirected" or kind == "robots":
            decided.append(outcome)
            continue
        chain = follow(url, by_kind[kind], max_redirects)
        if chain.reason != "redirected" or (kind, chain.end) in found.outcomes:
            decided.append(replace(outcome, reason=chain.reason))
        elif host_of(chain.end) in hosts and not _is_handed_over(found, chain.end):
            decided.append(replace(outcome, reason="too_many_redirects"))
        else:
            undecided.append(outcome)
    considered = {
        url for kind, url in found.outcomes if kind == "image"
    } | found.foreign_images.keys()
    for url in sorted(found.withheld.keys() - considered):
        outcome = Outcome(
            url, "image", found.withheld[url], referrer=found.referrers.get(("withheld", url))
        )
        (decided if host_of(url) in hosts else undecided).append(outcome)
    return with_referrers(decided, found.referrers), with_referrers(undecided, found.referrers)


def _is_handed_over(found: Findings, url: str) -> bool:
    return url in found.foreign_images or url in found.foreign_pages or url in found.visited


def _redirects(found: Findings) -> dict[tuple[str, str], str]:
    return {
        key: outcome.redirect
        for key, outcome in found.outcomes.items()
        if outcome.redirect is not None and key[0] != "robots"
    }


def _with_first_referrer(found: Findings) -> list[ImageLead]:
    leads = (found.foreign_images[url] for url in sorted(found.foreign_images))
    return [replace(lead, referrer=found.referrers.get(("image", lead.url))) for lead in leads]


def _page_reasons(unit: Unit, found: Findings) -> dict[str, tuple[str, str | None]]:
    """(reason, detail) of each page the unit was asked for, at the end of its redirects."""
    targets = {url: end for (kind, url), end in _redirects(found).items() if kind == "page"}
    robots = {host_of(o.url): o.detail for o in found.outcomes.values() if o.kind == "robots"}
    reasons: dict[str, tuple[str, str | None]] = {}
    for lead in (lead for job in unit.jobs for lead in job.pages):
        chain = follow(lead.url, targets, len(targets)) if lead.url in targets else None
        outcome = found.outcomes.get(("page", chain.end if chain else lead.url))
        if outcome is None:
            reasons[lead.url] = ("redirected", None)
            continue
        status = f"HTTP status {outcome.status}" if outcome.status not in (None, 200) else None
        looped = chain is not None and chain.reason == "redirect_loop"
        reason = "redirect_loop" if looped else outcome.reason
        reasons[lead.url] = (reason, status or outcome.detail or robots.get(host_of(outcome.url)))
    return reasons


def write_outcomes(writer: DatasetWriter, base: int, outcomes: list[Outcome]) -> list[Part]:
    """Write outcomes sorted, in parts from index `base` on."""
    table = outcome_table(outcomes)
    starts = range(0, table.num_rows, _OUTCOMES_PER_PART)
    return [
        writer.write_table(base + number, table.slice(start, _OUTCOMES_PER_PART))
        for number, start in enumerate(starts)
    ]
