"""Cut a URL list for a crawl: a host is in one bucket, a bucket is cut in chunks of bounded size.

Two passes over files, never over memory: the first spreads rows over buckets by a hash of the host,
the second spreads a bucket over chunks by a hash of the URL. Both hashes are CRC-32, the same in
every process and every night.
"""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.crawl.url_list import (
    BAD_ROWS,
    CHUNK_ROWS,
    NORMAL,
    NORMAL_LENGTH,
    BadRow,
    UrlsSource,
    list_files,
    read_list,
)
from mmcore.crawl.urls import InvalidUrl, resolve

_HOST = r"\Ahttps?://(?P<host>[^/?]+)"
_WRITTEN = 2000


@dataclass(frozen=True)
class Partitioned:
    """A list cut in chunks, each of one bucket; a host is in one bucket only."""

    chunks: list[list[Path]]
    """Chunk files (Arrow IPC, schema CHUNK_ROWS) by bucket; a bucket may have none."""
    rows: int
    bad: Path
    """Arrow IPC file of the rows left out (schema BAD_ROWS)."""
    files: list[str]


def partition_list(
    source: UrlsSource, folder: Path, rows_per_chunk: int, buckets: int
) -> Partitioned:
    """Stream the list into chunk files below `folder`; about `rows_per_chunk` rows in each.

    A chunk is sorted by URL, then by place in the list. UserError where there is no list.
    """
    files = list_files(source)
    bad = folder / "bad.arrow"
    with tempfile.TemporaryDirectory(dir=folder) as spread:
        paths = [Path(spread, f"{number:03d}.arrow") for number in range(buckets)]
        with _Bad(bad) as broken:
            counts = _spread(_normal_rows(source, files, broken), paths, _host_hash)
        chunks = [
            _cut(path, count, rows_per_chunk, folder / f"bucket-{number:03d}")
            for number, (path, count) in enumerate(zip(paths, counts, strict=True))
        ]
    return Partitioned(chunks, sum(counts), bad, files)


class _Bad:
    """Takes rows without a usable URL, and writes them a few thousand at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> _Bad:
        self._writer = pa.ipc.new_file(str(self._path), BAD_ROWS)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, row: BadRow) -> None:
        """Note a row; without a URL as written it goes by its place in the file."""
        url = (row.url or "").strip()[:_WRITTEN] or f"{row.file}#{row.row}"
        where: dict[str, Any] = {"url": url, "file": row.file, "row": row.row}
        self._rows.append(where | {"reason": row.reason, "detail": row.detail[:_WRITTEN]})
        if len(self._rows) >= 4096:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=BAD_ROWS))
        self._rows = []


def _normal_rows(source: UrlsSource, files: list[str], bad: _Bad) -> Iterator[pa.Table]:
    """The list's rows as CHUNK_ROWS, file by file, at most `max_rows`."""
    left = source.max_rows
    for path in files:
        for table in read_list(source, path, bad.add):
            if left is not None:
                table = table.slice(0, left)
                left -= table.num_rows
            yield _normalised(table, path, bad)
            if left == 0:
                return


def _normalised(table: pa.Table, path: str, bad: _Bad) -> pa.Table:
    """Rows with their URL as it will be requested, and its host."""
    urls = pc.fill_null(table["url"].combine_chunks(), "")
    # Most URLs are what `resolve` would make of them; only the others cost a Python call each.
    normal = pc.and_(
        pc.match_substring_regex(urls, NORMAL),
        pc.less_equal(pc.binary_length(urls), NORMAL_LENGTH),
    )
    odd = np.flatnonzero(~normal.to_numpy(zero_copy_only=False))
    resolved = [
        _resolved(path, row, url, bad)
        for row, url in zip(
            table["row"].take(pa.array(odd)).to_pylist(),
            urls.take(pa.array(odd)).to_pylist(),
            strict=True,
        )
    ]
    mask = pc.invert(normal)
    urls = pc.replace_with_mask(urls, mask, pa.array(resolved, pa.string()))
    host = pc.struct_field(pc.extract_regex(urls, _HOST), "host")
    columns = {
        "url": urls,
        "host": host,
        "file": pa.array([path] * table.num_rows, pa.string()),
        **{name: table[name] for name in ("text", "page", "license", "lang", "row")},
    }
    rows = pa.Table.from_arrays([columns[n] for n in CHUNK_ROWS.names], schema=CHUNK_ROWS)
    return rows.filter(pc.is_valid(urls))


def _resolved(path: str, row: int, url: str, bad: _Bad) -> str | None:
    """The URL as it will be requested; None, and a line on record, where it cannot be."""
    try:
        found = resolve("", url) if url.strip() else None
    except InvalidUrl as error:
        bad.add(BadRow(path, row, "invalid_url", str(error), url))
        return None
    if found is None:
        detail = "it is not an http(s) URL" if url.strip() else "the row has no URL"
        bad.add(BadRow(path, row, "invalid_url", detail, url))
    return found


def _spread(tables: Iterable[pa.Table], paths: list[Path], key: _Hash) -> list[int]:
    """Write each row to the file its hash names; rows by file."""
    counts = [0] * len(paths)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(str(p), CHUNK_ROWS)) for p in paths]
        for table in tables:
            places = key(table) % len(paths)
            order = np.argsort(places, kind="stable")
            sorted_rows = table.take(pa.array(order)).combine_chunks()
            ends = np.cumsum(np.bincount(places, minlength=len(paths)))
            start = 0
            for number, end in enumerate(ends.tolist()):
                if end > start:
                    writers[number].write_table(sorted_rows.slice(start, end - start))
                    counts[number] += end - start
                start = end
    return counts


class _Hash:
    """CRC-32 of a column, one call a distinct value."""

    def __init__(self, column: str) -> None:
        self._column = column

    def __call__(self, table: pa.Table) -> npt.NDArray[np.int64]:
        encoded = table[self._column].combine_chunks().dictionary_encode()
        hashes = np.array(
            [zlib.crc32(value.encode()) for value in encoded.dictionary.to_pylist()], np.int64
        )
        places = encoded.indices.to_numpy()
        return hashes[places] if len(hashes) else np.zeros(0, np.int64)


_host_hash, _url_hash = _Hash("host"), _Hash("url")


def _cut(path: Path, count: int, rows_per_chunk: int, folder: Path) -> list[Path]:
    """A bucket's file as sorted chunk files."""
    if not count:
        return []
    folder.mkdir()
    pieces = [folder / f"{i:05d}.stream" for i in range(-(-count // rows_per_chunk))]
    _spread(_stream(path), pieces, _url_hash)
    chunks = []
    for piece in pieces:
        rows = pa.concat_tables([CHUNK_ROWS.empty_table(), *_stream(piece)])
        if rows.num_rows:
            order = [(name, "ascending") for name in ("url", "file", "row")]
            chunks.append(piece.with_suffix(".arrow"))
            with pa.ipc.new_file(str(chunks[-1]), CHUNK_ROWS) as writer:
                writer.write_table(rows.sort_by(order).combine_chunks())
        piece.unlink()
    return chunks


def _stream(path: Path) -> Iterator[pa.Table]:
    with pa.ipc.open_stream(str(path)) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])
