"""From `crawled` rows to one cleaned row per distinct (image, role, text)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean import language, privacy, text
from mmcore.clean.language import LanguageRules
from mmcore.clean.rules import TextRules, text_reasons

COLUMNS = ["page_url", "image_url", "sha256", "position", "lang"]
_SCALAR_ROLES = ("alt", "caption", "context", "heading", "page_title", "title")
_LIST_ROLES = {"comments": "comment", "keywords": "keyword"}
TEXT_COLUMNS = [*_SCALAR_ROLES, *_LIST_ROLES]

_PAGE_CHARS = 4000  # of a page's texts tell its language
_PAGE_CONFIDENCE = 0.8

TEXTS = pa.schema(
    [
        ("sha256", pa.string()),
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("role", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("lang_confidence", pa.float32()),
        ("masked", pa.int32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("places", pa.int32()),  # occurrences with this very text
        ("chars", pa.int32()),
        ("bytes", pa.int32()),
        ("words", pa.int32()),
        ("letter_share", pa.float32()),
        ("repetition", pa.float32()),
        ("word_share", pa.float32()),
    ]
)


def unfold(crawled: pa.Table) -> pa.Table:
    """One row per text of `crawled`.

    Columns: `sha256, page_url, image_url, position, page_lang, role` and the text as `raw`.
    """
    tables = [_of_role(crawled, name, crawled[name]) for name in _SCALAR_ROLES]
    for name, role in _LIST_ROLES.items():
        lists = crawled[name].combine_chunks()
        owners = crawled.take(pc.list_parent_indices(lists))
        tables.append(_of_role(owners, role, pc.list_flatten(lists)))
    return pa.concat_tables(tables)


def clean(
    unfolded: pa.Table, rules: TextRules, language_rules: LanguageRules, mask_personal_data: bool
) -> pa.Table:
    """TEXTS rows of unfolded rows, sorted by image, role and text.

    Every distinct text is repaired, masked, measured and identified once, however often it stands.
    """
    rows = unfolded.combine_chunks()
    raw = _column(rows, "raw").dictionary_encode()
    texts = text.repair(raw.dictionary)
    masked = pa.array(np.zeros(len(texts), np.int32))
    if mask_personal_data:
        texts, masked = privacy.mask(texts)
    rows = rows.drop_columns(["raw"])
    rows = rows.append_column("text", texts.take(raw.indices))
    rows = rows.append_column("masked", masked.take(raw.indices))
    distinct = _distinct(_with_page_languages(rows, language_rules))
    codes = _column(distinct, "text").dictionary_encode()
    measured = text.measure(codes.dictionary).take(codes.indices)
    for name in measured.column_names:
        distinct = distinct.append_column(name, measured[name])
    langs = _languages(distinct, codes, language_rules)
    reasons = text_reasons(distinct, rules)
    columns = {name: distinct[name] for name in TEXTS.names if name in distinct.column_names}
    columns |= {name: langs[name] for name in langs.column_names}
    columns |= {"reason": reasons, "kept": pc.equal(reasons, "ok")}
    return pa.table({n: columns[n] for n in TEXTS.names}).cast(TEXTS)


def _of_role(owners: pa.Table, role: str, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    table = pa.table(
        {
            "sha256": owners["sha256"],
            "page_url": owners["page_url"],
            "image_url": owners["image_url"],
            "position": owners["position"],
            "page_lang": _primary_tag(owners["lang"]),
            "role": pa.array([role]).take(pa.array(np.zeros(owners.num_rows, np.int64))),
            "raw": texts,
        }
    )
    return table.filter(pc.is_valid(table["raw"]))


def _primary_tag(langs: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(pc.utf8_lower(langs), r"[-_].*$", "")


def _with_page_languages(rows: pa.Table, rules: LanguageRules) -> pa.Table:
    """`page_lang` filled in, where a page declares none, with what all its texts together are in.

    A page has a paragraph more often than not; its short alt texts are rarely in another language.
    """
    silent = rows.filter(pc.is_null(rows["page_lang"]))
    if silent.num_rows == 0:
        return rows
    ordered = silent.sort_by([(name, "ascending") for name in ("page_url", "role", "text")])
    pages = ordered.group_by(["page_url", "role", "text"], use_threads=False).aggregate([])
    pages = pages.group_by("page_url", use_threads=False).aggregate([("text", "list")])
    whole = pc.binary_join(_column(pages, "text_list"), "\n")
    whole = text.without_placeholders(pc.utf8_slice_codeunits(whole, 0, _PAGE_CHARS))
    found = language.identify(whole, pa.nulls(len(whole), pa.string()), rules)
    sure = pc.fill_null(pc.greater_equal(found["lang_confidence"], _PAGE_CONFIDENCE), False)
    langs = pc.if_else(sure, found["lang"], None)
    where = pc.index_in(rows["page_url"], _column(pages, "page_url"))
    inferred = langs.take(where)
    filled = pc.coalesce(rows["page_lang"], inferred)
    return rows.set_column(rows.schema.get_field_index("page_lang"), "page_lang", filled)


def _distinct(rows: pa.Table) -> pa.Table:
    """One row per (image, role, text): its first page, and in how many places it stands."""
    order = ["sha256", "role", "text", "page_url", "position"]
    ordered = rows.sort_by([(name, "ascending") for name in order])
    # One thread: `first` has a meaning only in the sorted order.
    grouped = ordered.group_by(["sha256", "role", "text"], use_threads=False).aggregate(
        [
            ("page_url", "first"),
            ("image_url", "first"),
            ("page_lang", "first"),
            ("masked", "max"),
            ([], "count_all"),
        ]
    )
    names = {
        "page_url_first": "page_url",
        "image_url_first": "image_url",
        "page_lang_first": "page_lang",
        "masked_max": "masked",
        "count_all": "places",
    }
    return grouped.rename_columns([names.get(n, n) for n in grouped.column_names]).combine_chunks()


def _languages(rows: pa.Table, codes: pa.DictionaryArray, rules: LanguageRules) -> pa.Table:
    """`lang` and `lang_confidence` per row; distinct pairs of text and page language only once."""
    pages = _column(rows, "page_lang").dictionary_encode()
    page_codes = pc.fill_null(pages.indices, len(pages.dictionary)).to_numpy().astype(np.int64)
    pair = codes.indices.to_numpy().astype(np.int64) * (len(pages.dictionary) + 1) + page_codes
    _, first, inverse = np.unique(pair, return_index=True, return_inverse=True)
    some = rows.select(["text", "page_lang"]).take(pa.array(first))
    bare = text.without_placeholders(_column(some, "text"))
    found = language.identify(bare, _column(some, "page_lang"), rules)
    return found.take(pa.array(inverse))


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
