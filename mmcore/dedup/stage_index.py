"""The index across nights on the lake: found, repaired, extended by a day.

An index is a function of the index before it, the day's `deduplicated` and `cleaned`, and the
takedown list. Where an earlier day was run again or filled in, the indexes after it are made again
from what those days have stored; nothing is compared again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup import bands, images, records, runs, stage_history, stage_stored, takedown
from mmcore.dedup.hashing import Hashes, positions, short_digests
from mmcore.dedup.history import BANDS, CLUSTERS, NAME, TABLES, History, State
from mmcore.dedup.images import Places
from mmcore.dedup.index import INDEX_FILE, PartRef
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_parts import (
    CLUSTERS_PER_PART,
    Night,
    Written,
    merged,
    without_ids,
    write_part,
    write_run,
)
from mmcore.dedup.takedown import BLOCKED
from mmcore.lake import Dataset, DatasetWriter, Lake

_LEADING = (images.OK, images.SEMANTIC)
_ACCEPTED = (*_LEADING, images.EXACT, images.NEAR, images.SEEN)


# --- find it --------------------------------------------------------------------------------------


def before(lake: Lake, day: str) -> History:
    """The index of all days before `day`."""
    digests = stage_history.earlier_days(lake, day)
    found = stage_history.latest(lake, NAME, day, digests, opened, lambda _: True)
    history = found or History(lake.storage)
    for missing in (d for d in digests if d not in history.state.days):
        history = opened(lake, extend(lake, history, missing))
    return history


def opened(lake: Lake, dataset: Dataset) -> History:
    """An index that can be asked."""
    state = State.model_validate_json(dataset.read_file(INDEX_FILE))
    return History(lake.storage, state, stage_history.folders(lake, dataset, state), dataset)


# --- extend it by a day ---------------------------------------------------------------------------


def extend(lake: Lake, history: History, day: str) -> Dataset:
    """Write `image_index@DAY`: `history` (of the days before) and what DAY has stored."""
    deduplicated, cleaned = lake.dataset("deduplicated", day), lake.dataset("cleaned", day)
    listed = lake.find(takedown.NAME)
    parents = [d for d in (history.dataset, deduplicated, cleaned, listed) if d is not None]
    found = lake.reusable(NAME, day, {}, parents)
    if found is not None:
        return found
    night = Night(lake.writer(NAME, day, format="files"))
    new = _new_rows(history, deduplicated, cleaned)
    state = history.state.model_copy(
        update={
            "ids": history.state.ids + len(new.leader_ids),
            "days": history.state.days | {day: deduplicated.digest},
            "tables": history.state.extended(_write_new(night, new, cleaned, day)),
        }
    )
    folders = history.folders | {day: night.writer.folder}
    state = merged(night, replace(history, state=state, folders=folders), state)
    state = _without_taken_down(night, replace(history, state=state, folders=folders), new, listed)
    data = state.model_dump_json(indent=1).encode()
    night.keep({part.file for part in state.parts() if part.partition == day})
    night.parts.append(night.writer.write_file(INDEX_FILE, data))
    metadata = {
        "clusters": sum(p.rows for run in state.runs("clusters") for p in run),
        "images": sum(p.rows for run in state.runs("seen") for p in run),
        "blocked": state.blocked.rows if state.blocked else 0,
        "runs": {table: len(state.runs(table)) for table in TABLES},
        "written_rows": sum(part.rows for part in night.parts),
    }
    return night.writer.commit(night.parts, parents, {}, metadata)


@dataclass(frozen=True)
class _New:
    """What a day adds, as parallel arrays over its accepted images or its new clusters."""

    seen: tuple[Hashes, Indices]
    pixels: tuple[Hashes, Indices]
    leader_hashes: Hashes
    leader_ids: Indices
    leader_part: Places
    leader_row: Places
    leader_split: npt.NDArray[np.int8]
    blocked: pa.Table
    blocked_ids: Indices


def _new_rows(history: History, deduplicated: Dataset, cleaned: Dataset) -> _New:
    facts, rows = stage_stored.placed(cleaned), stage_stored.decided(deduplicated)
    at = _find(facts.short, rows.short)  # where each row is in the order of `cleaned`
    there = at >= 0
    leads = there & np.isin(rows.reason, _LEADING)
    accepted = there & np.isin(rows.reason, _ACCEPTED)
    barred = there & (rows.reason == images.TAKEN_DOWN)
    leader = np.flatnonzero(leads)[np.argsort(at[leads], kind="stable")]
    leader_ids = history.state.ids + np.arange(len(leader))
    old = history.ids("seen", rows.cluster)
    own = _find(rows.short[leader], rows.cluster)
    ids = np.where(own >= 0, history.state.ids + own, old)
    accepted &= ids >= 0
    return _New(
        _unknown(history, "seen", rows.short[accepted], ids[accepted]),
        _unknown(history, "pixels", facts.pixels[at[accepted]], ids[accepted]),
        facts.hashes[at[leader]],
        leader_ids,
        facts.part[at[leader]],
        facts.row[at[leader]],
        rows.split[leader],
        pa.table(
            [rows.short[barred], facts.pixels[at[barred]], facts.hashes[at[barred]]],
            schema=BLOCKED,
        ),
        np.unique(old[barred & (old >= 0)]),
    )


def _find(values: Hashes, wanted: Hashes) -> Indices:
    """The position of each wanted value among distinct `values`, -1 where it is not there."""
    order = np.argsort(values, kind="stable")
    at = positions(values[order], wanted)
    return np.where(at >= 0, order[at] if len(order) else -1, -1)


def _unknown(history: History, table: str, keys: Hashes, ids: Indices) -> tuple[Hashes, Indices]:
    """Keys the history does not have, each once with its smallest id."""
    new = np.flatnonzero(history.ids(table, keys) < 0)
    new = new[np.lexsort((ids[new], keys[new]))]
    first = new[np.flatnonzero(np.diff(keys[new], prepend=~keys[new][:1]))]
    return keys[first], ids[first]


def _write_new(night: Night, new: _New, cleaned: Dataset, day: str) -> dict[str, list[PartRef]]:
    """One run for each table."""
    keyed = {"seen": runs.sorted_run(*new.seen), "pixels": runs.sorted_run(*new.pixels)}
    for name, band in zip(BANDS, bands.bands(0), strict=True):
        keyed[name] = bands.band_run(new.leader_hashes, new.leader_ids, band)
    written = {table: write_run(night, table, runs.as_table(run)) for table, run in keyed.items()}
    count = len(new.leader_ids)
    items = [
        _Leaders(
            night.name("clusters"),
            new.leader_ids[start : start + CLUSTERS_PER_PART],
            new.leader_part[start : start + CLUSTERS_PER_PART],
            new.leader_row[start : start + CLUSTERS_PER_PART],
            new.leader_split[start : start + CLUSTERS_PER_PART],
        )
        for start in range(0, count, CLUSTERS_PER_PART)
    ]
    done = map_parts(
        partial(_clusters_part, night.writer, cleaned, day),
        items,
        description="dedup index",
        unit="clusters",
    )
    written["clusters"] = night.add(done)
    return written


@dataclass(frozen=True)
class _Leaders:
    file: str
    ids: Indices
    part: Places
    row: Places
    split: npt.NDArray[np.int8]


def _clusters_part(writer: DatasetWriter, cleaned: Dataset, day: str, leaders: _Leaders) -> Written:
    """Ray task: what is known about some new clusters; they lie in a few parts of `cleaned`."""
    tables = []
    for part in np.unique(leaders.part).tolist():
        here = leaders.row[leaders.part == part]
        tables.append(cleaned.read_part(part, ["sha256", "thumb"]).take(pa.array(here)))
    rows = pa.concat_tables(tables).combine_chunks()
    columns = {
        "key": pa.array(leaders.ids.astype(np.uint64)),
        "cluster": rows["sha256"],
        "thumb": rows["thumb"],
        "split": records.split_names(leaders.split),
        "day": pa.array([day] * rows.num_rows, pa.string()),
    }
    return write_part(writer, leaders.file, pa.table(columns).cast(CLUSTERS))


# --- forget what was taken down -------------------------------------------------------------------


def _without_taken_down(night: Night, history: History, new: _New, listed: Dataset | None) -> State:
    """Remove taken down clusters from every table; their hashes stay, to block a return."""
    hashes = [history.blocked(), new.blocked]
    gone = new.blocked_ids
    if listed is not None:
        rows = listed.read()
        hashes.append(takedown.hashes_of(rows))
        keys = short_digests(rows["sha256"].drop_null())
        ids = history.ids("seen", keys)
        gone = np.union1d(gone, ids[ids >= 0])
    tables = history.state.tables
    if len(gone):
        tables = {
            table: [without_ids(night, history, table, run, gone) for run in table_runs]
            for table, table_runs in tables.items()
        }
        tables = {table: [run for run in found if run] for table, found in tables.items()}
    blocked = takedown.distinct(hashes)
    refs = night.add([write_part(night.writer, night.name("blocked"), blocked)])
    return history.state.model_copy(update={"tables": tables, "blocked": refs[0] if refs else None})
