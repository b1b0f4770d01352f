"""Crawl: from sources to `crawled`, `references`, `raw` and `outcomes`.

A crawl goes in waves. In each, hosts are dealt out to units, a unit is one Ray task, and each host
is in one unit only, so its politeness is kept in one place. A unit writes what it found and returns
what it may not fetch itself: images on other hosts, pages of a source's other hosts. These are the
next wave. When nothing is left, references are joined with the images that were stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore import __version__
from mmcore.blocklist import Blocklist, read_blocklist
from mmcore.cluster import map_parts, post, say
from mmcore.crawl.answers import ANSWERS, ANSWERS_VOLATILE
from mmcore.crawl.consent import ConsentPolicy
from mmcore.crawl.copies import copies
from mmcore.crawl.fetch import FetchLimits
from mmcore.crawl.gate import Politeness
from mmcore.crawl.given import run_folders, run_tars, run_warcs
from mmcore.crawl.journal import journal_folder
from mmcore.crawl.ledger import Ledger
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.list_crawl import run_list
from mmcore.crawl.live import Settings
from mmcore.crawl.memory import Archive
from mmcore.crawl.rows import crawled_table
from mmcore.crawl.schemas import (
    CRAWLED,
    CRAWLED_VOLATILE,
    OUTCOMES,
    OUTCOMES_VOLATILE,
    RAW,
    REFERENCES,
)
from mmcore.crawl.sources import FolderSource, SiteSource, Source
from mmcore.crawl.unit import (
    PART_STRIDE,
    Unit,
    UnitResult,
    Writers,
    crawl_unit,
    write_outcomes,
)
from mmcore.crawl.url_list import UrlsSource
from mmcore.crawl.urls import host_name, host_of, resolve_or_none
from mmcore.crawl.warc import WarcSource
from mmcore.crawl.webdataset import WebdatasetSource
from mmcore.crawl.work import ImageLead, PageLead, Scope
from mmcore.errors import UserError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.withdrawn import Withdrawn

PRODUCT = "mmcorebot"
"""The name robots.txt and X-Robots-Tag may address the crawler by."""
_NOTHING = Withdrawn()


class Config(BaseModel):
    """How the crawler behaves towards hosts, and where it stops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contact: str | None = Field(
        None,
        description="URL or e-mail address sent in the User-Agent, so that owners can reach you.",
    )
    connections_per_host: int = Field(8, ge=1, le=64, description="Open connections to one host.")
    requests_per_second: float | None = Field(
        20.0, gt=0, description="Most requests a second to one host; null: no limit."
    )
    timeout_seconds: float = Field(60.0, gt=0, description="Deadline of one request, all in all.")
    connect_seconds: float = Field(10.0, gt=0, description="Deadline to connect.")
    idle_seconds: float = Field(15.0, gt=0, description="Longest silence inside an answer.")
    attempts: int = Field(4, ge=1, le=10, description="Requests for one URL before giving up.")
    backoff_seconds: float = Field(1.0, ge=0, description="First wait after a failure; it doubles.")
    max_retry_after_seconds: float = Field(
        120.0, ge=0, description="Longest Retry-After or Crawl-delay that is waited for."
    )
    park_after: int = Field(
        20, ge=1, description="Failures in a row after which a host is left alone."
    )
    max_redirects: int = Field(10, ge=0, le=50, description="Redirects followed for one URL.")
    max_page_mb: float = Field(8.0, gt=0, description="Largest page, decompressed.")
    max_image_mb: float = Field(32.0, gt=0, description="Largest image file.")
    consent: ConsentPolicy = Field(
        ConsentPolicy(),
        description="What is not taken: `refuse` or `record` for noai, noindex, noimageindex and "
        "tdm; `licenses`: null, or parts of the licence URLs wanted.",
    )
    hosts_per_task: int = Field(8, ge=1, description="Hosts that share one Ray task.")
    rows_per_chunk: int = Field(
        8192, ge=1, description="Rows of a URL list that a Ray task has in memory at once."
    )
    rows_per_part: int = Field(256, ge=1, description="Most rows in a part of crawled and raw.")
    part_mb: float = Field(128.0, gt=0, description="A part of raw ends at about this size.")


def run(
    lake: Lake,
    day: str,
    config: Config,
    sources: Sequence[Source],
    retry_failed: bool = False,
    blocklist: str | None = None,
    withdrawn: Withdrawn = _NOTHING,
) -> Dataset:
    """Crawl the sources for `day` and commit `references`, `raw`, `outcomes`, then `crawled`.

    Always asks the sources again, with the validators of the last answers: whether a site has
    changed is what a crawl finds out. An unchanged site gives the same digests. A crawl of the day
    that was killed is continued. retry_failed: ask only for what failed in the day's last crawl.
    blocklist: file of hashes of images that are not stored (mmcore.blocklist). withdrawn: what was
    taken down: not asked for, not stored.
    Raises UserError where no source could be read at all.
    """
    record = _recorded(config, sources)
    archive = _archive(lake, day, record, retry_failed)
    writers = Writers(
        lake.writer("references", day),
        lake.writer("raw", day),
        lake.writer("outcomes", day, volatile=OUTCOMES_VOLATILE),
        lake.writer("crawled", day, volatile=CRAWLED_VOLATILE),
        lake.writer("answers", day, volatile=ANSWERS_VOLATILE),
    )
    ledger = Ledger()
    sites = [source for source in sources if isinstance(source, SiteSource)]
    lists = [source for source in sources if isinstance(source, UrlsSource)]
    settings = _settings(config, sites, lists, read_blocklist(blocklist), _requested(withdrawn))
    folders = [source for source in sources if isinstance(source, FolderSource)]
    tars = [source for source in sources if isinstance(source, WebdatasetSource)]
    # What is at hand comes first: a wrong path is said before a crawl of hours.
    run_folders(folders, settings, writers, ledger)
    run_tars(tars, settings, writers, ledger)
    archived = run_warcs(
        [source for source in sources if isinstance(source, WarcSource)], settings, writers, ledger
    )
    listed = [
        unit
        for number, source in enumerate(lists)
        for unit in run_list(
            source, number, settings, writers, archive, ledger, config.rows_per_chunk
        )
    ]
    _crawl_sites(
        sites, config, settings, writers, ledger, archive, ledger.new_images([*archived, *listed])
    )
    _check_sources(sites, ledger, any_other=len(sources) > len(sites))
    dataset = _commit(writers, ledger, record, config.max_redirects)
    archive.journal.remove()
    return dataset


def _archive(lake: Lake, day: str, record: dict[str, Any], retry_failed: bool) -> Archive:
    """Earlier answers. A journal is one of the same settings, and of the same kind of run."""
    if retry_failed and lake.find("answers", day) is None:
        raise UserError(
            f"There is no crawl of {day} to retry: run `mmcore run crawl` without --retry-failed."
        )
    journal = journal_folder(lake.storage, day, record | {"retry_failed": retry_failed})
    return Archive(lake, day, journal, retry_failed)


def _recorded(config: Config, sources: Sequence[Source]) -> dict[str, Any]:
    return {
        "crawl": config.model_dump(mode="json"),
        "sources": [source.model_dump(mode="json") for source in sources],
    }


# -- sites --


def _crawl_sites(
    sites: list[SiteSource],
    config: Config,
    settings: Settings,
    writers: Writers,
    ledger: Ledger,
    archive: Archive,
    images: list[ImageLead],
) -> None:
    """Wave after wave until no unit leaves work for another host."""
    scopes = [_scope(site) for site in sites]
    pages = [PageLead(url, index) for index, site in enumerate(sites) for url in site.start]
    while pages or images:
        units = ledger.deal(pages, images, config.hosts_per_task)
        fn = partial(
            _crawl_task,
            scopes=tuple(scopes),
            settings=settings,
            writers=writers,
            archive=archive,
        )
        results = map_parts(fn, units, description="crawl", unit="URLs")
        for result in results:
            ledger.enter(result)
        pages = ledger.new_pages(results, scopes)
        images = ledger.new_images(results)


def _crawl_task(
    unit: Unit,
    scopes: tuple[Scope, ...],
    settings: Settings,
    writers: Writers,
    archive: Archive,
) -> UnitResult:
    return crawl_unit(unit, scopes, settings, writers, partial(post, "crawl"), archive)


def _scope(site: SiteSource) -> Scope:
    return Scope(
        frozenset(host_of(url) for url in site.start),
        site.path_prefix,
        site.max_pages,
        site.max_depth,
        site.foreign_images,
        site.sitemaps,
    )


def _settings(
    config: Config,
    sites: list[SiteSource],
    lists: list[UrlsSource],
    blocked: Blocklist,
    withdrawn: Withdrawn,
) -> Settings:
    contact = f" (+{config.contact})" if config.contact else ""
    return Settings(
        user_agent=f"{PRODUCT}/{__version__}{contact}",
        fetch=FetchLimits(config.timeout_seconds, config.connect_seconds, config.idle_seconds),
        host=HostLimits(
            PRODUCT,
            config.connections_per_host,
            config.max_redirects,
            int(config.max_page_mb * 2**20),
            int(config.max_image_mb * 2**20),
            config.consent,
            blocked,
            withdrawn,
        ),
        politeness=Politeness(
            config.requests_per_second,
            attempts=config.attempts,
            backoff=config.backoff_seconds,
            max_retry_after=config.max_retry_after_seconds,
            park_after=config.park_after,
        ),
        private_hosts=frozenset(
            host_name(url) for site in sites if site.allow_private for url in site.start
        ).union(*(source.allow_private for source in lists)),
        rows_per_part=config.rows_per_part,
        part_bytes=int(config.part_mb * 2**20),
    )


def _requested(withdrawn: Withdrawn) -> Withdrawn:
    """The list with each URL also as the crawl would request it: as it was typed it may differ."""
    resolved = (resolve_or_none("", url) for url in withdrawn.urls)
    return replace(withdrawn, urls=withdrawn.urls.union(url for url in resolved if url))


def _check_sources(sites: list[SiteSource], ledger: Ledger, any_other: bool) -> None:
    """UserError where nothing could be read; a line for each source that failed beside others."""
    failed = []
    for site in sites:
        problems = [ledger.start_problem(url) for url in site.start]
        if all(problems):
            failed.append(problems[0])
    if failed and len(failed) == len(sites) and not any_other:
        raise UserError("Nothing could be crawled: " + "; ".join(map(str, failed)) + ".")
    for problem in failed:
        say("crawl", f"source left out: {problem}")


# -- the end --


def _commit(
    writers: Writers, ledger: Ledger, record: dict[str, Any], max_redirects: int
) -> Dataset:
    """Join references with what was stored, and make the four datasets visible, crawled last."""
    base = ledger.units * PART_STRIDE
    ledger.outcomes += write_outcomes(writers.outcomes, base, ledger.settle_open(max_redirects))
    for index, keys in copies(writers.raw, ledger.raw).items():
        ledger.raw[index] = _without(writers.raw, index, ledger.raw[index], keys)
    join = partial(_join_task, images=ledger.stored_images(), writers=writers)
    ledger.crawled += map_parts(join, ledger.joins, description="crawl", unit="occurrences")
    funnel, metadata = ledger.funnel(), ledger.metadata()
    _close(writers.answers, ledger.answers, ANSWERS, [], record, {})
    parents = [
        _close(writers.references, ledger.references, REFERENCES, [], record, metadata),
        _close(writers.raw, list(ledger.raw.values()), RAW, [], record, metadata),
        _close(writers.outcomes, ledger.outcomes, OUTCOMES, [], record, metadata),
    ]
    say("crawl", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in funnel.items()))
    return _close(writers.crawled, ledger.crawled, CRAWLED, parents, record, metadata)


def _close(
    writer: DatasetWriter,
    parts: list[Part],
    schema: pa.Schema,
    parents: list[Dataset],
    config: dict[str, Any],
    metadata: dict[str, Any],
) -> Dataset:
    """Commit; a day without rows still has a part with the right columns."""
    filled = [part for part in parts if part.rows]
    if not filled:
        filled = [writer.write_table(0, schema.empty_table())]
    return writer.commit(filled, parents, config, metadata)


def _without(writer: DatasetWriter, index: int, part: Part, dropped: list[str]) -> Part:
    """A part of raw, written again without some rows."""
    table = writer.read_table(part)
    keep = pc.invert(pc.is_in(table["sha256"], pa.array(dropped, pa.string())))
    return writer.write_table(index, table.filter(keep))


def _join_task(part: Part, images: pa.Table, writers: Writers) -> Part:
    references = writers.references.read_table(part)
    index = int(part.file.removeprefix("part-").removesuffix(".parquet"))
    return writers.crawled.write_table(index, crawled_table(references, images))
