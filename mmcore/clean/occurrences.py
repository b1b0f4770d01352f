"""From `crawled` rows to one cleaned row per distinct (image, role, text)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean import language, privacy, sites, text
from mmcore.clean.language import LanguageRules
from mmcore.clean.rules import TextRules, text_reasons
from mmcore.clean.sites import Counts, SiteRules

COLUMNS = ["page_url", "image_url", "sha256", "position", "lang"]
_SCALAR_ROLES = ("alt", "caption", "context", "heading", "page_title", "title")
_LIST_ROLES = {"comments": "comment", "keywords": "keyword"}
TEXT_COLUMNS = [*_SCALAR_ROLES, *_LIST_ROLES]

_PAGE_CHARS = 4000  # of a page's texts tell its language
_PAGE_CONFIDENCE = 0.8
_PAGE_LETTERS = 20

ROWS = pa.schema(
    [
        ("sha256", pa.string()),
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("position", pa.int32()),
        ("page_lang", pa.string()),  # declared, else what the page's texts together are in
        ("role", pa.string()),
        ("text", pa.string()),  # repaired
    ]
)
_KEY = ("sha256", "role", "text")
_ATTRIBUTES = [
    ("chars", pa.int32()),
    ("bytes", pa.int32()),
    ("words", pa.int32()),
    ("letter_share", pa.float32()),
    ("repetition", pa.float32()),
    ("word_share", pa.float32()),
    ("word_repetition", pa.float32()),
    ("digit_share", pa.float32()),
    ("capital_share", pa.float32()),
    ("longest_run", pa.int32()),
    ("site_images", pa.int32()),  # images of the site under which the text stands
    ("site_share", pa.float32()),
]
_FIRST = ["page_url", "image_url", "position"]  # of the first place, in this order
MEASURED_TEXTS = pa.schema(
    [
        ("sha256", pa.string()),
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("position", pa.int32()),
        ("role", pa.string()),
        ("text", pa.string()),
        ("masked", pa.int32()),
        ("places", pa.int32()),  # occurrences with this very text
        *_ATTRIBUTES,
        ("file_name", pa.bool_()),
        ("boilerplate", pa.bool_()),
        ("page_lang", pa.string()),
        ("letters", pa.int32()),
        ("script", pa.string()),
        ("guess", pa.string()),
        ("guess_confidence", pa.float32()),
    ]
)
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
        ("places", pa.int32()),
        *_ATTRIBUTES,
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


def prepare(unfolded: pa.Table, languages: tuple[str, ...] | None) -> pa.Table:
    """ROWS of unfolded rows: texts repaired, and the language of every page where it can be told.

    Every distinct text is repaired once, however often it stands; so it is in `measure`.
    """
    raw = _column(unfolded, "raw").dictionary_encode()
    texts = text.repair(raw.dictionary).take(raw.indices)
    rows = unfolded.drop_columns(["raw"]).append_column("text", texts)
    return _with_page_languages(rows, languages).select(ROWS.names).cast(ROWS)


def measure(
    rows: pa.Table,
    counts: Counts,
    site_rules: SiteRules,
    languages: tuple[str, ...] | None,
    mask_personal_data: bool,
) -> pa.Table:
    """MEASURED_TEXTS rows of ROWS, one per image, role and text, sorted by them.

    counts: of the strings the sites repeat, over all rows of the day.
    """
    images, share = sites.spread_of(rows, counts)
    coded = sites.without_names(rows, counts, site_rules).dictionary_encode()
    texts, masked = coded.dictionary, pa.array(np.zeros(len(coded.dictionary), np.int32))
    if mask_personal_data:
        texts, masked = privacy.mask(texts)
    rows = rows.set_column(rows.schema.get_field_index("text"), "text", texts.take(coded.indices))
    columns = {"masked": masked.take(coded.indices), "site_images": images, "site_share": share}
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    ones = pa.array(np.ones(rows.num_rows, np.int32))
    distinct = _merged(rows.append_column("places", ones))
    codes = _column(distinct, "text").dictionary_encode()
    measured = text.measure(codes.dictionary).take(codes.indices)
    for part in (measured, _guesses(distinct, codes, languages)):
        for name in part.column_names:
            distinct = distinct.append_column(name, part[name])
    return distinct.select(MEASURED_TEXTS.names).cast(MEASURED_TEXTS)


def merge(tables: list[pa.Table]) -> pa.Table:
    """MEASURED_TEXTS tables as one: a row per image, role and text, sorted by them."""
    return _merged(pa.concat_tables([MEASURED_TEXTS.empty_table(), *tables])).select(
        MEASURED_TEXTS.names
    )


def decide(measured: pa.Table, rules: TextRules, language_rules: LanguageRules) -> pa.Table:
    """TEXTS rows of MEASURED_TEXTS rows: from attributes alone."""
    pages = _column(measured, "page_lang")
    langs = language.decide(measured, pages, language_rules)
    reasons = text_reasons(measured, rules)
    columns = {name: measured[name] for name in TEXTS.names if name in measured.column_names}
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


def _with_page_languages(rows: pa.Table, languages: tuple[str, ...] | None) -> pa.Table:
    """`page_lang` filled in, where a page declares none, with what all its texts together are in.

    A page has a paragraph more often than not; its short alt texts are rarely in another language.
    """
    silent = rows.filter(pc.is_null(rows["page_lang"]))
    if silent.num_rows == 0:
        return rows
    pages = silent.select(["page_url", "role", "text"])
    pages = pages.group_by(["page_url", "role", "text"], use_threads=False).aggregate([])
    pages = pages.sort_by([(name, "ascending") for name in ("page_url", "role", "text")])
    pages = pages.group_by("page_url", use_threads=False).aggregate([("text", "list")])
    whole = pc.binary_join(_column(pages, "text_list"), "\n")
    whole = text.without_placeholders(pc.utf8_slice_codeunits(whole, 0, _PAGE_CHARS))
    found = language.guess(whole, pa.nulls(len(whole), pa.string()), languages)
    sure = pc.and_(
        pc.greater_equal(found["guess_confidence"], _PAGE_CONFIDENCE),
        pc.greater_equal(found["letters"], _PAGE_LETTERS),
    )
    langs = pc.if_else(pc.fill_null(sure, False), found["guess"], None)
    where = pc.index_in(rows["page_url"], _column(pages, "page_url"))
    filled = pc.coalesce(rows["page_lang"], langs.take(where))
    return rows.set_column(rows.schema.get_field_index("page_lang"), "page_lang", filled)


def _merged(rows: pa.Table) -> pa.Table:
    """One row per (image, role, text), sorted by them: `places` added up, of everything else what
    stands in the first place, and the largest of the counts."""
    codes = [_ranks(_column(rows, name)) for name in (*_KEY, *_FIRST)]
    order = np.lexsort(codes[::-1])
    new = np.ones(len(order), bool)
    keys = np.stack([column[order] for column in codes[: len(_KEY)]])
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    start = np.flatnonzero(new)
    merged = rows.take(pa.array(order[start]))
    for name in ("places", "masked", "site_images", "site_share"):
        reduce = np.add if name == "places" else np.maximum
        values = rows[name].to_numpy()[order]
        together = reduce.reduceat(values, start) if len(start) else values
        where = merged.schema.get_field_index(name)
        merged = merged.set_column(where, name, pa.array(together, rows.schema.field(name).type))
    return merged.combine_chunks()


def _ranks(column: pa.Array) -> npt.NDArray[np.int64]:
    """Numbers that sort as the values do."""
    if not pa.types.is_string(column.type):
        return column.to_numpy(zero_copy_only=False).astype(np.int64)
    coded = column.dictionary_encode()
    rank = np.empty(len(coded.dictionary), np.int64)
    rank[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(rank))
    return rank[coded.indices.to_numpy()]


def _guesses(
    rows: pa.Table, codes: pa.DictionaryArray, languages: tuple[str, ...] | None
) -> pa.Table:
    """`language.guess` per row; distinct pairs of text and page language only once."""
    pages = _column(rows, "page_lang").dictionary_encode()
    page_codes = pc.fill_null(pages.indices, len(pages.dictionary)).to_numpy().astype(np.int64)
    pair = codes.indices.to_numpy().astype(np.int64) * (len(pages.dictionary) + 1) + page_codes
    _, first, inverse = np.unique(pair, return_index=True, return_inverse=True)
    some = rows.select(["text", "page_lang"]).take(pa.array(first))
    bare = text.without_placeholders(_column(some, "text"))
    found = language.guess(bare, _column(some, "page_lang"), languages)
    return found.take(pa.array(inverse))


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
