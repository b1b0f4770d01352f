"""A folder of images with an annotations.jsonl, as rows of `crawled`, `raw` and `outcomes`.

A record: `image` (a path inside the folder, or the name of a member of a .tar in it) and any of
`captions` (a list, or one string), `text`, `qa` ([{"question", "answer"}]), `tags`, `sentiment`,
`split` (train, val, test). Unknown keys are kept in the annotation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from mmcore.annotated import ANNOTATIONS, Member, OutsideFolder, read_image
from mmcore.crawl.outcomes import Outcome
from mmcore.crawl.schemas import CRAWLED
from mmcore.crawl.sniff import image_type
from mmcore.errors import UserError

SPLITS = ("train", "val", "test")
SENTIMENTS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Block:
    """Lines of a folder's annotations.jsonl: bytes [start, end), the first is number `line`."""

    folder: str
    start: int
    end: int
    line: int


@dataclass(frozen=True)
class FolderRows:
    """What a block of a folder gives."""

    crawled: list[dict[str, Any]]
    images: dict[str, tuple[str, str, bytes]]
    """sha256 -> (URL, media type, bytes); the URL is the first by sorting."""
    outcomes: list[Outcome]


class BadRecord(ValueError):
    """A line that is not a usable record; the message says why."""


def folder_blocks(folder: str, lines: int) -> list[Block]:
    """Cut a folder's annotations into blocks of at most `lines` lines. UserError without them."""
    path = Path(folder, ANNOTATIONS)
    if not path.is_file():
        raise UserError(
            f"The folder source {folder} has no {ANNOTATIONS}: write one line of JSON an image, "
            'such as {"image": "cat.jpg", "captions": ["a cat on a mat"]}.'
        )
    blocks: list[Block] = []
    start = offset = first = number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            offset += len(line)
            if number - first == lines:
                blocks.append(Block(folder, start, offset, first + 1))
                start, first = offset, number
    if offset > start:
        blocks.append(Block(folder, start, offset, first + 1))
    return blocks


def read_block(block: Block, members: dict[str, Member]) -> FolderRows:
    """Read a block's records and their images. A bad line or file is an outcome, not an error."""
    folder = Path(block.folder)
    page = _file_url(folder / ANNOTATIONS)
    crawled: list[dict[str, Any]] = []
    images: dict[str, tuple[str, str, bytes]] = {}
    outcomes: dict[str, Outcome] = {}
    kept: dict[str, str] = {}
    for number, line in _lines(folder / ANNOTATIONS, block):
        where = f"{page}#{number}"
        try:
            record = parse_record(line)
            url, data = _image(folder, record["image"], members)
        except BadRecord as error:
            outcomes[where] = Outcome(
                where, "image", "bad_record", referrer=page, detail=str(error)
            )
            continue
        except OSError as error:  # not there, not readable, a name no file can have
            url = _file_url(folder / record["image"])
            outcomes[url] = Outcome(url, "image", "missing_file", referrer=page, detail=str(error))
            continue
        if url not in outcomes:
            outcomes[url] = _outcome(url, data, page)
            if outcomes[url].reason == "ok":
                sha = outcomes[url].sha256 or ""
                kept[url] = sha
                media = outcomes[url].content_type or ""
                if sha not in images or url < images[sha][0]:
                    images[sha] = (url, media, data)
        if url in kept:
            crawled += _rows(record, page, url, kept[url], number)
    return FolderRows(crawled, images, list(outcomes.values()))


def _lines(path: Path, block: Block) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of a block's lines that are not blank."""
    with path.open("rb") as file:
        file.seek(block.start)
        number = block.line
        while file.tell() < block.end:
            line = file.readline()
            if line.strip():
                yield number, line
            number += 1


def parse_record(line: bytes) -> dict[str, Any]:
    """One annotation record, checked; `captions` and `tags` as lists. Raises BadRecord."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise BadRecord('not an object with a string "image"')
    record = dict(record)
    for key in ("captions", "tags"):
        value = record.get(key)
        if isinstance(value, str):
            record[key] = [value]
        elif value is not None and not _is_strings(value):
            raise BadRecord(f'"{key}" is not a list of strings')
    if record.get("text") is not None and not isinstance(record["text"], str):
        raise BadRecord('"text" is not a string')
    if record.get("split") not in (None, *SPLITS):
        raise BadRecord(f'"split" is not one of {", ".join(SPLITS)}')
    if record.get("sentiment") not in (None, *SENTIMENTS):
        raise BadRecord(f'"sentiment" is not one of {", ".join(SENTIMENTS)}')
    _check_questions(record.get("qa"))
    return record


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check_questions(value: Any) -> None:
    entries = value if isinstance(value, list) else [] if value is None else [None]
    for entry in entries:
        fields = [entry.get(k) for k in ("question", "answer")] if isinstance(entry, dict) else [0]
        if not all(isinstance(field, str) for field in fields):
            raise BadRecord('"qa" is not a list of {"question", "answer"} strings')


def _image(folder: Path, name: str, members: dict[str, Member]) -> tuple[str, bytes]:
    """(URL, bytes) of a record's image. Raises BadRecord where it leaves the folder."""
    try:
        return _file_url(folder / name), read_image(folder, name, members)
    except OutsideFolder as error:
        raise BadRecord(str(error)) from None


def _outcome(url: str, data: bytes, page: str) -> Outcome:
    # Files have no Content-Type: anything binary may be an image that clean can read.
    media = image_type(data[:1024], "image/unknown")
    reason = "ok" if media else "wrong_content_type" if data else "empty"
    return Outcome(
        url,
        "image",
        reason,
        bytes=len(data),
        content_type=media,
        sha256=hashlib.sha256(data).hexdigest() if reason == "ok" else None,
        referrer=page,
        attempts=1,
        fetched_at=datetime.now(UTC),
    )


def _rows(
    record: dict[str, Any], page: str, url: str, sha: str, line: int
) -> Iterator[dict[str, Any]]:
    """One row a caption, or one row without."""
    annotation = {key: record[key] for key in record if key not in ("image", "split")}
    shared = dict.fromkeys(CRAWLED.names) | {
        "page_url": page,
        "image_url": url,
        "sha256": sha,
        "position": line - 1,
        "element": "record",
        "context": record.get("text"),
        "keywords": record.get("tags") or [],
        "comments": [],
        "lang": record.get("lang") if isinstance(record.get("lang"), str) else None,
        "license": record.get("license") if isinstance(record.get("license"), str) else None,
        "consent": "{}",
        "annotation": json.dumps(annotation, ensure_ascii=False, sort_keys=True),
        "split": record.get("split"),
        "source": "folder",
        "fetched_at": datetime.now(UTC),
    }
    for caption in record.get("captions") or [None]:
        yield shared | {"caption": caption}


def _file_url(path: Path) -> str:
    return "file://" + quote(str(path.absolute()))


def crawled_rows_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a folder as a table (schema CRAWLED)."""
    return pa.Table.from_pylist(rows, schema=CRAWLED)
