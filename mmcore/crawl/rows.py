"""Tables out of what a crawl found: references, raw images, and crawled as the join of both."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.crawl.extract import Page, Reference
from mmcore.crawl.findings import Findings
from mmcore.crawl.schemas import CRAWLED, IMAGES, RAW, REFERENCES
from mmcore.crawl.spill import Spill
from mmcore.crawl.tdm import Reservation

_FROM_REFERENCE = Reference.__slots__


def reference_tables(found: Findings, spill: Spill, rows_per_part: int) -> Iterator[pa.Table]:
    """All references by (page_url, position), `rows_per_part` rows a table."""
    pending: list[dict[str, Any]] = []
    for url in sorted(found.pages):
        page, header, tdm = pickle.loads(spill.read(found.pages[url]))  # our own bytes
        pending += _reference_rows(url, page, header, tdm)
        while len(pending) >= rows_per_part:
            yield pa.Table.from_pylist(pending[:rows_per_part], schema=REFERENCES)
            pending = pending[rows_per_part:]
    if pending:
        yield pa.Table.from_pylist(pending, schema=REFERENCES)


def _reference_rows(
    url: str, page: Page, header: str | None, tdm: Reservation
) -> list[dict[str, Any]]:
    shared = {
        "page_url": url,
        "page_title": page.title,
        "keywords": list(page.keywords),
        "meta_robots": page.meta_robots,
        "page_x_robots_tag": header,
        "canonical_url": page.canonical,
        "tdm_reserved": tdm.reserved,
        "tdm_policy": tdm.policy,
    }
    return [
        shared | {"position": place} | {name: getattr(ref, name) for name in _FROM_REFERENCE}
        for place, ref in enumerate(page.references)
    ]


def first_urls(found: Findings) -> dict[str, tuple[str, str]]:
    """sha256 -> (first URL that gave it, its media type), of what no earlier day has stored."""
    first: dict[str, tuple[str, str]] = {}
    for url in sorted(found.images):
        stored = found.images[url]
        if stored.stored is None:
            first.setdefault(stored.sha256, (url, stored.media_type))
    return first


def raw_tables(
    first: dict[str, tuple[str, str]],
    read: Callable[[str], bytes],
    sizes: dict[str, int],
    rows_per_part: int,
    part_bytes: int,
) -> Iterator[pa.Table]:
    """Distinct images by sha256; a table ends at `rows_per_part` rows or `part_bytes` bytes.

    first: sha256 -> (URL, media type). read: sha256 -> bytes. sizes: sha256 -> bytes.
    """
    for group in _groups(sorted(first), sizes, rows_per_part, part_bytes):
        columns = {
            "sha256": group,
            "image": [read(sha) for sha in group],
            "bytes": [sizes[sha] for sha in group],
            "content_type": [first[sha][1] for sha in group],
            "url": [first[sha][0] for sha in group],
        }
        yield pa.Table.from_pydict(columns, schema=RAW)


def _groups(
    keys: Sequence[str], sizes: dict[str, int], most_rows: int, most_bytes: int
) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for key in keys:
        if group and (len(group) >= most_rows or total + sizes[key] > most_bytes):
            yield group
            group, total = [], 0
        group.append(key)
        total += sizes[key]
    if group:
        yield group


def image_table(found: Findings) -> pa.Table:
    """What the driver needs to know of each stored image, by URL (schema IMAGES)."""
    urls = sorted(found.images)
    stored = [found.images[url] for url in urls]
    columns = {
        "url": urls,
        "sha256": [s.sha256 for s in stored],
        "robots": [s.robots for s in stored],
        "x_robots_tag": [s.x_robots_tag for s in stored],
        "tdm_reserved": [s.tdm.reserved for s in stored],
        "tdm_policy": [s.tdm.policy for s in stored],
        "state": [s.state for s in stored],
        "fetched_at": [s.fetched_at for s in stored],
    }
    return pa.Table.from_pydict(columns, schema=IMAGES)


def with_redirects(images: pa.Table, ends: dict[str, str]) -> pa.Table:
    """Images by every URL that leads to them. ends: redirecting URL -> where its chain ends."""
    urls = sorted(ends)
    places = pc.index_in(pa.array([ends[u] for u in urls], pa.string()), images["url"])
    found = places.is_valid()
    rows = images.take(places.filter(found))
    aliases = pa.array(urls, pa.string()).filter(found)
    return pa.concat_tables([images, rows.set_column(0, "url", aliases)])


def crawled_table(references: pa.Table, images: pa.Table) -> pa.Table:
    """References whose image is stored, joined with it, in their order (schema CRAWLED)."""
    places = pc.index_in(references["image_url"], images["url"].combine_chunks())
    kept = references.filter(places.is_valid())
    stored = images.take(places.drop_null())
    columns = {name: kept[name] for name in kept.column_names if name in CRAWLED.names}
    columns["sha256"] = stored["sha256"]
    columns["state"] = stored["state"]
    columns["fetched_at"] = stored["fetched_at"]
    columns["consent"] = pa.array(_consent(kept, stored), pa.string())
    # A row of a URL list, or an element of a page.
    columns["source"] = pc.if_else(pc.equal(kept["element"], "record"), "urls", "site")
    nothing = pa.nulls(kept.num_rows, pa.string())
    columns |= {"annotation": nothing, "split": nothing}
    return pa.Table.from_arrays([columns[name] for name in CRAWLED.names], schema=CRAWLED)


_SAID = (
    ("robots", "image", "robots"),
    ("x_robots_tag", "image", "x_robots_tag"),
    ("meta_robots", "page", "meta_robots"),
    ("page_x_robots_tag", "page", "page_x_robots_tag"),
    ("tdm_reserved", "image", "tdm_reserved"),
    ("tdm_policy", "image", "tdm_policy"),
    ("page_tdm_reserved", "page", "tdm_reserved"),
    ("page_tdm_policy", "page", "tdm_policy"),
    ("license", "page", "license"),
)
_ALWAYS = 4  # of these keys; the others stand where something was said


def _consent(pages: pa.Table, images: pa.Table) -> list[str]:
    """The evidence of each row as JSON; the same few combinations repeat, so each is made once.

    `seen` is the UTC day on which the image was answered for; `fetched_at` has the time.
    """
    tables = {"page": pages, "image": images}
    columns = [tables[table][name].to_pylist() for _, table, name in _SAID]
    days = pc.strftime(images["fetched_at"], "%Y-%m-%d").to_pylist()
    made: dict[tuple[Any, ...], str] = {}
    rows = list(zip(*columns, days, strict=True))
    for row in rows:
        if row not in made:
            said = {
                name: value
                for place, ((name, _, _), value) in enumerate(zip(_SAID, row, strict=False))
                if value is not None or place < _ALWAYS
            }
            made[row] = json.dumps(said | {"seen": row[-1]}, sort_keys=True)
    return [made[row] for row in rows]
