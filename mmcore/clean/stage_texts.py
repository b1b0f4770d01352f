"""The texts of the clean stage: `crawled` to `measured_texts` and `texts`.

Texts are measured once; what is decided about them can be decided again from the measures.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from mmcore.clean import occurrences, sites, text_coverage
from mmcore.clean.language import LanguageChoice, LanguageRules
from mmcore.clean.rules import TextRules
from mmcore.clean.sites import SiteRules
from mmcore.clean.spread import TextWay
from mmcore.clean.stage_counts import Counted, counts_of, funnel, total
from mmcore.cluster import map_parts
from mmcore.lake import Dataset, DatasetWriter, Lake, Part

_ROWS_PER_TEXT_TASK = 20_000  # rows of `crawled`; each has about ten texts


class TextPolicy(LanguageChoice, SiteRules):
    """What texts are before anything is decided about them; a change measures them again."""

    mask_personal_data: bool = Field(
        default=True,
        description="Replace e-mail, postal and IP addresses, phone, card, bank account and "
        "identity numbers in texts by <EMAIL>, <ADDRESS>, …",
    )


# --- texts: measured once -------------------------------------------------------------------------


def measure_texts(lake: Lake, day: str, crawled: Dataset, policy: TextPolicy) -> Dataset:
    """`measured_texts@DAY`, in parts by ranges of `sha256`.

    Texts are repaired and measured where their pages are, then sent to where their image is. In
    between, what a site repeats is counted. Every task reads and writes its share alone.
    """
    settings = policy.model_dump(mode="json")
    found = lake.reusable("measured_texts", day, settings, [crawled])
    if found is not None:
        return found
    writer = lake.writer("measured_texts", day)
    groups = _groups(crawled)
    way = TextWay(lake.storage, f"work/clean/{day}/{writer.attempt}", len(groups))
    try:
        many = list(range(len(groups)))
        pages = list(zip(many, groups, strict=True))
        texts = partial(map_parts, unit="texts")
        texts(partial(_prepare, crawled, policy, way), pages, description="read texts")
        map_parts(partial(_count_repeated, way), many, description="repeated texts", unit="ranges")
        way.gather_counts()
        texts(partial(_measure_group, policy, way), many, description="measure texts")
        done = texts(partial(_merge_range, writer, way), many, description="texts by image")
        return writer.commit(done, [crawled], settings, {"funnel": {"rows": crawled.rows}})
    finally:
        lake.storage.delete(way.folder)


def _groups(crawled: Dataset) -> list[range]:
    """Parts in a row that hold about `_ROWS_PER_TEXT_TASK` rows together; one group at least."""
    groups, start, rows = [], 0, 0
    for index, part in enumerate(crawled.parts):
        rows += part.rows
        if rows >= _ROWS_PER_TEXT_TASK:
            groups.append(range(start, index + 1))
            start, rows = index + 1, 0
    return [*groups, range(start, len(crawled.parts))] if rows or not groups else groups


def _prepare(
    crawled: Dataset, policy: TextPolicy, way: TextWay, item: tuple[int, range]
) -> dict[str, int]:
    """Ray task: repair the texts of some parts of `crawled`, and note what may repeat."""
    index, parts = item
    columns = [*occurrences.COLUMNS, *occurrences.TEXT_COLUMNS]
    tables = [crawled.read_part(part, columns) for part in parts]
    rows = occurrences.ROWS.empty_table()
    if tables:
        unfolded = occurrences.unfold(pa.concat_tables(tables))
        rows = occurrences.prepare(unfolded, policy.languages)
    way.write_rows(index, rows)
    way.send_pairs(index, sites.pairs(rows))
    return {"rows": rows.num_rows}


def _count_repeated(way: TextWay, index: int) -> None:
    """Ray task: how often the strings of one range of keys are repeated."""
    way.write_counts(index, sites.count(way.receive_pairs(index)))


def _measure_group(policy: TextPolicy, way: TextWay, index: int) -> dict[str, int]:
    """Ray task: measure one group's texts and send them to their image's range."""
    measured = occurrences.measure(
        way.read_rows(index),
        way.read_all_counts(),
        SiteRules(**policy.model_dump(include=set(SiteRules.model_fields))),
        policy.languages,
        policy.mask_personal_data,
    )
    way.send_texts(index, measured)
    return {"rows": measured.num_rows}


def _merge_range(writer: DatasetWriter, way: TextWay, index: int) -> Part:
    """Ray task: the texts of the images of one range of `sha256`."""
    return writer.write_table(index, occurrences.merge(way.receive_texts(index)))


# --- texts: decided from attributes ---------------------------------------------------------------


def decide_texts(
    lake: Lake, day: str, measured: Dataset, rules: TextRules, languages: LanguageRules
) -> Dataset:
    """`texts@DAY` from attributes alone."""
    settings = rules.model_dump(mode="json") | languages.model_dump(mode="json")
    found = lake.reusable("texts", day, settings, [measured])
    if found is not None:
        return found
    writer = lake.writer("texts", day)
    task = partial(_decide_texts_part, measured, rules, languages, writer)
    items = list(range(len(measured.parts)))
    done = map_parts(task, items, description="text rules", unit="texts")
    metadata = {
        "funnel": funnel("texts", total(done, "reason")),
        "coverage": _coverage(done),
        "languages": total(done, "lang"),
        "masked": sum(d.counts["masked"]["replacements"] for d in done),
    }
    return writer.commit([d.part for d in done], [measured], settings, metadata)


def _decide_texts_part(
    measured: Dataset,
    rules: TextRules,
    languages: LanguageRules,
    writer: DatasetWriter,
    index: int,
) -> Counted:
    table = occurrences.decide(measured.read_part(index), rules, languages)
    part = writer.write_table(index, table)
    kept = table.filter(table["kept"])
    counts = counts_of(kept, ("lang",)) | counts_of(table, ("reason",)) | text_coverage.count(kept)
    counts["masked"] = {"replacements": pc.sum(table["masked"]).as_py() or 0}
    return Counted(table.num_rows, part, counts)


def _coverage(done: list[Counted]) -> dict[str, dict[str, int]]:
    """Of kept texts and their images: what the data is about and where it is from."""
    return {name: text_coverage.top(total(done, name)) for name in text_coverage.NAMES}
