"""Which images of a day must not be used, on Ray: taken down, or of an evaluation set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup import bands, verify
from mmcore.dedup.hashing import Hashes, short_digests
from mmcore.dedup.history import thumbs_of
from mmcore.dedup.images import Barred, Images, Places
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_images import Thumbnails
from mmcore.dedup.stage_search import PAIRS_AT_ONCE, QUERIES_PER_TASK, Limits
from mmcore.dedup.stage_shuffle import groups
from mmcore.dedup.takedown import Blocked, shown_at
from mmcore.lake import Dataset

_ROWS_PER_TASK = 20_000


def barred(
    day: Images,
    blocked: Blocked,
    crawled: Dataset,
    protected: Dataset | None,
    thumbnails: Thumbnails,
    limits: Limits,
) -> Barred:
    """Images of the day that were taken down or are of an evaluation set, or near one of those.

    protected: signatures of the evaluation sets (`protected_images`).
    """
    taken_down = blocked.exactly(day, _shown(crawled, blocked.urls))
    taken_down |= near_listed(day, [Listed(blocked.hashes)], thumbnails, limits)
    given, known = [], np.zeros(len(day), np.bool_)
    if protected is not None:
        for number, part in enumerate(protected.iter_parts(["sha256", "pixels", "phash"])):
            known |= np.isin(day.short, short_digests(part["sha256"]))
            known |= np.isin(day.pixels, short_digests(part["pixels"]))
            given.append(Listed(part["phash"].to_numpy(), protected, number))
    known |= near_listed(day, given, thumbnails, limits)
    return Barred(taken_down, known)


def _shown(crawled: Dataset, urls: pa.Array) -> Hashes:
    """Short digests of the images that were found at one of the URLs."""
    items = groups(crawled, _ROWS_PER_TASK) if len(urls) else []
    task = partial(_shown_in, crawled, urls)
    done = map_parts(task, items, description="dedup taken down", unit="parts")
    return np.concatenate([np.empty(0, np.uint64), *done])


def _shown_in(crawled: Dataset, urls: pa.Array, parts: list[int]) -> Hashes:
    """Ray task: those of a few parts."""
    columns = ["sha256", "image_url", "page_url"]
    return short_digests(shown_at((crawled.read_part(part, columns) for part in parts), urls))


@dataclass(frozen=True)
class Listed:
    """Signatures to stay clear of: uint64 [n] hashes and, where a look-alike is to be told from a
    copy, the part of a dataset that has `thumb` of each."""

    hashes: npt.NDArray[np.uint64]
    dataset: Dataset | None = None
    part: int = 0


def near_listed(
    day: Images, listed: list[Listed], thumbnails: Thumbnails, limits: Limits
) -> npt.NDArray[np.bool_]:
    """Which images of the day are near-duplicates of a listed one: bool [N]."""
    near = np.zeros(len(day), np.bool_)
    listed = [one for one in listed if len(one.hashes)]
    starts = range(0, len(day), QUERIES_PER_TASK) if listed else []
    slices = [
        (
            day.hashes[start : start + QUERIES_PER_TASK],
            day.place[start : start + QUERIES_PER_TASK],
        )
        for start in starts
    ]
    task = partial(_near_listed, listed, thumbnails, limits)
    done = map_parts(task, slices, description="dedup barred", unit="parts")
    for start, found in zip(starts, done, strict=True):
        near[start + found] = True
    return near


def _near_listed(
    listed: list[Listed],
    thumbnails: Thumbnails,
    limits: Limits,
    item: tuple[npt.NDArray[np.uint64], Places],
) -> Indices:
    """Ray task: positions in a slice of the day of those near a listed one."""
    hashes, place = item
    found = [np.empty(0, np.int64)]
    for one in listed:
        above = np.full(len(hashes), len(one.hashes))  # every listed one comes before any image
        thumbs = None
        if one.dataset is not None:
            column = one.dataset.read_part(one.part, ["thumb"])["thumb"]
            thumbs = thumbs_of(column.combine_chunks())
        for band in bands.bands(limits.max_hamming):
            run = [bands.band_run(one.hashes, np.arange(len(one.hashes)), band)]
            pairs = bands.candidates(
                run, hashes, above, band, limits.max_hamming, limits.bucket_cap
            )
            if thumbs is None:
                found.append(pairs.query)
                continue
            for start in range(0, len(pairs.query), PAIRS_AT_ONCE):
                query = pairs.query[start : start + PAIRS_AT_ONCE]
                other = thumbs[pairs.found[start : start + PAIRS_AT_ONCE]]
                mine = thumbnails.any_order(place[query])
                same, _ = verify.same_picture(mine, other, limits.max_mean, limits.max_local)
                found.append(query[same])
    return np.unique(np.concatenate(found))
