"""Lists of image URLs with texts (the form of img2dataset, LAION, COYO), read and cut for a crawl.

A list is Parquet, CSV, TSV or JSONL, the text forms also gzipped or as Zstandard. It is streamed:
memory holds one block of a file, one buffer of rows and one chunk, whatever the list's length.
"""

from __future__ import annotations

import csv as python_csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_from_bytes

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv, fs
from pyarrow import json as arrow_json
from pydantic import BaseModel, ConfigDict, Field

from mmcore.errors import UserError

_FIELDS = ("url", "text", "page", "license", "lang")
_STRINGS = [(name, pa.string()) for name in _FIELDS]
LIST_ROWS = pa.schema([("row", pa.int64()), *_STRINGS])
"""What `read_list` gives: rows count from 0 in their file, broken ones included."""
CHUNK_ROWS = pa.schema(
    [
        ("url", pa.string()),
        ("host", pa.string()),
        *_STRINGS[1:],
        ("file", pa.string()),
        ("row", pa.int64()),
    ]
)
"""What a chunk file holds: `url` is normalised, `host` is its host with a port if not the usual."""
BAD_ROWS = pa.schema(
    [
        ("url", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""Rows without a usable URL: `url` as written (`file#row` without one), reasons of `outcomes`."""
_FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **{f".csv{packed}": "csv" for packed in ("", ".gz", ".zst")},
    **{f".tsv{packed}": "tsv" for packed in ("", ".gz", ".zst")},
    **{f".jsonl{packed}": "jsonl" for packed in ("", ".gz", ".zst")},
    **{f".ndjson{packed}": "jsonl" for packed in ("", ".gz", ".zst")},
}
_BLOCK = 1 << 22
_LONGEST_LINE = 1 << 26
_TEXT_FALLBACKS = ("caption", "alt")
# URLs that `resolve` leaves as they are; no default port, no `.` segment, nothing to encode.
NORMAL = (
    r"\Ahttps?://(?:[a-z0-9._-]*[a-z0-9_-])"
    r"(?:/(?:(?:[\w~:@!$&'()*+,;=\[\]|-]|%[013-9A-Fa-f])[\w.~:@!$%&'()*+,;=\[\]|-]*)?)+"
    r"(?:\?[\w.~/%:@!$&()*+,;=\[\]|\\?`{}^-]+)?\z"
)
NORMAL_LENGTH = 8000


class UrlsSource(BaseModel):
    """A list of image URLs with texts: a file, a folder of files or a glob, local or on S3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["urls"] = "urls"
    path: str = Field(
        description="A Parquet, CSV, TSV or JSONL file (the latter three also .gz or .zst), a "
        "folder of such files, a glob, or s3://bucket/…; relative to the recipe."
    )
    url_column: str = Field(
        "url", description="Column of the image's URL. Case does not matter in column names."
    )
    text_column: str | None = Field(
        "text",
        description="Column of the image's text; null: none. Where the default is absent, "
        "`caption` is taken, then `alt`.",
    )
    page_column: str | None = Field(
        None, description="Column of the URL of the page the image stood on; null: none."
    )
    license_column: str | None = Field(
        None, description="Column of the image's licence; null: none."
    )
    lang_column: str | None = Field(None, description="Column of the text's language; null: none.")
    text_role: Literal["alt", "caption"] = Field(
        "alt", description="What the text was to the image: its alt attribute, or a caption."
    )
    max_rows: int | None = Field(
        None, ge=1, description="Most rows taken, from the start of the list; null: all."
    )
    allow_private: tuple[str, ...] = Field(
        (),
        description="Hosts whose private or loopback addresses may be reached: your own machines "
        "only.",
    )


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row without a usable URL. `row` is None where the rest of a file cannot be read."""

    file: str
    row: int | None
    reason: str
    detail: str
    url: str | None = None


Note = Callable[[BadRow], None]


# -- the files of a list --


def list_files(source: UrlsSource) -> list[str]:
    """The list's files, sorted, as absolute paths or s3:// URIs. UserError if there is none."""
    system, path = _filesystem(source.path)
    prefix = "s3://" if source.path.startswith("s3://") else ""
    pattern = path.split("/")
    magic = [i for i, part in enumerate(pattern) if any(c in part for c in "*?[")]
    found = system.get_file_info(path)
    if found.type == fs.FileType.File:
        if _format(path) is None:
            raise UserError(f"The URL list {source.path} is not one of {', '.join(_FORMATS)}.")
        return [prefix + path]
    is_glob = bool(magic) and found.type == fs.FileType.NotFound
    base = "/".join(pattern[: magic[0]]) if is_glob else path
    selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
    names = [i.path for i in system.get_file_info(selector) if i.type == fs.FileType.File]
    if is_glob:
        names = [name for name in names if _matches(name.split("/"), pattern)]
    files = sorted(prefix + name for name in names if _format(name) and not _hidden(name, base))
    if not files:
        raise UserError(
            f"The URL list {source.path} has no file: name a file, folder or glob of "
            f"{', '.join(_FORMATS)}."
        )
    return files


def _filesystem(path: str) -> tuple[fs.FileSystem, str]:
    if path.startswith("s3://"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return fs.S3FileSystem(endpoint_override=endpoint), path[5:].rstrip("/")
    return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())


def _format(path: str) -> str | None:
    name = path.lower()
    return next((form for ending, form in _FORMATS.items() if name.endswith(ending)), None)


def _hidden(name: str, base: str) -> bool:
    """Whether a file lies there for a program's own use, as `_temporary/…` or `.part.csv`."""
    return any(part.startswith((".", "_")) for part in name[len(base) :].strip("/").split("/"))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a glob, both as segments; `**` stands for any number of them."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


# -- reading --


def read_list(
    source: UrlsSource, path: str, bad: Note, batch_rows: int = 65_536
) -> Iterator[pa.Table]:
    """Stream one file of the list as tables (schema LIST_ROWS); rows that are broken go to `bad`.

    Text that is not UTF-8 is decoded with U+FFFD; such a URL has its bytes percent-encoded. Where
    a file breaks off, `bad` gets one row None for its rest. UserError if it lacks a column.
    """
    system, name = _filesystem(path)
    form = _format(path)
    try:
        if form == "parquet":
            yield from _read_parquet(source, path, system.open_input_file(name), batch_rows)
        elif form == "jsonl":
            yield from _read_jsonl(source, path, system, name, bad)
        else:
            yield from _read_csv(source, path, system, name, "," if form == "csv" else "\t", bad)
    except (pa.ArrowException, OSError) as error:
        detail = f"the rest of the file cannot be read: {str(error).splitlines()[0]}"
        bad(BadRow(path, None, "bad_record", detail))


def _columns(source: UrlsSource, path: str, names: Sequence[str]) -> dict[str, str]:
    """Our name -> the file's, of the columns that are there. UserError if a named one is not."""
    folded = {name.lower(): name for name in reversed(names)}

    def find(wanted: str) -> str | None:
        return wanted if wanted in names else folded.get(wanted.lower())

    found: dict[str, str] = {}
    for ours in _FIELDS:
        wanted = getattr(source, f"{ours}_column")
        if wanted is None:
            continue
        name = find(wanted)
        if name is None and ours == "text" and wanted == "text":
            name = next((n for n in map(find, _TEXT_FALLBACKS) if n), None)
            if name is None:
                continue
        if name is None:
            raise UserError(
                f"The URL list {path} has no column {wanted!r}: set `{ours}_column` to one of "
                f"{', '.join(names) or 'its columns (it has none)'}."
            )
        found[ours] = name
    return found


def _read_parquet(
    source: UrlsSource, path: str, file: pa.NativeFile, batch_rows: int
) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as parquet:
        columns = _columns(source, path, parquet.schema_arrow.names)
        wanted = sorted(set(columns.values()))
        row = 0
        for batch in parquet.iter_batches(batch_rows, columns=wanted):
            rows = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            yield _table(path, columns, {n: batch.column(n) for n in wanted}, rows)


def _read_csv(
    source: UrlsSource, path: str, system: fs.FileSystem, name: str, delimiter: str, bad: Note
) -> Iterator[pa.Table]:
    """RFC 4180, quoting in TSV too as img2dataset and pandas read it; blank lines do not count."""
    with system.open_input_stream(name) as stream:
        head = stream.read(1 << 20).decode("utf-8-sig", errors="replace").lstrip("\r\n")
    if not head:
        return
    columns = _columns(
        source, path, next(python_csv.reader(io.StringIO(head), delimiter=delimiter))
    )
    wanted = sorted(set(columns.values()))
    broken: list[int] = []

    def skip(row: Any) -> str:
        number = row.number - 2  # counts from 1, and the header is a row too
        broken.append(number)
        detail = f"{row.actual_columns} columns where the header has {row.expected_columns}"
        bad(BadRow(path, number, "bad_record", detail))
        return "skip"

    reader = csv.open_csv(
        system.open_input_stream(name),
        csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
        csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.binary()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    row = 0
    for batch in reader:
        span = np.arange(row, row + batch.num_rows + len(broken))
        # The parser reads ahead, so that rows may be known as broken before their turn comes.
        rows = np.setdiff1d(span, np.array(broken, np.int64), True)[: batch.num_rows]
        row = int(rows[-1]) + 1 if len(rows) else row
        broken[:] = [number for number in broken if number >= row]
        yield _table(path, columns, {n: batch.column(n) for n in wanted}, rows)


def _read_jsonl(
    source: UrlsSource, path: str, system: fs.FileSystem, name: str, bad: Note
) -> Iterator[pa.Table]:
    columns: dict[str, str] | None = None
    row = 0
    with system.open_input_stream(name) as stream:
        for block in _line_blocks(stream):
            if columns is None:
                columns = _columns(source, path, _json_keys(block))
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            wanted = sorted(set(columns.values()))
            parsed = _parse_block(block, wanted, lines)
            if parsed is not None:
                yield _table(path, columns, parsed, np.arange(row, row + lines))
            else:
                kept, rows = _parse_lines(block, wanted, columns["url"], path, row, bad)
                yield _table(path, columns, kept, np.array(rows, np.int64))
            row += lines


def _line_blocks(stream: pa.NativeFile) -> Iterator[bytes]:
    """Whole lines, about _BLOCK bytes at a time."""
    rest = b""
    start = True
    while data := stream.read(_BLOCK):
        rest += data.removeprefix(b"\xef\xbb\xbf") if start else data
        start = False
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > _LONGEST_LINE:
            raise OSError(f"a line is longer than {_LONGEST_LINE:,} bytes")
    if rest:
        yield rest


def _json_keys(block: bytes) -> list[str]:
    keys: dict[str, None] = {}
    for line in block.splitlines()[:1000]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        keys |= dict.fromkeys(record if isinstance(record, dict) else ())
    return list(keys)


def _parse_block(block: bytes, names: list[str], lines: int) -> dict[str, pa.Array] | None:
    """Columns of a block in which every line is as it should be, else None."""
    options = arrow_json.ParseOptions(
        explicit_schema=pa.schema([(name, pa.string()) for name in names]),
        unexpected_field_behavior="ignore",
    )
    reading = arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = arrow_json.read_json(pa.BufferReader(block), reading, options)
        table.validate(full=True)  # the parser lets bytes through that are not UTF-8
    except pa.ArrowException:
        return None
    return {n: table[n].combine_chunks() for n in names} if table.num_rows == lines else None


def _parse_lines(
    block: bytes, names: list[str], url: str, path: str, row: int, bad: Note
) -> tuple[dict[str, pa.Array], list[int]]:
    """(columns, row numbers) of the good lines of a block; the others go to `bad`."""
    records: list[dict[str, Any]] = []
    rows: list[int] = []
    for number, line in enumerate(block.removesuffix(b"\n").split(b"\n"), start=row):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError) as error:
            bad(BadRow(path, number, "bad_record", f"not JSON: {error}"))
            continue
        if not isinstance(record, dict) or not isinstance(record.get(url), str):
            bad(BadRow(path, number, "bad_record", f'not an object with a string "{url}"'))
            continue
        records.append(record)
        rows.append(number)
    columns = {n: pa.array([_json_text(r.get(n)) for r in records], pa.string()) for n in names}
    return columns, rows


def _json_text(value: object) -> str | None:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # half a surrogate pair is no text
    return str(value) if isinstance(value, int | float) else None


def _table(
    path: str, columns: dict[str, str], found: dict[str, pa.Array], rows: npt.NDArray[np.int64]
) -> pa.Table:
    arrays = [pa.array(rows, pa.int64())]
    for ours in _FIELDS:
        name = columns.get(ours)
        if name is None:
            arrays.append(pa.nulls(len(rows), pa.string()))
            continue
        try:
            arrays.append(_strings(found[name], ours == "url"))
        except pa.ArrowNotImplementedError:
            raise UserError(
                f"The column {name!r} of the URL list {path} holds {found[name].type}: it must "
                f"hold text to be its `{ours}_column`."
            ) from None
    return pa.Table.from_arrays(arrays, schema=LIST_ROWS)


def _strings(column: pa.Array, is_url: bool) -> pa.Array:
    """A column as valid UTF-8, whatever the file's reader made of it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type):
        column = column.cast(pa.binary())  # so that its bytes are checked
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decoded(value, is_url) for value in column.to_pylist()], pa.string())


def _decoded(value: bytes | None, is_url: bool) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        if not is_url:
            return value.decode(errors="replace")
        return quote_from_bytes(value, safe=bytes(range(0x80)))
