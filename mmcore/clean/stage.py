"""The clean stage: `raw` to `measured`, `normalized` and `cleaned`, `crawled` to `measured_texts`
and `texts`.

Each dataset depends on its own settings only. A threshold changes `cleaned` or `texts`; images are
decoded again only when a setting of `PixelPolicy` or the raw images change, and texts are measured
again only when one of `TextPolicy` or the crawl changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from mmcore.blocklist import read_blocklist
from mmcore.clean.detect import require_detector
from mmcore.clean.image_coverage import coverage
from mmcore.clean.language import LanguageRules, known_languages
from mmcore.clean.measure import MEASURED, NORMALIZED, Measure, lost
from mmcore.clean.placeholders import URLS, many_urls, repeated, with_urls
from mmcore.clean.policy import BlocklistPolicy, PixelPolicy
from mmcore.clean.rules import ImageRules, TextRules, image_reasons
from mmcore.clean.sandbox import Limits, Sandbox, chunks
from mmcore.clean.stage_counts import Counted, counts_of, funnel, total
from mmcore.clean.stage_texts import TextPolicy, decide_texts, measure_texts
from mmcore.clean.svg import require_svg
from mmcore.cluster import map_parts
from mmcore.errors import UserError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part, erase_in_part, publish_erased

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


class Config(LanguageRules, TextPolicy, TextRules, ImageRules, BlocklistPolicy, PixelPolicy):
    """How images are stored, and which images and texts are kept."""


def run(lake: Lake, day: str, config: Config) -> Dataset:
    """Clean the images and texts of a day; returns `cleaned@DAY`. Skips what is up to date."""
    _check_languages(config)
    _check_extras(config)
    raw, crawled = lake.dataset("raw", day), lake.dataset("crawled", day)
    measured = _measure(lake, day, raw, config)
    texts = measure_texts(lake, day, crawled, _subset(config, TextPolicy))
    decide_texts(lake, day, texts, _subset(config, TextRules), _subset(config, LanguageRules))
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


def _subset(config: BaseModel, model: type[M]) -> M:
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
            "funnel": funnel("images", total(done, "reason")),
            "formats": total(done, "format"),
            "coverage": {name: total(done, name) for name in coverage(CLEANED.empty_table())},
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
) -> Counted:
    facts = with_urls(measured.read_part(index), urls)
    reasons = image_reasons(facts, rules)
    columns = {"kept": pc.equal(reasons, "ok"), "reason": reasons}
    columns |= {name: facts[name] for name in ("sha256", *_FACTS, "urls")}
    table = pa.table({name: columns[name] for name in CLEANED.names}, schema=CLEANED)
    part = writer.write_table(index, table)
    kept = coverage(table.filter(table["kept"]))
    return Counted(table.num_rows, part, kept | counts_of(table, ("reason", "format")))


def _or_empty(writer: DatasetWriter, parts: Iterable[Part], schema: pa.Schema) -> list[Part]:
    """The parts, or one without rows: a dataset always has a schema to read."""
    return list(parts) or [writer.write_table(0, schema.empty_table())]
