"""One Ray task's share of a crawl: a few hosts in one event loop, then their parts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from mmcore.crawl.answers import answers_table, shelf_bits
from mmcore.crawl.findings import Findings
from mmcore.crawl.hosts import host_table
from mmcore.crawl.live import Report, Session, Settings, report_line
from mmcore.crawl.memory import Archive, Memory, load_images, load_memory, worth_keeping
from mmcore.crawl.outcomes import (
    Outcome,
    count_reasons,
    count_states,
    outcome_table,
    with_referrers,
)
from mmcore.crawl.redirects import follow
from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.rows import first_urls, image_table, raw_tables, reference_tables
from mmcore.crawl.spill import Spill
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob, ImageLead, PageLead, Scope
from mmcore.lake import DatasetWriter, Part

PART_STRIDE = 100_000
"""Unit `u` numbers its parts from `u * PART_STRIDE`, whatever the other units write."""
_OUTCOMES_PER_PART = 65_536
_ANSWERS_PER_PART = 8_192


@dataclass(frozen=True)
class Writers:
    """Where a unit writes; all picklable."""

    references: DatasetWriter
    raw: DatasetWriter
    outcomes: DatasetWriter
    crawled: DatasetWriter
    answers: DatasetWriter


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
    states: Counter[tuple[str, str]]
    """How many URLs of each (kind, state)."""
    hosts: pa.Table
    """Requests, failures, bytes and times by host."""
    joins: list[Part] = field(default_factory=list)
    """Parts of references that the driver joins with stored images."""
    answers: list[Part] = field(default_factory=list)
    seconds: float = 0.0


def crawl_unit(
    unit: Unit,
    scopes: tuple[Scope, ...],
    settings: Settings,
    writers: Writers,
    report: Report,
    archive: Archive | None = None,
) -> UnitResult:
    """Crawl the unit's hosts to the end and write its references, raw images and outcomes.

    With an archive, what an interrupted crawl was answered is not asked again, and what an earlier
    crawl knows is revalidated.
    """
    start = time.monotonic()
    with Spill() as spill:
        hosts = {job.host for job in unit.jobs}
        memory = load_memory(archive, hosts, spill)
        found = asyncio.run(_crawl(unit, scopes, settings, spill, report, archive, memory))
        result = finish_unit(unit.index, hosts, found, spill, settings, writers, archive)
        answers = write_answers(writers.answers, unit.index, found, memory, archive, spill)
    return replace(
        result,
        answers=answers,
        page_reasons=_page_reasons(unit, found),
        seconds=time.monotonic() - start,
    )


def finish_unit(
    index: int,
    hosts: set[str],
    found: Findings,
    spill: Spill,
    settings: Settings,
    writers: Writers,
    archive: Archive | None = None,
) -> UnitResult:
    """Write what was found as parts from `index * PART_STRIDE` on. hosts: those it answers for."""
    base = index * PART_STRIDE
    first = first_urls(found)
    missing = first.keys() - found.bodies.keys()
    if missing and archive is not None:  # known by digest: the day's last crawl has the bytes
        found.bodies |= load_images(archive, missing, spill)
        found.erase(erased := missing - found.bodies.keys())  # clean's blocklist took the bytes
        first = {sha: where for sha, where in first.items() if sha not in erased}
    sizes = {sha: found.bodies[sha].length for sha in first}
    tables = raw_tables(
        first,
        lambda sha: spill.read(found.bodies[sha]),
        sizes,
        settings.rows_per_part,
        settings.part_bytes,
    )
    raw = [writers.raw.write_table(base + number, table) for number, table in enumerate(tables)]
    references = [
        writers.references.write_table(base + number, table)
        for number, table in enumerate(reference_tables(found, spill, settings.rows_per_part))
    ]
    decided, undecided = settle(found, hosts, settings.host.max_redirects)
    return UnitResult(
        rows=len(decided) + len(undecided),
        index=index,
        references=references,
        joins=references,
        raw=raw,
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
        page_reasons={},
        reasons=count_reasons(decided),
        states=count_states(decided),
        hosts=host_table(decided),
    )


def write_answers(
    writer: DatasetWriter,
    index: int,
    found: Findings,
    memory: Memory,
    archive: Archive | None,
    spill: Spill,
) -> list[Part]:
    """The unit's answers in parts that say which shelves of hosts are in them."""
    if archive is None:
        return []
    rows = [
        (kind, worth_keeping((kind, url), kept, memory, archive.day))
        for (kind, url), kept in sorted(found.answers.items(), key=lambda item: item[0][::-1])
    ]
    parts = []
    for number, start in enumerate(range(0, len(rows), _ANSWERS_PER_PART)):
        group = rows[start : start + _ANSWERS_PER_PART]
        table = answers_table(group, spill)
        part = writer.write_table(index * PART_STRIDE + number, table)
        shelves = shelf_bits(table["host"].unique().to_pylist())
        parts.append(part.model_copy(update={"extra": part.extra | {"shelves": shelves}}))
    return parts


async def _crawl(
    unit: Unit,
    scopes: tuple[Scope, ...],
    settings: Settings,
    spill: Spill,
    report: Report,
    archive: Archive | None,
    memory: Memory,
) -> Findings:
    where = unit.jobs[0].host + (f" +{len(unit.jobs) - 1}" if len(unit.jobs) > 1 else "")
    async with Session(settings, len(unit.jobs), archive) as session:
        found = Findings()
        await session.crawl(
            unit.jobs, scopes, memory, found, spill, partial(report_line, where, report)
        )
    return found


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
