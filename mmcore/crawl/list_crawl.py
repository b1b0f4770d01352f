"""Crawl a list of image URLs: a bucket of hosts is one Ray task, a chunk of it at a time.

A host is in one bucket, so its politeness is kept in one place; a chunk is written before the next
is begun, so a task's memory follows `rows_per_chunk` and not the list.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts, post
from mmcore.crawl.findings import Findings
from mmcore.crawl.ledger import Ledger
from mmcore.crawl.list_partition import partition_list
from mmcore.crawl.live import Report, Session, Settings, report_line
from mmcore.crawl.memory import Archive, load_memory
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.portions import Portions
from mmcore.crawl.redirects import follow
from mmcore.crawl.rows import crawled_table, image_table, with_redirects
from mmcore.crawl.schemas import IMAGES, REFERENCES
from mmcore.crawl.spill import Spill
from mmcore.crawl.unit import (
    PART_STRIDE,
    UnitResult,
    Writers,
    finish_unit,
    write_answers,
)
from mmcore.crawl.url_list import UrlsSource
from mmcore.crawl.work import HostJob, ImageLead
from mmcore.lake import Part

_BUCKETS = 16
# A task waits for the network half of its time.
_CPUS_OF_A_TASK = 0.5
_ASIDE = PART_STRIDE // 2


@dataclass(frozen=True)
class Bucket:
    """Chunks of some hosts; `index` is the unit number of the first chunk."""

    index: int
    chunks: tuple[str, ...]
    """Keys of Arrow IPC files (schema CHUNK_ROWS) in the lake's storage."""
    text_role: str
    """`alt` or `caption`: what the list's texts are."""


@dataclass(frozen=True)
class BucketResult:
    """What the driver needs to know of a bucket."""

    rows: int
    units: list[UnitResult]
    """One a chunk; the driver joins only rows whose image another host has."""
    crawled: list[Part]


def crawl_bucket(
    bucket: Bucket, settings: Settings, writers: Writers, archive: Archive, report: Report
) -> BucketResult:
    """Fetch the images of a bucket's chunks, one chunk after the other."""
    return asyncio.run(_crawl_chunks(bucket, settings, writers, archive, report))


async def _crawl_chunks(
    bucket: Bucket, settings: Settings, writers: Writers, archive: Archive, report: Report
) -> BucketResult:
    result = BucketResult(0, [], [])
    portions = Portions(archive.journal)
    async with Session(settings, hosts=64, archive=archive) as session:
        for number, key in enumerate(bucket.chunks):
            rows = _read(archive, key)
            where = f"list {bucket.index + number}"
            unit, crawled = await _crawl_chunk(
                rows, bucket, bucket.index + number, session, settings, writers, archive,
                portions, partial(report_line, where, report),
            )  # fmt: skip
            result.units.append(unit)
            result.crawled.append(crawled)
            result = replace(result, rows=result.rows + rows.num_rows)
    return result


def _read(archive: Archive, key: str) -> pa.Table:
    with archive.lake.storage.open(key) as file:
        return pa.ipc.open_file(file).read_all()


async def _crawl_chunk(
    rows: pa.Table,
    bucket: Bucket,
    index: int,
    session: Session,
    settings: Settings,
    writers: Writers,
    archive: Archive,
    portions: Portions,
    report: partial[None],
) -> tuple[UnitResult, Part]:
    """(what the driver must know, part of crawled) of one chunk."""
    start, base = time.monotonic(), index * PART_STRIDE
    hosts = rows["host"].unique().to_pylist()
    urls = rows["url"].unique()
    with Spill() as spill:
        memory = load_memory(archive, hosts, spill, urls, portions)
        found = Findings()
        await session.crawl(_jobs(rows), (), memory, found, spill, report)
        portions.add(url for kind, url in found.answers if kind == "image")
        unit = finish_unit(index, set(hosts), found, spill, settings, writers, archive)
        answers = write_answers(writers.answers, index, found, memory, archive, spill)
    references = reference_rows(rows, bucket.text_role)
    ends = {
        url: follow(url, targets, settings.host.max_redirects).end
        for targets in [{u: end for (kind, u), end in unit.redirects.items() if kind == "image"}]
        for url in targets
    }
    images = with_redirects(image_table(found), ends).combine_chunks()
    crawled = writers.crawled.write_table(base, crawled_table(references, images))
    part = writers.references.write_table(base, references)
    unit = replace(
        unit,
        references=[part],
        joins=_elsewhere(references, found, ends, writers, base),
        # The rows are joined here already: the driver need not hold the whole list.
        images=IMAGES.empty_table(),
        redirects={key: end for key, end in unit.redirects.items() if _leaves(key[1], ends, found)},
        asked_images=frozenset(),
        answers=answers,
        seconds=time.monotonic() - start,
    )
    return unit, crawled


def _jobs(rows: pa.Table) -> list[HostJob]:
    """One job a host, every URL once."""
    leads: dict[str, dict[str, ImageLead]] = {}
    columns = (rows[name].to_pylist() for name in ("host", "url", "page"))
    for host, url, page in zip(*columns, strict=True):
        leads.setdefault(host, {}).setdefault(url, ImageLead(url, referrer=page))
    return [HostJob(host, images=tuple(leads[host].values())) for host in sorted(leads)]


def reference_rows(rows: pa.Table, text_role: str) -> pa.Table:
    """The list's rows as references (schema REFERENCES). `page_url`: as given, else the list."""
    count = rows.num_rows
    nothing, empty = pa.nulls(count, pa.string()), pa.array([[]] * count, pa.list_(pa.string()))
    columns: dict[str, pa.Array | pa.ChunkedArray] = dict.fromkeys(REFERENCES.names, nothing)
    columns["tdm_reserved"] = pa.nulls(count, pa.bool_())
    columns |= {
        "page_url": pc.coalesce(rows["page"], rows["file"]),
        "position": pc.cast(rows["row"], pa.int32()),
        "image_url": rows["url"],
        "element": pa.array(["record"] * count, pa.string()),
        text_role: rows["text"],
        "keywords": empty,
        "comments": empty,
        "lang": rows["lang"],
        "license": rows["license"],
    }
    return pa.Table.from_arrays([columns[name] for name in REFERENCES.names], schema=REFERENCES)


def _leaves(url: str, ends: dict[str, str], found: Findings) -> bool:
    return ends.get(url, url) in found.foreign_images


def _elsewhere(
    references: pa.Table, found: Findings, ends: dict[str, str], writers: Writers, base: int
) -> list[Part]:
    """Rows whose image another host has, as a part that the driver joins at the end."""
    away = pa.array([url for url in ends if _leaves(url, ends, found)], pa.string())
    rows = references.filter(pc.is_in(references["image_url"], away))
    # Beside the dataset's own parts, and not one of them.
    return [writers.references.write_table(base + _ASIDE, rows)] if rows.num_rows else []


# -- the driver's side --


def partition(
    source: UrlsSource, archive: Archive, number: int, rows_per_chunk: int, first: int
) -> tuple[list[Bucket], list[Outcome]]:
    """Cut a list into buckets whose chunks lie in the lake's storage, where every worker reads.

    number: of the source in the recipe. first: unit number of the first chunk. Also returns the
    outcomes of rows that are no usable URL.
    """
    storage, prefix = archive.lake.storage, f"{archive.journal.prefix}-lists/{number:03d}"
    buckets: list[Bucket] = []
    with tempfile.TemporaryDirectory(prefix="mmcore-list-") as folder:
        cut = partition_list(source, Path(folder), rows_per_chunk, _BUCKETS)
        for chunks in cut.chunks:
            keys = []
            for path in chunks:
                keys.append(f"{prefix}/{first:06d}.arrow")
                storage.write(keys[-1], path.read_bytes())
                path.unlink()
                first += 1
            if keys:
                buckets.append(Bucket(first - len(keys), tuple(keys), source.text_role))
        bad = _bad_rows(cut.bad)
    return buckets, bad


def _bad_rows(path: Path) -> list[Outcome]:
    with pa.memory_map(str(path)) as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    found: dict[str, Outcome] = {}
    for row in rows:
        outcome = Outcome(
            row["url"], "image", row["reason"], referrer=row["file"], detail=row["detail"]
        )
        found.setdefault(outcome.url, outcome)
    return list(found.values())


def run_list(
    source: UrlsSource,
    number: int,
    settings: Settings,
    writers: Writers,
    archive: Archive,
    ledger: Ledger,
    rows_per_chunk: int,
) -> list[UnitResult]:
    """Crawl a list; its parts are in the ledger afterwards. Returns the chunks' results, for what
    other hosts have to give."""
    buckets, bad = partition(source, archive, number, rows_per_chunk, ledger.units)
    ledger.units += sum(len(bucket.chunks) for bucket in buckets)
    ledger.open += bad
    task = partial(_bucket_task, settings=settings, writers=writers, archive=archive)
    units = []
    for result in map_parts(
        task, buckets, description="crawl", unit="URLs", num_cpus=_CPUS_OF_A_TASK
    ):
        ledger.crawled += result.crawled
        for unit in result.units:
            ledger.enter(unit)
            units.append(unit)
    archive.lake.storage.delete(f"{archive.journal.prefix}-lists/{number:03d}")
    return units


def _bucket_task(
    bucket: Bucket, settings: Settings, writers: Writers, archive: Archive
) -> BucketResult:
    return crawl_bucket(bucket, settings, writers, archive, partial(post, "crawl"))
