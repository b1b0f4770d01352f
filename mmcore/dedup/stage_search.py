"""Near-duplicates of a day, on Ray: candidates by band, verified on thumbnails, then led by stars.

A day is searched in blocks, from its best images to its worst. An image of a block is compared
with the clusters of earlier days, the leaders of earlier blocks and its own block, so followers are
never compared again, and the driver holds the edges of one block only. The clusters do not depend
on the size of a block: an edge to a follower means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from mmcore.cluster import map_parts
from mmcore.dedup import bands, clusters, runs, verify
from mmcore.dedup.bands import Band
from mmcore.dedup.history import BANDS, History
from mmcore.dedup.images import Images, Places
from mmcore.dedup.runs import Indices, Run
from mmcore.dedup.stage_images import Thumbnails
from mmcore.dedup.verify import Thumbs

_BLOCK = 200_000  # queries; bounds the edges the driver holds at once
QUERIES_PER_TASK = 25_000
PAIRS_AT_ONCE = 10_000  # whose thumbnails are in memory together


@dataclass(frozen=True)
class Limits:
    """What counts as one picture, and how much of a crowded bucket is looked at."""

    max_hamming: int
    max_mean: float
    max_local: float
    bucket_cap: int


@dataclass(frozen=True)
class Found:
    """The cluster code of each query [Q], and the counts of the search."""

    leader: Indices
    counts: dict[str, int]


@dataclass(frozen=True)
class _Searched:
    """What a block is compared with, besides itself; ids from `known` on are of the day."""

    history: History
    known: int
    thumbnails: Thumbnails
    place: Places
    today: list[list[Run]]
    """Of each band: the leaders of earlier blocks, and the block."""
    limits: Limits


@dataclass(frozen=True)
class _Asked:
    """Some queries of a block: their hashes and ids, and where the block's slice starts."""

    band: Band
    start: int
    hashes: npt.NDArray[np.uint64]
    own: Indices


@dataclass(frozen=True)
class _Edges:
    """Verified pairs: query (number within the block), id found, and how far apart they are."""

    query: Indices
    found: Indices
    distance: Indices
    candidates: int
    capped: int
    rows: int


def search(
    history: History,
    day: Images,
    asked: Indices,
    thumbnails: Thumbnails,
    limits: Limits,
    block: int = _BLOCK,
) -> Found:
    """The cluster of every asked image of the day (positions from best to worst)."""
    known = history.state.ids
    leader = np.empty(len(asked), np.int64)
    cut = [band for band in bands.bands(limits.max_hamming) if band.radius >= 0]
    nothing = day.hashes[:0], asked[:0]
    led = [bands.band_run(*nothing, band) for band in cut]
    counts: Counter[str] = Counter()
    for start in range(0, len(asked), block):
        positions = asked[start : start + block]
        hashes, own = day.hashes[positions], known + positions
        runs_ = [[old, bands.band_run(hashes, own, b)] for old, b in zip(led, cut, strict=True)]
        searched = _Searched(history, known, thumbnails, day.place, runs_, limits)
        edges = _compared(searched, cut, hashes, own, counts)
        leader[start : start + block] = found = _led(own, edges)
        leads = found == own
        led = [
            runs.followed(old, bands.band_run(hashes[leads], own[leads], band))
            for old, band in zip(led, cut, strict=True)
        ]
    names = ("candidate_pairs", "verified_pairs", "capped_buckets")
    return Found(leader, {"compared": len(asked), **{name: counts[name] for name in names}})


def _compared(
    searched: _Searched,
    cut: list[Band],
    hashes: npt.NDArray[np.uint64],
    own: Indices,
    counts: Counter[str],
) -> list[_Edges]:
    items = [
        _Asked(
            band,
            start,
            hashes[start : start + QUERIES_PER_TASK],
            own[start : start + QUERIES_PER_TASK],
        )
        for band in cut
        for start in range(0, len(own), QUERIES_PER_TASK)
    ]
    done = map_parts(partial(_edges, searched), items, description="dedup", unit="comparisons")
    for edges in done:
        counts["candidate_pairs"] += edges.candidates
        counts["verified_pairs"] += len(edges.query)
        counts["capped_buckets"] += edges.capped
    return done


def _led(own: Indices, edges: list[_Edges]) -> Indices:
    """The code [B] each query of a block belongs to."""
    query, found, distance = (
        np.concatenate([np.empty(0, np.int64), *(getattr(e, name) for e in edges)])
        for name in ("query", "found", "distance")
    )
    # Positions within the block; what is before it leads already and gets a negative one.
    earlier = np.where(found < own[0], found - own[0], np.searchsorted(own, found))
    leader = clusters.lead(len(own), query, earlier, distance)
    return np.where(leader < 0, leader + own[0], own[np.maximum(leader, 0)])


def _edges(searched: _Searched, asked: _Asked) -> _Edges:
    """Ray task: candidates of one band for some queries, verified on their thumbnails."""
    limits, band = searched.limits, asked.band
    old = (runs.as_run(part) for part in searched.history.parts(BANDS[band.number]))
    pairs = bands.candidates(
        [*old, *searched.today[band.number]],
        asked.hashes,
        asked.own,
        band,
        limits.max_hamming,
        limits.bucket_cap,
    )
    good, local = [np.empty(0, np.bool_)], [np.empty(0, np.float32)]
    for left, right in _thumb_pairs(searched, asked.own[pairs.query], pairs.found):
        same, difference = verify.same_picture(left, right, limits.max_mean, limits.max_local)
        good.append(same)
        local.append(difference)
    same = np.concatenate(good)
    # Nearest by hash, then by picture; in sixteenths, so that rounding of floats decides nothing.
    distance = pairs.bits * 4096 + np.rint(np.concatenate(local) * 16).astype(np.int64)
    n = len(same)
    return _Edges(
        pairs.query[same] + asked.start, pairs.found[same], distance[same], n, pairs.capped, n
    )


def _thumb_pairs(
    searched: _Searched, left: Indices, right: Indices
) -> Iterator[tuple[Thumbs, Thumbs]]:
    """Thumbnails of pairs of ids, a bounded number at a time."""
    for start in range(0, len(left), PAIRS_AT_ONCE):
        pairs = np.stack([ids[start : start + PAIRS_AT_ONCE] for ids in (left, right)])
        ids, where = np.unique(pairs, return_inverse=True)
        old = int(np.searchsorted(ids, searched.known))
        thumbs = np.empty((len(ids), verify.EDGE, verify.EDGE, 3), np.uint8)
        thumbs[:old] = searched.history.thumbs(ids[:old])
        places = searched.place[ids[old:] - searched.known]
        thumbs[old:] = searched.thumbnails.any_order(places)
        where = where.reshape(2, -1)
        yield thumbs[where[0]], thumbs[where[1]]
