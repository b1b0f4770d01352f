"""Sources at hand: annotated folders, WebDataset tars and web archives, each read by tasks.

A block of a folder, a tar or an archive is one Ray task that writes its parts as it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from mmcore.annotated import Member, tar_members
from mmcore.cluster import map_parts
from mmcore.crawl.findings import Findings
from mmcore.crawl.folder import Block, FolderRows, crawled_rows_table, folder_blocks, read_block
from mmcore.crawl.ledger import Ledger
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.live import Settings
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.rows import raw_tables
from mmcore.crawl.sources import FolderSource
from mmcore.crawl.spill import Spill
from mmcore.crawl.unit import PART_STRIDE, UnitResult, Writers, finish_unit
from mmcore.crawl.warc import WarcSource, read_warc, warc_files
from mmcore.crawl.webdataset import WebdatasetSource, read_tar, tar_files
from mmcore.lake import Part


@dataclass
class _Written:
    """Parts of one task, and what the driver needs to know of them."""

    rows: int = 0
    crawled: list[Part] = field(default_factory=list)
    raw: list[Part] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def add(
        self,
        found: FolderRows,
        stored: set[str],
        base: int,
        settings: Settings,
        writers: Writers,
    ) -> None:
        """Write a block of rows, without the images that earlier blocks have `stored`."""
        found = without(found, settings.host)
        images = {sha: i for sha, i in found.images.items() if sha not in stored}
        first = {sha: (url, media) for sha, (url, media, _) in images.items()}
        sizes = {sha: len(data) for sha, (_, _, data) in images.items()}
        for table in raw_tables(
            first,
            lambda sha: images[sha][2],
            sizes,
            settings.rows_per_part,
            settings.part_bytes,
        ):
            self.raw.append(writers.raw.write_table(base + len(self.raw), table))
        table = crawled_rows_table(found.crawled)
        self.crawled.append(writers.crawled.write_table(base + len(self.crawled), table))
        stored |= images.keys()
        self.outcomes += found.outcomes
        self.rows += len(found.crawled)


def without(found: FolderRows, limits: HostLimits) -> FolderRows:
    """The rows without what was taken down and files that must not be stored; outcomes say so."""
    refused = {o.url: reason for o in found.outcomes if (reason := _refusal(o, limits))}
    if not refused:
        return found
    outcomes = [
        replace(o, reason=refused[o.url], sha256=None) if o.url in refused else o
        for o in found.outcomes
    ]
    rows = [row for row in found.crawled if row["image_url"] not in refused]
    first: dict[str, str] = {}
    for row in rows:  # what is left of an image may be at another URL than before
        first[row["sha256"]] = min(row["image_url"], first.get(row["sha256"], row["image_url"]))
    images = {sha: (url, *found.images[sha][1:]) for sha, url in first.items()}
    return FolderRows(rows, images, outcomes)


def _refusal(outcome: Outcome, limits: HostLimits) -> str | None:
    """Why an image at hand is left out: its URL, its page or its bytes were listed."""
    if limits.withdrawn.has_any((outcome.url, outcome.referrer)):
        return "taken_down"
    return limits.barred(outcome.sha256) if outcome.sha256 is not None else None


def run_folders(
    sources: list[FolderSource], settings: Settings, writers: Writers, ledger: Ledger
) -> None:
    """Read annotated folders; every block of lines is one task."""
    blocks = [block for s in sources for block in folder_blocks(s.path, settings.rows_per_part)]
    members = {folder: tar_members(folder) for folder in {block.folder for block in blocks}}
    numbered = [(ledger.units + number, block) for number, block in enumerate(blocks)]
    ledger.units += len(blocks)
    task = partial(_folder_task, members=members, settings=settings, writers=writers)
    results = map_parts(task, numbered, description="crawl", unit="records")
    _enter(ledger, [index for index, _ in numbered], results)


def _folder_task(
    item: tuple[int, Block],
    members: dict[str, dict[str, Member]],
    settings: Settings,
    writers: Writers,
) -> _Written:
    index, block = item
    written = _Written()
    rows = read_block(block, members[block.folder])
    written.add(rows, set(), index * PART_STRIDE, settings, writers)
    return written


def run_tars(
    sources: list[WebdatasetSource], settings: Settings, writers: Writers, ledger: Ledger
) -> None:
    """Read WebDataset tars; every tar is one task."""
    files = [file for source in sources for file in tar_files(source)]
    numbered = [(ledger.units + number, file) for number, file in enumerate(files)]
    ledger.units += len(files)
    task = partial(_tar_task, settings=settings, writers=writers)
    results = map_parts(task, numbered, description="crawl", unit="records")
    _enter(ledger, [index for index, _ in numbered], results)


def _tar_task(item: tuple[int, str], settings: Settings, writers: Writers) -> _Written:
    index, path = item
    written, stored = _Written(), set[str]()
    for block in read_tar(path, settings.rows_per_part):
        written.add(block, stored, index * PART_STRIDE, settings, writers)
    return written


def _enter(ledger: Ledger, indices: list[int], results: list[_Written]) -> None:
    seen: dict[str, Outcome] = {}
    for index, result in zip(indices, results, strict=True):
        ledger.crawled += result.crawled
        ledger.enter_raw(index, result.raw)
        for outcome in result.outcomes:
            seen.setdefault(outcome.url, outcome)
    ledger.open += seen.values()


def run_warcs(
    sources: list[WarcSource], settings: Settings, writers: Writers, ledger: Ledger
) -> list[UnitResult]:
    """Read web archives, each in one task. Returns their results: what they lack is to be fetched.

    An image that another of the archives has is not missing.
    """
    items = [(source, file) for source in sources for file in warc_files(source)]
    numbered = [(ledger.units + n, source, file) for n, (source, file) in enumerate(items)]
    ledger.units += len(items)
    task = partial(_warc_task, settings=settings, writers=writers)
    results = map_parts(task, numbered, description="crawl", unit="records")
    for result in results:
        ledger.enter(result)
        # Answered for in an archive: no other source need ask again.
        ledger.known_images |= result.asked_images
    return results


def _warc_task(
    item: tuple[int, WarcSource, str], settings: Settings, writers: Writers
) -> UnitResult:
    index, source, path = item
    found = Findings()
    with Spill() as spill:
        read_warc(path, source, found, spill, settings.host)
        return finish_unit(index, set(), found, spill, settings, writers)
