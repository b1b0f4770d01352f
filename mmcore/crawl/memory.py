"""What is known of a host's URLs before they are asked for: this crawl's own answers from before it
was interrupted, and those of the last crawl, to be revalidated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmcore.crawl.answers import Kept, Key, kept_rows, shelf_bits
from mmcore.crawl.journal import JournalFolder, of_portion, read_journal
from mmcore.crawl.portions import Portions
from mmcore.crawl.spill import Slot, Spill
from mmcore.crawl.urls import resolve_or_none
from mmcore.lake import Dataset, Lake, Part

RETRIED = frozenset(
    ["http_error", "rate_limited", "timeout", "connection_error", "dns_error", "empty"]
)
"""Reasons that `--retry-failed` asks again for; what was never asked for is asked anyway."""


@dataclass(frozen=True)
class Archive:
    """Where answers of this crawl and of earlier ones are found. Picklable."""

    lake: Lake
    day: str
    journal: JournalFolder
    retry_failed: bool = False

    def answers(self) -> Dataset | None:
        """What the day's own last crawl was answered."""
        return self.lake.find("answers", self.day)

    def earlier(self) -> Dataset | None:
        """Answers of the last day before this one."""
        days = [day for day in self.lake.partitions("answers") if day < self.day]
        return self.lake.dataset("answers", days[-1]) if days else None


@dataclass
class Memory:
    """Answers by (kind, url)."""

    replay: dict[Key, Kept] = field(default_factory=dict)
    """Final for this crawl: not asked for again."""
    recent: dict[Key, Kept] = field(default_factory=dict)
    """The last answers there are: asked again with their validators."""
    earlier: dict[Key, Kept] = field(default_factory=dict)
    """Answers of an earlier day: what `new`, `unchanged`, `changed` and `gone` are said against."""

    portions: Portions | None = None
    """Other portions of the same hosts; None where a host is crawled in one go."""

    def final(self, key: Key, spill: Spill) -> Kept | None:
        """The answer that this crawl has already; None where the web has to be asked."""
        if key not in self.replay and self.portions is not None and key[0] == "image":
            kept = self.portions.recall(key[1], spill)
            if kept is not None:
                self.replay[key] = kept
        return self.replay.get(key)

    def state(self, key: Key, sha256: str | None, status: int | None) -> str | None:
        """How a URL stands against the last crawl of an earlier day; None where that is unknown."""
        before = self.earlier.get(key)
        known = before is not None and before.sha256 is not None
        if sha256 is None:
            return "gone" if known and status in (404, 410) else None
        if before is None or before.sha256 is None:
            return "new"
        return "unchanged" if before.sha256 == sha256 else "changed"

    def stored(self, key: Key, sha256: str) -> str | None:
        """Earlier partition that has these very bytes of the URL already."""
        before = self.earlier.get(key)
        return before.stored if before is not None and before.sha256 == sha256 else None


def load_memory(
    archive: Archive | None,
    hosts: Iterable[str],
    spill: Spill,
    urls: pa.Array | None = None,
    portions: Portions | None = None,
) -> Memory:
    """All that is known of some hosts. Page bodies go to the spill, images stay where they are.

    urls: of the images that matter, where a host is crawled in `portions`.
    """
    if archive is None:
        return Memory()
    wanted = sorted(set(hosts))
    today, before = archive.answers(), archive.earlier()
    memory = Memory(portions=portions)
    if before is not None:
        memory.earlier = _of_day(archive, before, wanted, spill, today is None, urls)
    memory.recent = memory.earlier
    if today is not None:
        memory.recent = _of_day(archive, today, wanted, spill, True, urls)
        if archive.retry_failed:
            final = memory.recent.items()
            memory.replay = {key: kept for key, kept in final if _is_final(kept)}
    interrupted = portions.interrupted if portions is not None else None
    memory.replay |= read_journal(archive.journal, wanted, spill, urls, interrupted)
    return memory


def _is_final(kept: Kept) -> bool:
    answer = kept.answer
    readable = answer.reason != "ok" or (kept.sha256 is not None and kept.archived)
    return answer.reason not in RETRIED and not kept.carried and readable


def worth_keeping(key: Key, kept: Kept, memory: Memory, day: str) -> Kept:
    """What the next crawl should know of a URL: where a request failed for now, the last answer
    that did not, as long as an earlier partition has its bytes."""
    before = memory.recent.get(key)
    failed = kept.answer.reason in RETRIED and kept.answer.status not in (404, 410)
    if not failed or before is None or before.sha256 is None or before.stored in (None, day):
        return kept
    return replace(before, carried=True)


def _of_day(
    archive: Archive,
    dataset: Dataset,
    hosts: list[str],
    spill: Spill,
    bodies: bool,
    urls: pa.Array | None,
) -> dict[Key, Kept]:
    """A day's answers of the hosts; `stored` names the partition that has each one's bytes.

    urls: of a portion's images. What their redirects led to is read too, wherever it is.
    """
    found = _rows_of_day(dataset, hosts, spill, bodies, urls)
    asked: set[str] = set()
    while urls is not None and (onward := _redirect_targets(found) - asked):
        asked |= onward
        more = pa.array(sorted(onward), pa.string())
        rows = _rows_of_day(dataset, hosts, spill, False, more)
        found |= {key: kept for key, kept in rows.items() if key[0] == "image"}
    if bodies:
        for stored, pages in _bodies_away(found, str(dataset.manifest.partition)).items():
            found |= _with_bodies(archive, found, stored, pages, hosts, spill)
    return {key: _usable(key, kept, bodies) for key, kept in found.items()}


def _rows_of_day(
    dataset: Dataset, hosts: list[str], spill: Spill, bodies: bool, urls: pa.Array | None
) -> dict[Key, Kept]:
    day = str(dataset.manifest.partition)
    return {
        (kind, kept.answer.url): replace(kept, stored=kept.stored or day)
        for table in _matching(dataset, hosts, bodies)
        for kind, kept in kept_rows(of_portion(table, urls), spill)
    }


def _redirect_targets(found: dict[Key, Kept]) -> set[str]:
    """Where images were redirected to that are not among the answers themselves."""
    moved = (kept.answer for (kind, _), kept in found.items() if kind == "image")
    ends = {resolve_or_none(a.url, a.location) for a in moved if a.reason == "redirected"}
    return {end for end in ends if end is not None and ("image", end) not in found}


def _bodies_away(found: dict[Key, Kept], day: str) -> dict[str, set[str]]:
    """Earlier partition -> URLs of the pages and small files whose bodies it has."""
    away: dict[str, set[str]] = {}
    for (kind, url), kept in found.items():
        if kind != "image" and kept.stored not in (None, day):
            away.setdefault(str(kept.stored), set()).add(url)
    return away


def _usable(key: Key, kept: Kept, bodies: bool) -> Kept:
    """A page whose body was not archived has nothing that a 304 could bring back."""
    if bodies and key[0] != "image" and kept.slot is None and kept.answer.reason == "ok":
        return replace(kept, archived=False)
    return kept


def _with_bodies(
    archive: Archive,
    found: dict[Key, Kept],
    day: str,
    urls: set[str],
    hosts: list[str],
    spill: Spill,
) -> dict[Key, Kept]:
    """The rows again, with the bodies that an earlier partition has."""
    dataset = archive.lake.find("answers", day)
    if dataset is None:
        return {}
    changed: dict[Key, Kept] = {}
    for table in _matching(dataset, hosts, bodies=True):
        mine = table.filter(pc.is_in(table["url"], pa.array(sorted(urls), pa.string())))
        for kind, kept in kept_rows(mine, spill):
            key = (kind, kept.answer.url)
            if key in found and found[key].sha256 == kept.sha256:
                changed[key] = replace(found[key], slot=kept.slot)
    return changed


def _matching(dataset: Dataset, hosts: list[str], bodies: bool) -> Iterator[pa.Table]:
    """Rows of the hosts, a row group at a time; parts without them are not opened."""
    names = pa.array(hosts, pa.string())
    for index in _parts_of(dataset.parts, hosts):
        with dataset.open_part(index) as file:
            reader = pq.ParquetFile(file)
            columns = [name for name in reader.schema_arrow.names if bodies or name != "body"]
            for batch in reader.iter_batches(batch_size=1024, columns=columns):
                table = pa.Table.from_batches([batch])
                mine = table.filter(pc.is_in(table["host"], names))
                if not bodies:
                    mine = mine.append_column("body", pa.nulls(mine.num_rows, pa.binary()))
                if mine.num_rows:
                    yield mine


def _parts_of(parts: list[Part], hosts: Iterable[str]) -> list[int]:
    wanted = int(shelf_bits(hosts), 16)
    return [i for i, part in enumerate(parts) if int(part.extra.get("shelves", "0"), 16) & wanted]


def load_images(archive: Archive, keys: Iterable[str], spill: Spill) -> dict[str, Slot]:
    """Bytes of images that the day's own `raw` has already, by sha256."""
    wanted = pa.array(sorted(set(keys)), pa.string())
    dataset = archive.lake.find("raw", archive.day) if len(wanted) else None
    found: dict[str, Slot] = {}
    for index in range(len(dataset.parts) if dataset else 0):
        assert dataset is not None
        inside = pc.is_in(dataset.read_part(index, ["sha256"])["sha256"], wanted)
        if pc.any(inside).as_py():
            table = dataset.read_part(index, ["sha256", "image"]).filter(inside)
            table = table.filter(table["image"].is_valid())  # null where it was erased
            for sha, data in zip(table["sha256"].to_pylist(), table["image"], strict=True):
                found[sha] = spill.append(data.as_py())
    return found
