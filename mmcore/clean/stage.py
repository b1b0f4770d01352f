"""The clean stage: `raw` to `measured`, `normalized` and `cleaned`, `crawled` to `measured_texts`
and `texts`.

Each dataset depends on its own settings only. A threshold changes `cleaned` or `texts`; images are
decoded again only when a setting of `PixelPolicy` or the raw images change, and texts are measured
again only when one of `TextPolicy` or the crawl changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from mmcore.clean import coverage, occurrences, sites
from mmcore.clean.images import PixelPolicy
from mmcore.clean.language import LanguageChoice, LanguageRules, known_languages
from mmcore.clean.measure import MEASURED, NORMALIZED, measure
from mmcore.clean.rules import ImageRules, TextRules, image_reasons
from mmcore.clean.sites import SiteRules
from mmcore.clean.spread import TextWay
from mmcore.cluster import map_parts
from mmcore.errors import UserError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part

_ROWS_PER_TEXT_TASK = 20_000  # rows of `crawled`; each has about ten texts
_FACTS = [name for name in MEASURED.names if name not in ("sha256", "outcome")]
CLEANED = pa.schema(
    [
        MEASURED.field("sha256"),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        *(MEASURED.field(name) for name in _FACTS),
    ]
)

M = TypeVar("M", bound=BaseModel)


class TextPolicy(LanguageChoice, SiteRules):
    """What texts are before anything is decided about them; a change measures them again."""

    mask_personal_data: bool = Field(
        default=True,
        description="Replace e-mail, postal and IP addresses, phone, card, bank account and "
        "identity numbers in texts by <EMAIL>, <ADDRESS>, …",
    )


class Config(LanguageRules, TextPolicy, TextRules, ImageRules, PixelPolicy):
    """How images are stored, and which images and texts are kept."""


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Clean the images and texts of a day; returns `cleaned@DAY`. Skips what is up to date."""
    _check_languages(config)
    raw, crawled = lake.dataset("raw", day), lake.dataset("crawled", day)
    measured = _measure(lake, day, raw, _subset(config, PixelPolicy))
    texts = _measure_texts(lake, day, crawled, _subset(config, TextPolicy))
    _decide_texts(lake, day, texts, _subset(config, TextRules), _subset(config, LanguageRules))
    return _decide(lake, day, measured, _subset(config, ImageRules))


def _check_languages(config: Config) -> None:
    if config.languages == Config().languages or config.languages is None:
        return
    unknown = sorted(set(config.languages) - known_languages())
    if unknown:
        raise UserError(
            f"clean.languages has {', '.join(unknown)}, which the classifier does not know: "
            f"use some of {', '.join(sorted(known_languages()))}."
        )


def _subset(config: BaseModel, model: type[M]) -> M:
    """The settings that one of the parent models holds."""
    return model(**config.model_dump(include=set(model.model_fields)))


# --- images: decoded once -------------------------------------------------------------------------


@dataclass(frozen=True)
class _MeasuredPart:
    rows: int
    measured: Part
    normalized: Part


def _measure(lake: Lake, day: str, raw: Dataset, policy: PixelPolicy) -> Dataset:
    """`measured@DAY` and `normalized@DAY`, each with one part per part of `raw@DAY`."""
    settings = policy.model_dump(mode="json")
    made = [lake.reusable(name, day, settings, [raw]) for name in ("measured", "normalized")]
    if all(made):
        return lake.dataset("measured", day)
    measured, normalized = lake.writer("measured", day), lake.writer("normalized", day)
    task = partial(_measure_part, raw, policy, measured, normalized)
    items = list(range(len(raw.parts)))
    done = map_parts(task, items, description="clean", unit="images")
    images = sum(part.normalized.rows for part in done)
    normalized.commit(
        _or_empty(normalized, (part.normalized for part in done), NORMALIZED),
        [raw],
        settings,
        {"funnel": {"images": raw.rows, "decoded": images}},
    )
    return measured.commit(
        _or_empty(measured, (part.measured for part in done), MEASURED),
        [raw],
        settings,
        {"funnel": {"images": raw.rows, "decoded": images}},
    )


def _measure_part(
    raw: Dataset,
    policy: PixelPolicy,
    measured: DatasetWriter,
    normalized: DatasetWriter,
    index: int,
) -> _MeasuredPart:
    """Ray task: decode one part of `raw` and write what was measured and what is stored."""
    images = raw.read_part(index, ["sha256", "image", "bytes", "url"])
    facts, stored = measure(images, policy)
    return _MeasuredPart(
        images.num_rows, measured.write_table(index, facts), normalized.write_table(index, stored)
    )


# --- decisions: from attributes alone -------------------------------------------------------------


@dataclass(frozen=True)
class _Counted:
    rows: int
    part: Part
    counts: dict[str, dict[str, int]]


def _decide(lake: Lake, day: str, measured: Dataset, rules: ImageRules) -> Dataset:
    """`cleaned@DAY` from attributes alone."""
    settings = rules.model_dump(mode="json")
    found = lake.reusable("cleaned", day, settings, [measured])
    if found is not None:
        return found
    writer = lake.writer("cleaned", day)
    task = partial(_decide_part, measured, rules, writer)
    done = map_parts(task, list(range(len(measured.parts))), description="rules", unit="images")
    funnel = _funnel("images", _total(done, "reason"))
    return writer.commit(
        [d.part for d in done],
        [measured],
        settings,
        {"funnel": funnel, "formats": _total(done, "format")},
    )


def _decide_part(
    measured: Dataset, rules: ImageRules, writer: DatasetWriter, index: int
) -> _Counted:
    facts = measured.read_part(index)
    reasons = image_reasons(facts, rules)
    columns = {"kept": pc.equal(reasons, "ok"), "reason": reasons}
    columns |= {name: facts[name] for name in ("sha256", *_FACTS)}
    table = pa.table({name: columns[name] for name in CLEANED.names}, schema=CLEANED)
    part = writer.write_table(index, table)
    return _Counted(table.num_rows, part, _counts(table, ("reason", "format")))


# --- texts: measured once -------------------------------------------------------------------------


def _measure_texts(lake: Lake, day: str, crawled: Dataset, policy: TextPolicy) -> Dataset:
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
        _subset(policy, SiteRules),
        policy.languages,
        policy.mask_personal_data,
    )
    way.send_texts(index, measured)
    return {"rows": measured.num_rows}


def _merge_range(writer: DatasetWriter, way: TextWay, index: int) -> Part:
    """Ray task: the texts of the images of one range of `sha256`."""
    return writer.write_table(index, occurrences.merge(way.receive_texts(index)))


# --- texts: decided from attributes ---------------------------------------------------------------


def _decide_texts(
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
        "funnel": _funnel("texts", _total(done, "reason")),
        "coverage": _coverage(done),
        "languages": _total(done, "lang"),
        "masked": sum(d.counts["masked"]["replacements"] for d in done),
    }
    return writer.commit([d.part for d in done], [measured], settings, metadata)


def _decide_texts_part(
    measured: Dataset,
    rules: TextRules,
    languages: LanguageRules,
    writer: DatasetWriter,
    index: int,
) -> _Counted:
    table = occurrences.decide(measured.read_part(index), rules, languages)
    part = writer.write_table(index, table)
    kept = table.filter(table["kept"])
    counts = _counts(kept, ("lang",)) | _counts(table, ("reason",)) | coverage.count(kept)
    counts["masked"] = {"replacements": pc.sum(table["masked"]).as_py() or 0}
    return _Counted(table.num_rows, part, counts)


def _coverage(done: list[_Counted]) -> dict[str, dict[str, int]]:
    """Of kept texts and their images: what the data is about and where it is from."""
    return {name: coverage.top(_total(done, name)) for name in coverage.NAMES}


# --- counting -------------------------------------------------------------------------------------


def _counts(table: pa.Table, columns: Iterable[str]) -> dict[str, dict[str, int]]:
    """How often each value of some columns occurs; null counts as `unknown`."""
    found = {}
    for name in columns:
        values = pc.value_counts(pc.fill_null(table[name], "unknown"))
        found[name] = {v["values"].as_py(): v["counts"].as_py() for v in values}
    return found


def _total(done: list[_Counted], column: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in done:
        total.update(part.counts[column])
    return dict(sorted(total.items()))


def _funnel(unit: str, reasons: dict[str, int]) -> dict[str, int]:
    """`{images: all, too_small: …, kept: …}`."""
    kept = reasons.get("ok", 0)
    rejected = {reason: n for reason, n in reasons.items() if reason != "ok"}
    return {unit: kept + sum(rejected.values()), **rejected, "kept": kept}


def _or_empty(writer: DatasetWriter, parts: Iterable[Part], schema: pa.Schema) -> list[Part]:
    """The parts, or one without rows: a dataset always has a schema to read."""
    return list(parts) or [writer.write_table(0, schema.empty_table())]
