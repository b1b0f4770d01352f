"""Words in addresses: `/birds/owls/two-red-circles_300x200.jpg` says "two red circles"."""

from __future__ import annotations

from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

URL_ROLE, FOLDER_ROLE = "url", "folder"
FOLDER_WEIGHT = 0.25
"""Below any sensible `min_confidence`: a folder's name supports other votes and decides nothing."""

WORDS = pa.schema(
    [("image", pa.int64()), ("role", pa.string()), ("text", pa.string()), ("page_url", pa.string())]
)
_EXTENSION = r"\.[A-Za-z0-9]{1,5}$"
# what cameras, publishing systems and designers call every file
_USUAL = (
    "img image images imgs photo photos foto fotos pic pics picture pictures bild bilder dsc dscf "
    "dscn screenshot screen shot scan file files upload uploads content wp static assets asset "
    "media public cdn cache thumb thumbs thumbnail thumbnails full original orig final copy new "
    "untitled default index html htm php asp page pages site web www large small medium big mini "
    "px jpg jpeg png gif webp bmp tif tiff data tmp resized scaled cropped lightbox gallery "
    "galerie blog post posts article articles category tag en de"
)


def segment_words(segments: pa.Array) -> pa.Array:
    """What pieces of a path say, in lower case: string [n], "" where only codes are left.

    Words with a digit are hashes, sizes and counters.
    """
    names = [unquote(s) if "%" in s else s for s in segments.to_pylist()]
    text = pc.replace_substring_regex(pa.array(names, pa.string()), r"[^\pL\pN]+", " ")
    text = pc.replace_substring_regex(text, r"(\p{Ll})(\p{Lu})", r"\1 \2")
    lists = pc.utf8_split_whitespace(pc.utf8_lower(text))
    words = pc.list_flatten(lists)
    code = pc.or_(pc.match_substring_regex(words, r"\pN"), pc.less(pc.utf8_length(words), 2))
    said = pc.invert(pc.or_(code, pc.is_in(words, pa.array(_USUAL.split()))))
    rows = pc.list_parent_indices(lists).filter(said).to_numpy(zero_copy_only=False)
    sizes = np.bincount(rows, minlength=len(segments))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    kept = pa.ListArray.from_arrays(pa.array(offsets), words.filter(said))
    return pc.binary_join(kept, " ")


def address_texts(places: pa.Table) -> pa.Table:
    """`WORDS` of the addresses of images: role `url` for a file's name, `folder` for each folder.

    places: `image` (int64), `image_url`, `page_url` (string, null where unknown). Folders are read
    of the web only: those of a disk say where somebody keeps files.
    """
    tables = [
        _file_names(places),
        _folders(places, "image_url"),
        _folders(places, "page_url"),
    ]
    table = pa.concat_tables(tables)
    table = table.filter(pc.not_equal(table["text"], ""))
    keys = ["image", "role", "text"]
    once = table.group_by(keys, use_threads=False).aggregate([("page_url", "min")])
    return pa.table([once[k] for k in keys] + [once["page_url_min"]], schema=WORDS)


def _path(urls: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The path of each URL, without its first slash."""
    bare = pc.replace_substring_regex(pc.fill_null(urls, ""), r"[?#].*$", "")
    return pc.replace_substring_regex(bare, r"^[a-zA-Z][a-zA-Z0-9+.\-]*://[^/]*/?", "")


def _said(segments: pa.Array) -> pa.Array:
    """`segment_words` of each segment; equal ones are read once."""
    coded = pc.dictionary_encode(segments)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    return segment_words(coded.dictionary).take(coded.indices)


def _file_names(places: pa.Table) -> pa.Table:
    path = _path(places["image_url"].combine_chunks())
    name = pc.replace_substring_regex(path, r"^.*/", "")
    text = _said(pc.replace_substring_regex(name, _EXTENSION, ""))
    return _rows(places, np.arange(places.num_rows), URL_ROLE, text)


def _folders(places: pa.Table, column: str) -> pa.Table:
    """One row per folder; of a page's address its last piece counts as one."""
    urls = pc.fill_null(places[column].combine_chunks(), "")
    web = pc.match_substring_regex(urls, r"^https?://").to_numpy(zero_copy_only=False)
    at = np.flatnonzero(web)
    path = _path(urls.take(pa.array(at)))
    if column == "image_url":
        path = pc.replace_substring_regex(path, r"[^/]*$", "")
    path = pc.replace_substring_regex(path, _EXTENSION, "")
    pieces = pc.split_pattern(path, "/")
    rows = at[pc.list_parent_indices(pieces).to_numpy(zero_copy_only=False)]
    return _rows(places, rows, FOLDER_ROLE, _said(pc.list_flatten(pieces)))


def _rows(places: pa.Table, rows: np.ndarray, role: str, text: pa.Array) -> pa.Table:
    at = pa.array(rows)
    columns = [
        places["image"].take(at),
        pa.array(np.full(len(rows), role, object), pa.string()),
        text,
        places["page_url"].take(at),
    ]
    return pa.table(columns, schema=WORDS)
