"""A running crawl's answers, made durable every few seconds, so that a killed crawl continues.

Segments are Arrow files below `work/crawl/DAY/FINGERPRINT/SHELF/`. A segment is written whole or
not at all; a rerun reads those of its hosts and asks the web for the rest only. Committing the day
removes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.crawl.answers import ANSWERS, Kept, Key, answers_table, kept_rows, shelf
from mmcore.crawl.spill import Spill
from mmcore.crawl.urls import host_of
from mmcore.lake import Storage

_SECONDS_BETWEEN_SEGMENTS = 2.0
_SEGMENT_BYTES = 32 << 20
_ROOT = "work/crawl"


@dataclass(frozen=True)
class JournalFolder:
    """Where one crawl's segments lie. Picklable."""

    storage: Storage
    prefix: str

    def segments(self, shelf: str = "") -> list[str]:
        """Keys of the segments that are there now, of one shelf or of all."""
        return self.storage.keys(f"{self.prefix}/{shelf}".rstrip("/"))

    def remove(self) -> None:
        """Drop what is no longer needed: the day is committed."""
        self.storage.delete(self.prefix)


def journal_folder(storage: Storage, day: str, settings: Any) -> JournalFolder:
    """The journal of a day's crawl under these settings; other settings, another journal."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return JournalFolder(storage, f"{_ROOT}/{day}/{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def read_journal(
    folder: JournalFolder,
    hosts: Iterable[str],
    spill: Spill,
    urls: pa.Array | None = None,
    among: frozenset[str] | None = None,
) -> dict[Key, Kept]:
    """Answers of the hosts that an interrupted crawl made durable, by (kind, url).

    urls: of the images that matter, where a host is crawled in portions. among: the segments to
    read; all of them by default.
    """
    wanted = sorted(set(hosts))
    found: dict[Key, Kept] = {}
    for name in sorted({f"{shelf(host):04d}" for host in wanted}):
        for key in folder.segments(name) if among is None or among else ():
            if among is not None and key not in among:
                continue
            with folder.storage.open(key) as file:
                table = pa.ipc.open_file(file).read_all()
                mine = table.filter(pc.is_in(table["host"], pa.array(wanted, pa.string())))
                for kind, kept in kept_rows(of_portion(mine, urls), spill):
                    found[kind, kept.answer.url] = kept
    return found


def answered_images(folder: JournalFolder, segments: Iterable[str]) -> pa.Array:
    """URLs of the images that some segments hold an answer about."""
    found = [pa.array([], pa.string())]
    for key in sorted(segments):
        with folder.storage.open(key) as file:
            table = pa.ipc.open_file(file).read_all().select(["kind", "url"])  # bodies stay there
            found += table.filter(pc.equal(table["kind"], "image"))["url"].chunks
    return pa.concat_arrays(found)


def of_portion(answers: pa.Table, urls: pa.Array | None) -> pa.Table:
    """The answers without those about images that are not among `urls`, where it is given."""
    if urls is None:
        return answers
    about_others = pc.and_(
        pc.equal(answers["kind"], "image"), pc.invert(pc.is_in(answers["url"], urls))
    )
    return answers.filter(pc.invert(about_others))


class Journal:
    """Takes answers from one event loop and writes them out every few seconds."""

    def __init__(self, folder: JournalFolder, spill: Spill) -> None:
        self._folder, self._spill = folder, spill
        self._pending: list[tuple[str, Kept]] = []
        self._bytes = 0
        self._full = asyncio.Event()

    def append(self, kind: str, kept: Kept) -> None:
        """Take an answer; it is durable once the next segment is written."""
        self._pending.append((kind, kept))
        self._bytes += kept.size + 512
        if self._bytes >= _SEGMENT_BYTES:
            self._full.set()

    async def write_until_cancelled(self) -> None:
        """Write a segment every few seconds, sooner when much is waiting."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), _SECONDS_BETWEEN_SEGMENTS)
            await self.flush()

    async def flush(self) -> None:
        """Make everything taken so far durable."""
        rows, self._pending, self._bytes = self._pending, [], 0
        self._full.clear()
        by_shelf: dict[int, list[tuple[str, Kept]]] = {}
        for kind, kept in rows:
            by_shelf.setdefault(shelf(host_of(kept.answer.url)), []).append((kind, kept))
        for number, group in by_shelf.items():
            # The spill is read here, on the loop's own thread: it is one file with one position.
            data = _segment(answers_table(group, self._spill, with_images=True))
            key = f"{self._folder.prefix}/{number:04d}/{uuid.uuid4().hex}.arrow"
            await asyncio.to_thread(self._folder.storage.write, key, data)


def _segment(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, ANSWERS) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
