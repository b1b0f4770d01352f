"""The clean stage: `raw` and `crawled` to `measured`, `normalized`, `cleaned` and `texts`.

Each dataset depends on its own settings only. A threshold changes `cleaned` or `texts`; images are
decoded again only when a setting of `PixelPolicy` or the raw images change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from mmcore.blocklist import read_blocklist
from mmcore.clean import occurrences
from mmcore.clean.coverage import coverage
from mmcore.clean.detect import require_detector
from mmcore.clean.language import LanguageRules, known_languages
from mmcore.clean.measure import MEASURED, NORMALIZED, Measure, lost
from mmcore.clean.placeholders import URLS, many_urls, repeated, with_urls
from mmcore.clean.policy import BlocklistPolicy, PixelPolicy
from mmcore.clean.rules import ImageRules, TextRules, image_reasons
from mmcore.clean.sandbox import Limits, Sandbox, chunks
from mmcore.clean.svg import require_svg
from mmcore.cluster import map_parts
from mmcore.errors import UserError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part, erase_in_part, publish_erased

_ROWS_PER_TEXT_TASK = 20_000  # rows of `crawled`; each has about ten texts
_FACTS = [name for name in MEASURED.names if name not in ("sha256", "outcome")]
CLEANED = pa.schema(
    [
        MEASURED.field("sha256"),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        *(MEASURED.field(name) for name in _FACTS),
        ("urls", pa.int64()),
    ]
)
_CHUNK_ROWS, _CHUNK_BYTES = 64, 32 << 20  # handed to the process that decodes
_CLOCK = 10  # times the CPU seconds: a machine may be busy

M = TypeVar("M", bound=BaseModel)


class Config(LanguageRules, TextRules, ImageRules, BlocklistPolicy, PixelPolicy):
    """How images are stored, and which images and texts are kept."""

    mask_personal_data: bool = Field(
        default=True,
        description="Replace e-mail addresses, phone, card and bank account numbers and IP "
        "addresses in texts by <EMAIL>, <PHONE>, …",
    )


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Clean the images and texts of a day; returns `cleaned@DAY`. Skips what is up to date."""
    _check_languages(config)
    _check_extras(config)
    raw, crawled = lake.dataset("raw", day), lake.dataset("crawled", day)
    measured = _measure(lake, day, raw, config)
    _texts(lake, day, crawled, config)
    return _decide(lake, day, measured, _subset(config, ImageRules))


def _check_extras(config: Config) -> None:
    if config.svg:
        require_svg()
    if config.finds_objects:
        require_detector()


def _check_languages(config: Config) -> None:
    if config.languages == Config().languages or config.languages is None:
        return
    unknown = sorted(set(config.languages) - known_languages())
    if unknown:
        raise UserError(
            f"clean.languages has {', '.join(unknown)}, which the classifier does not know: "
            f"use some of {', '.join(sorted(known_languages()))}."
        )


def _subset(config: Config, model: type[M]) -> M:
    """The settings that one of the parent models holds."""
    return model(**config.model_dump(include=set(model.model_fields)))


# --- images: decoded once -------------------------------------------------------------------------


@dataclass(frozen=True)
class _MeasuredPart:
    rows: int
    measured: Part
    normalized: Part
    listed: list[str]
    """Images of the blocklist whose bytes `raw` has."""


def _measure(lake: Lake, day: str, raw: Dataset, config: Config) -> Dataset:
    """`measured@DAY` and `normalized@DAY`, each with one part per part of `raw@DAY`."""
    blocked = read_blocklist(config.blocklist)
    work = Measure(_subset(config, PixelPolicy), blocked, config.blocklist_hamming)
    settings = work.policy.model_dump(mode="json")
    settings["blocklist"] = [blocked.digest, config.blocklist_hamming]
    made = [lake.reusable(name, day, settings, [raw]) for name in ("measured", "normalized")]
    if all(made):
        return lake.dataset("measured", day)
    measured, normalized = lake.writer("measured", day), lake.writer("normalized", day)
    task = partial(_measure_part, raw, work, measured, normalized)
    items = list(range(len(raw.parts)))
    done = map_parts(task, items, description="clean", unit="images")
    listed = sorted(key for part in done for key in part.listed)
    raw = _erase(lake, raw, listed) if listed else raw
    images = sum(part.normalized.rows for part in done)
    metadata = {"funnel": {"images": raw.rows, "decoded": images}}
    parts = _or_empty(normalized, (part.normalized for part in done), NORMALIZED)
    normalized.commit(parts, [raw], settings, metadata)
    parts = _or_empty(measured, (part.measured for part in done), MEASURED)
    dataset = measured.commit(parts, [raw], settings, metadata)
    if listed:  # what earlier attempts stored of them
        for name in ("normalized", "measured"):
            lake.sweep(name, day)
    return dataset


def _measure_part(
    raw: Dataset,
    work: Measure,
    measured: DatasetWriter,
    normalized: DatasetWriter,
    index: int,
) -> _MeasuredPart:
    """Ray task: decode one part of `raw`, in a process of its own, and write what was measured and
    what is stored."""
    images = raw.read_part(index, ["sha256", "image", "bytes", "url"])
    sandbox = _sandbox(work)
    pieces = [
        tables
        for chunk in chunks(images, "bytes", _CHUNK_ROWS, _CHUNK_BYTES)
        for tables in sandbox.map(chunk, lost)
    ]
    facts = pa.concat_tables([MEASURED.empty_table(), *(piece[0] for piece in pieces)])
    stored = pa.concat_tables([NORMALIZED.empty_table(), *(piece[1] for piece in pieces)])
    listed = pc.and_(pc.equal(facts["outcome"], "blocklisted"), images["image"].is_valid())
    return _MeasuredPart(
        images.num_rows,
        measured.write_table(index, facts),
        normalized.write_table(index, stored),
        facts["sha256"].filter(listed).to_pylist(),
    )


@lru_cache(maxsize=1)
def _sandbox(work: Measure) -> Sandbox:
    """The process that decodes, kept from one part to the next in a Ray worker."""
    seconds = work.policy.decode_seconds
    return Sandbox(work, Limits(seconds, seconds * _CLOCK, work.policy.decode_mb))


def _erase(lake: Lake, raw: Dataset, listed: list[str]) -> Dataset:
    """`raw` without the bytes of these images; what held them is deleted."""
    writer = lake.writer("raw", raw.manifest.partition)
    task = partial(_erase_part, raw, writer, listed)
    items = list(range(len(raw.parts)))
    return publish_erased(raw, writer, map_parts(task, items, description="erase", unit="parts"))


def _erase_part(raw: Dataset, writer: DatasetWriter, listed: list[str], index: int) -> Part:
    return erase_in_part(raw, writer, index, listed, "image")


# --- decisions: from attributes alone -------------------------------------------------------------


@dataclass(frozen=True)
class _Counted:
    rows: int
    part: Part
    counts: dict[str, dict[str, int]]


def _decide(lake: Lake, day: str, measured: Dataset, rules: ImageRules) -> Dataset:
    """`cleaned@DAY` from attributes alone."""
    settings = rules.model_dump(mode="json")
    outcomes = lake.find("outcomes", day)
    parents = [measured] + ([outcomes] if outcomes else [])
    found = lake.reusable("cleaned", day, settings, parents)
    if found is not None:
        return found
    writer = lake.writer("cleaned", day)
    task = partial(_decide_part, measured, rules, writer, _urls(outcomes))
    done = map_parts(task, list(range(len(measured.parts))), description="rules", unit="images")
    dataset = writer.commit(
        [d.part for d in done],
        parents,
        settings,
        {
            "funnel": _funnel("images", _total(done, "reason")),
            "formats": _total(done, "format"),
            "coverage": {name: _total(done, name) for name in coverage(CLEANED.empty_table())},
        },
    )
    if "blocklisted" in dataset.metadata["funnel"]:
        lake.sweep("cleaned", day)  # an earlier attempt may have a thumbnail
    return dataset


def _urls(outcomes: Dataset | None) -> pa.Table:
    """URLS: the files that many URLs gave, which are few; not the images, so it is small."""
    if outcomes is None:
        return URLS.empty_table()
    task, items = partial(_urls_part, outcomes), list(range(len(outcomes.parts)))
    return many_urls(map_parts(task, items, description="placeholders", unit="URLs"))


def _urls_part(outcomes: Dataset, index: int) -> pa.Table:
    return repeated(outcomes.read_part(index, ["kind", "reason", "sha256"]))


def _decide_part(
    measured: Dataset, rules: ImageRules, writer: DatasetWriter, urls: pa.Table, index: int
) -> _Counted:
    facts = with_urls(measured.read_part(index), urls)
    reasons = image_reasons(facts, rules)
    columns = {"kept": pc.equal(reasons, "ok"), "reason": reasons}
    columns |= {name: facts[name] for name in ("sha256", *_FACTS, "urls")}
    table = pa.table({name: columns[name] for name in CLEANED.names}, schema=CLEANED)
    part = writer.write_table(index, table)
    kept = coverage(table.filter(table["kept"]))
    return _Counted(table.num_rows, part, kept | _counts(table, ("reason", "format")))


# --- texts ----------------------------------------------------------------------------------------


def _texts(lake: Lake, day: str, crawled: Dataset, config: Config) -> Dataset:
    """`texts@DAY`, in parts by ranges of `sha256`."""
    wanted = {*TextRules.model_fields, *LanguageRules.model_fields, "mask_personal_data"}
    settings = config.model_dump(mode="json", include=wanted)
    found = lake.reusable("texts", day, settings, [crawled])
    if found is not None:
        return found
    writer = lake.writer("texts", day)
    tasks = max(1, -(-crawled.rows // _ROWS_PER_TEXT_TASK))
    task = partial(_text_part, crawled, config, writer, tasks)
    done = map_parts(task, list(range(tasks)), description="clean texts", unit="texts")
    metadata = {
        "funnel": _funnel("texts", _total(done, "reason")),
        "languages": _total(done, "lang"),
        "masked": sum(d.counts["masked"]["replacements"] for d in done),
    }
    return writer.commit([d.part for d in done], [crawled], settings, metadata)


def _text_part(
    crawled: Dataset, config: Config, writer: DatasetWriter, tasks: int, index: int
) -> _Counted:
    """Ray task: the texts of the images whose `sha256` is in this task's range.

    An image stands on pages of many parts, so every task reads the text columns of all parts and
    keeps its share: nothing is shuffled, and memory is bounded by the share.
    """
    columns = [*occurrences.COLUMNS, *occurrences.TEXT_COLUMNS]
    shares = [_share(part, index, tasks) for part in crawled.iter_parts(columns)]
    table = occurrences.TEXTS.empty_table()
    if shares:
        rows = occurrences.unfold(pa.concat_tables(shares))
        rules, languages = _subset(config, TextRules), _subset(config, LanguageRules)
        table = occurrences.clean(rows, rules, languages, config.mask_personal_data)
    part = writer.write_table(index, table)
    counts = _counts(table.filter(table["kept"]), ("lang",)) | _counts(table, ("reason",))
    counts["masked"] = {"replacements": pc.sum(table["masked"]).as_py() or 0}
    return _Counted(table.num_rows, part, counts)


def _share(part: pa.Table, index: int, tasks: int) -> pa.Table:
    """Rows whose `sha256` is in range `index` of `tasks` equal ranges."""
    lower, upper = (f"{-(-0x10000 * i // tasks):04x}" for i in (index, index + 1))
    inside = pc.greater_equal(part["sha256"], lower)
    if index + 1 < tasks:
        inside = pc.and_(inside, pc.less(part["sha256"], upper))
    return part.filter(inside)


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
