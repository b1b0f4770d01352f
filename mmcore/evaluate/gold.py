"""Gold labels: a few records a person checked, found again among the crawled images.

A record names its image by URL, by the SHA-256 of its bytes, or by a path relative to the gold
file. `crawled` turns that into a sha256 and `deduplicated` into a cluster, so a label given for
any copy of an image holds for the one copy that is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urldefrag

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import UserError
from mmcore.evaluate.records import Labels, Record, RecordCounts, read_records

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
UNKNOWN_IMAGE = "unknown_image"


def read_gold(path: Path, counts: RecordCounts) -> list[Record]:
    """The usable records of a gold file; UserError where there is no such file."""
    try:
        with path.open("rb") as lines:
            return list(read_records(lines, counts))
    except OSError as error:
        raise UserError(
            f"The gold file {path} cannot be read ({error.strerror}): correct `gold` in the recipe."
        ) from None


def find_images(
    records: Sequence[Record], folder: Path, crawled: Iterable[pa.Table]
) -> list[str | None]:
    """The sha256 of each record's image, None where no crawl has seen it.

    crawled: tables with `image_url` and `sha256`, later days later: the newest bytes of a URL win.
    """
    urls = [_url(record.image, folder) for record in records]
    wanted = pa.array(sorted({url for url in urls if url is not None}), pa.string())
    known: dict[str, str] = {}
    for table in crawled:
        rows = table.filter(pc.is_in(table["image_url"], value_set=wanted))
        known.update(zip(rows["image_url"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    return [
        _sha256(record.image, url, folder, known) for record, url in zip(records, urls, strict=True)
    ]


def join_clusters(
    records: Sequence[Record],
    images: Sequence[str | None],
    deduplicated: Callable[[], Iterable[pa.Table]],
    counts: RecordCounts,
) -> tuple[dict[str, Labels], set[str]]:
    """Labels of every cluster that a record is about, and the sha256 of all their images.

    deduplicated: gives the tables with `sha256` and `cluster`, each time it is called. A record
    whose image is in no cluster is counted as `unknown_image`.
    """
    wanted = {sha for sha in images if sha is not None}
    cluster_of = dict(_pairs(deduplicated(), "sha256", wanted))
    labels: dict[str, Labels] = {}
    for record, sha in zip(records, images, strict=True):
        cluster = cluster_of.get(sha) if sha is not None else None
        if cluster is None:
            counts.bad[UNKNOWN_IMAGE] += 1
            continue
        before = labels.get(cluster)
        labels[cluster] = before.merged(record.labels) if before else record.labels
    return labels, {sha for sha, _ in _pairs(deduplicated(), "cluster", set(labels))}


def _pairs(tables: Iterable[pa.Table], column: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """(sha256, cluster) of the rows whose `column` is wanted."""
    values = pa.array(sorted(wanted), pa.string())
    for table in tables:
        rows = table.filter(pc.is_in(table[column], value_set=values))
        yield from zip(rows["sha256"].to_pylist(), rows["cluster"].to_pylist(), strict=True)


def _url(image: str, folder: Path) -> str | None:
    if _SHA256.match(image):
        return None
    if _SCHEME.match(image):
        return urldefrag(image).url
    return (folder / image).absolute().as_uri()


def _sha256(image: str, url: str | None, folder: Path, known: dict[str, str]) -> str | None:
    if url is None:
        return image
    if url in known or _SCHEME.match(image):
        return known.get(url)
    path = folder / image
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
