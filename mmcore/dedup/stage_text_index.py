"""The index of texts across nights on the lake: found, repaired, extended by a day.

An index is a function of the index before it, the day's `texts` and `deduplicated`, and the texts
of the evaluation sets. Where an earlier day was run again or filled in, or texts are compared in
another way, the days after it are compared again, one by one, from what they have stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import runs, stage_history, stage_stored, stage_texts, texts
from mmcore.dedup.hashing import Hashes, positions
from mmcore.dedup.images import OK
from mmcore.dedup.index import INDEX_FILE, PartRef
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_parts import (
    KEYS_PER_PART,
    LEADERS_PER_PART,
    Night,
    Written,
    merged,
    write_part,
    write_run,
)
from mmcore.dedup.stage_shuffle import Route, Sorted, Source, shuffle
from mmcore.dedup.stage_texts import Found, Lots
from mmcore.dedup.text_index import NAME, State, TextHistory, band, count_rows, leader_rows
from mmcore.lake import Dataset, DatasetWriter, Lake


@dataclass(frozen=True)
class TextLimits:
    """When texts are one text, with how many each is compared at most, and under how many clusters
    a text may stand."""

    likeness: Likeness
    bucket_cap: int
    max_clusters: int


@dataclass(frozen=True)
class Compared:
    """What the texts of a day are compared with, and how. protected: keys of texts that neither
    they nor near-duplicates of them may be captions."""

    history: TextHistory
    protected: Dataset | None
    limits: TextLimits


# --- find it --------------------------------------------------------------------------------------


def before(lake: Lake, day: str, limits: TextLimits, protected: Dataset | None) -> Compared:
    """With the index of all days before `day`."""
    digests = stage_history.earlier_days(lake, day)
    found = stage_history.latest(
        lake, NAME, day, digests, opened, lambda index: index.state.compares_as(limits.likeness)
    )
    history = found or TextHistory(lake.storage)
    for missing in (d for d in digests if d not in history.state.days):
        history = opened(lake, extend(lake, Compared(history, protected, limits), missing))
    return Compared(history, protected, limits)


def opened(lake: Lake, dataset: Dataset) -> TextHistory:
    """An index that can be asked."""
    state = State.model_validate_json(dataset.read_file(INDEX_FILE))
    return TextHistory(lake.storage, state, stage_history.folders(lake, dataset, state), dataset)


# --- the texts of a day ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Spoken:
    """The captions of a day, sorted by the part of `deduplicated` they belong to, and their text
    clusters. banned: those under too many image clusters; added: under how many new image clusters
    each (id) stands. Scratch files of `said` and of `found` are still there."""

    said: Sorted
    found: Found
    banned: Hashes
    added: tuple[Indices, Indices]


def hear(
    night: Night, given: Dataset, route: Route, new: npt.NDArray[np.bool_], compared: Compared
) -> Spoken:
    """Read and compare the captions in `given` (`texts@DAY`) of the images in `route`.

    new: which clusters of the route are of this day and kept. `night` is that of the index; scratch
    files go to its folder.
    """
    storage, folder = night.writer.storage, f"{night.writer.folder}/scratch"
    source = Source(given, texts.COLUMNS, _captions, _text_clusters)
    said, noted = shuffle(source, route, storage, f"{folder}/said", "dedup texts")
    limits = compared.limits
    found = stage_texts.find(
        Lots(storage, f"{folder}/signed"),
        said,
        compared.protected,
        compared.history,
        limits.likeness,
        limits.bucket_cap,
    )
    hashes = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in noted)])
    where = np.concatenate([np.empty(0, np.int64), *(clusters for _, clusters in noted)])
    del noted
    return Spoken(said, found, *_standing(found, hashes, where, new, compared))


def _standing(
    found: Found,
    hashes: Hashes,
    where: Indices,
    new: npt.NDArray[np.bool_],
    compared: Compared,
) -> tuple[Hashes, tuple[Indices, Indices]]:
    """Text clusters that stand under too many image clusters, and ids and counts of new ones.

    Only image clusters that are new are added to the count of earlier days: a picture that is seen
    again every night with its caption counts once.
    """
    names = found.clusters.followers.clusters(hashes)
    keys, today = texts.standing(names, where)
    fresh = new[where]
    new_keys, new_counts = texts.standing(names[fresh], where[fresh])
    added = np.zeros(len(keys), np.int64)
    added[positions(keys, new_keys)] = new_counts
    at = positions(found.names, keys)
    ids = np.where(at >= 0, found.name_ids[at] if len(found.names) else -1, -1)
    by_id = np.argsort(ids, kind="stable")
    by_id = by_id[ids[by_id] >= 0]
    total = added.copy()
    total[by_id] += compared.history.counts(ids[by_id])
    banned = keys[np.maximum(today, total) > compared.limits.max_clusters]
    counted = by_id[added[by_id] > 0]
    return banned, (ids[counted], added[counted])


def _captions(rows: pa.Table) -> pa.Table:
    """The texts that may be captions."""
    wanted = pc.and_(rows["kept"], pc.is_in(rows["role"], pa.array(texts.CAPTION_ROLES)))
    return rows.filter(wanted)


def _text_clusters(rows: pa.Table, clusters: Indices) -> tuple[npt.NDArray[np.uint64], Indices]:
    """Distinct (hash of a text's key, cluster) among some captions."""
    hashes = texts.key_hashes(texts.text_key(rows["text"]))
    order = np.lexsort((clusters, hashes))
    hashes, clusters = hashes[order], clusters[order]
    first = np.concatenate([[True], (hashes[1:] != hashes[:-1]) | (clusters[1:] != clusters[:-1])])[
        : len(order)
    ]
    return hashes[first], clusters[first]


# --- extend it by a day ---------------------------------------------------------------------------


def start(lake: Lake, day: str) -> Night:
    """Begin to write `text_index@DAY`."""
    return Night(lake.writer(NAME, day, format="files"))


def extend(
    lake: Lake,
    compared: Compared,
    day: str,
    night: Night | None = None,
    spoken: Spoken | None = None,
) -> Dataset:
    """Write `text_index@DAY`: the history (of the days before) and the texts of DAY.

    spoken: the texts as they were compared (`hear`) while `night` began; without, they are compared
    again unless the index is there.
    """
    history, likeness = compared.history, compared.limits.likeness
    deduplicated, given = lake.dataset("deduplicated", day), lake.find("texts", day)
    possible = (history.dataset, deduplicated, given, compared.protected)
    parents = [ds for ds in possible if ds is not None]
    settings = {
        "words": likeness.words,
        "least": likeness.least,
        "cap": compared.limits.bucket_cap,
    }
    if spoken is None and (found := lake.reusable(NAME, day, settings, parents)) is not None:
        return found
    night = night or start(lake, day)
    if spoken is None and given is not None:
        spoken = hear(night, given, *_images(deduplicated), compared)
    new = _write_new(night, spoken, compared) if spoken else {}
    tables = {table: history.state.runs(table) for table in _tables(likeness)}
    state = State(
        ids=history.state.ids + (len(spoken.found.leads) if spoken else 0),
        days=history.state.days | {day: deduplicated.digest},
        tables=tables | history.state.extended(new),
        words=likeness.words,
        least=likeness.least,
    )
    folders = history.folders | {day: night.writer.folder}
    state = merged(night, replace(history, state=state, folders=folders), state)
    night.writer.storage.delete(f"{night.writer.folder}/scratch")
    return _commit(night, state, day, parents, settings)


def _commit(
    night: Night, state: State, day: str, parents: list[Dataset], settings: dict[str, Any]
) -> Dataset:
    night.keep({part.file for part in state.parts() if part.partition == day})
    data = state.model_dump_json(indent=1).encode()
    night.parts.append(night.writer.write_file(INDEX_FILE, data))
    metadata = {
        "clusters": state.ids,
        "texts": sum(p.rows for run in state.runs("seen") for p in run),
        "runs": {table: len(found) for table, found in state.tables.items()},
        "written_rows": sum(part.rows for part in night.parts),
    }
    return night.writer.commit(night.parts, parents, settings, metadata)


def _tables(likeness: Likeness) -> list[str]:
    bands = [band(number) for number in range(likeness.banding.bands)]
    return ["seen", *bands, "leaders", "counts"]


def _images(deduplicated: Dataset) -> tuple[Route, npt.NDArray[np.bool_]]:
    """The day's images, all to one part, and which clusters are new and kept. Of an earlier day's
    cluster no image is kept."""
    rows = stage_stored.decided(deduplicated)
    names, cluster = np.unique(rows.cluster, return_inverse=True)
    kept = np.zeros(len(names), np.bool_)
    kept[cluster[rows.reason == OK]] = True
    order = np.argsort(rows.short)
    return Route(
        rows.short[order], cluster[order].astype(np.int32), np.zeros(len(names), np.int32)
    ), kept


def _write_new(night: Night, spoken: Spoken, compared: Compared) -> dict[str, list[PartRef]]:
    """One run for each table."""
    found, first = spoken.found, compared.history.state.ids
    unseen = np.flatnonzero((found.ids >= 0) & (found.ranked.known < 0))
    seen = runs.sorted_run(found.ranked.hashes[unseen], found.ids[unseen])
    written = {"seen": write_run(night, "seen", runs.as_table(seen))}
    count = len(found.leads)
    likeness = compared.limits.likeness
    files = range(0, count, KEYS_PER_PART)
    items: list[_Bands | _Leaders] = [
        _Bands(number, [night.name(band(number)) for _ in files])
        for number in range(likeness.banding.bands if count else 0)
    ]
    starts = range(0, count, LEADERS_PER_PART)
    items += [
        _Leaders(night.name("leaders"), low, min(count, low + LEADERS_PER_PART)) for low in starts
    ]
    task = partial(_write_leaders, night.writer, found, likeness, first)
    done = map_parts(task, items, description="dedup text index", unit="rows")
    for item, one in zip(items, done, strict=True):
        table = band(item.number) if isinstance(item, _Bands) else "leaders"
        written[table] = [*written.get(table, []), *night.add(one.parts)]
    written["counts"] = write_run(night, "counts", count_rows(*spoken.added))
    return written


@dataclass(frozen=True)
class _Bands:
    """All keys of one band, to be written to these files."""

    number: int
    files: list[str]


@dataclass(frozen=True)
class _Leaders:
    """Leaders from the `low`th to before the `high`th new one."""

    file: str
    low: int
    high: int


@dataclass(frozen=True)
class _Files:
    rows: int
    parts: list[Written]


def _write_leaders(
    writer: DatasetWriter, found: Found, likeness: Likeness, first: int, item: _Bands | _Leaders
) -> _Files:
    """Ray task: the band keys of all new leaders, or the shingle sets of some."""
    if isinstance(item, _Leaders):
        leads = found.leads[item.low : item.high]
        sets = stage_texts.sets_of(found.lots, found.ranked, leads)
        ids = first + np.arange(item.low, item.high)
        rows = leader_rows(ids, found.ranked.hashes[leads], sets)
        return _Files(rows.num_rows, [write_part(writer, item.file, rows)])
    sizes = found.ranked.column(found.lots, likeness.banding.bands)[found.leads]
    keys = found.ranked.column(found.lots, item.number)[found.leads]
    # Without shingles a text is equal to another or is not like it.
    filled = np.flatnonzero(sizes)
    rows = runs.as_table(runs.sorted_run(keys[filled], first + filled))
    slices = [rows.slice(at * KEYS_PER_PART, KEYS_PER_PART) for at in range(len(item.files))]
    parts = [write_part(writer, *one) for one in zip(item.files, slices, strict=True)]
    return _Files(rows.num_rows, parts)
