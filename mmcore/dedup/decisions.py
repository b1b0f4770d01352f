"""What is decided about the images of a day, in a few bytes each, and which part has whose rows.

The result lies by cluster name and key. Both are hex digests, so their first 64 bits put them in
order here; tasks, which have the names, write them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmcore.dedup.hashing import Hashes
from mmcore.dedup.history import History
from mmcore.dedup.images import OK, REASONS, Assigned, Images, Reasons
from mmcore.dedup.runs import Indices

_Int32 = npt.NDArray[np.int32]
_Int8 = npt.NDArray[np.int8]
_Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """Of N images and C clusters, these numbered in the order of their names."""

    keys: Hashes
    """First 64 bits of sha256 [N], sorted."""
    cluster: _Int32
    """[N]"""
    reason: Reasons
    """[N]"""
    leads: _Bool
    """[N]: which images name a new cluster."""
    ids: Indices
    """Of clusters of earlier days [C], -1 for new ones."""
    split: _Int8
    """Rank (records.py) that earlier days know for a cluster [C]."""
    part: _Int32
    """Part of the result that has the rows of a cluster [C]."""

    @property
    def kept(self) -> _Bool:
        """Of each cluster whether an image of it is kept [C]. Of a known cluster none is."""
        found = np.zeros(len(self.ids), np.bool_)
        found[self.cluster[self.reason == OK]] = True
        return found

    @property
    def funnel(self) -> dict[str, int]:
        """How many images, how many for each reason, by name, and how many are kept."""
        counts = np.bincount(self.reason, minlength=len(REASONS)).tolist()
        rejected = sorted((REASONS[c], n) for c, n in enumerate(counts) if n and c != OK)
        return {"images": len(self.keys), **dict(rejected), "kept": counts[OK]}


def decide(day: Images, assigned: Assigned, history: History, rows_per_part: int) -> Decisions:
    """Number the clusters of the day and share them out to parts of about `rows_per_part` rows."""
    known, code = history.state.ids, assigned.code
    leads = code == known + np.arange(len(code))
    old = np.unique(code[code < known])
    number = np.searchsorted(old, code).astype(np.int32)
    new = code >= known
    number[new] = len(old) - 1 + np.cumsum(leads, dtype=np.int32)[code[new] - known]
    names, splits = history.names(old)
    names = np.concatenate([names, day.short[leads]])
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    cluster = rank[number]
    unseen = np.full(len(order) - len(old), -1)
    by_key = np.argsort(day.short)
    return Decisions(
        day.short[by_key],
        cluster[by_key],
        assigned.reason[by_key],
        leads[by_key],
        np.concatenate([old, unseen])[order],
        np.concatenate([splits, unseen])[order].astype(np.int8),
        parts_of(np.bincount(cluster, minlength=len(order)), rows_per_part),
    )


def parts_of(sizes: Indices, rows_per_part: int) -> _Int32:
    """The part of each cluster [C], of parts of about equal size that hold whole clusters."""
    stops = np.cumsum(sizes)
    starts = stops - sizes
    wanted = np.arange(rows_per_part, int(sizes.sum()), rows_per_part)
    cuts = np.unique(np.searchsorted(starts, wanted, "right") - 1) if len(wanted) else wanted
    cuts = cuts[cuts > 0]  # numbers of the clusters that begin a part, but for the first
    return np.searchsorted(cuts, np.arange(len(sizes)), "right").astype(np.int32)
