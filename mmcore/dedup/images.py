"""Which cluster every image of a day belongs to, in a few numbers per image.

Ids below M are those of the clusters of earlier days (history.py). The image at position p of the
day's order, from best to worst, has the id M + p: a *cluster code* is the id of a known cluster, or
of the image that leads a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.dedup import clusters
from mmcore.dedup.hashing import Hashes, short_digests
from mmcore.dedup.runs import Indices

COLUMNS = ["sha256", "kept", "phash", "pixels", "width", "height"]

OK, EXACT, NEAR, SEEN, PROTECTED, TAKEN_DOWN, SEMANTIC = range(7)
REASONS = (
    "ok",
    "exact_duplicate",
    "near_duplicate",
    "seen_before",
    "protected",
    "taken_down",
    "semantic_duplicate",
)
"""What the codes above stand for."""

Places = npt.NDArray[np.int32]
Reasons = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Facts:
    """Of the images clean kept of some rows of `cleaned`, in their order: parallel arrays [n]."""

    short: Hashes
    """First 64 bits of sha256."""
    pixels: Hashes
    """First 64 bits of the digest of the pixels."""
    hashes: Hashes
    """Perceptual hashes."""
    area: Indices
    """Width times height."""

    @classmethod
    def of(cls, rows: pa.Table) -> Facts:
        """From rows of `cleaned` with COLUMNS."""
        rows = rows.filter(rows["kept"])
        area = pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))
        return cls(
            short_digests(rows["sha256"]),
            short_digests(rows["pixels"]),
            rows["phash"].to_numpy(),
            area.to_numpy(),
        )


@dataclass(frozen=True)
class Images:
    """The day's images that clean kept, from best to worst, as arrays [N]: 32 bytes each."""

    short: Hashes
    """First 64 bits of sha256."""
    pixels: Hashes
    """First 64 bits of the digest of the pixels."""
    hashes: Hashes
    """Perceptual hashes."""
    twin: Places
    """First position with the very same pixels."""
    place: Places
    """Number among the kept images in the order of `cleaned`: where its thumbnail is."""

    def __len__(self) -> int:
        return len(self.hashes)


@dataclass(frozen=True)
class Known:
    """What is known about some clusters of earlier days, as parallel arrays, ids ascending."""

    ids: Indices
    names: pa.Array
    split: Indices
    """Rank as in records.py."""
    day: pa.Array


@dataclass(frozen=True)
class Assigned:
    """Cluster code and reason (a code of REASONS) of every image [N]."""

    code: Indices
    reason: Reasons


def joined(parts: Sequence[Facts]) -> Facts:
    """Several lots of facts as one."""

    def column(name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
        return np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])

    short, pixels, hashes = (column(name, np.uint64) for name in ("short", "pixels", "hashes"))
    return Facts(short, pixels, hashes, column("area", np.int64))


def ranked(facts: Facts) -> Images:
    """The images from best to worst. facts: of all of them, in the order of `cleaned`."""
    order = clusters.rank_order(facts.area, facts.short)
    pixels = facts.pixels[order]
    return Images(
        short=facts.short[order],
        pixels=pixels,
        hashes=facts.hashes[order],
        twin=clusters.first_of_each(pixels).astype(np.int32),
        place=order.astype(np.int32),
    )


def seen_codes(images: Images, by_bytes: Indices, by_pixels: Indices) -> Indices:
    """Cluster id of every image whose bytes or pixels were there on an earlier day, -1 for others.

    by_bytes, by_pixels: the ids [N] that the index knows for them, or -1. One image's past is the
    past of all images with its pixels; the best ranked one speaks.
    """
    code = np.where(by_bytes >= 0, by_bytes, by_pixels)
    of_pixels = np.full(len(code), -1, np.int64)
    known = np.flatnonzero(code >= 0)[::-1]
    of_pixels[images.twin[known]] = code[known]  # of equal places the last one stays: the best
    return np.where(code >= 0, code, of_pixels[images.twin])


def queries(images: Images, seen: Indices) -> Indices:
    """Image positions that are compared: one for equal pixels, none that is known already."""
    first = images.twin == np.arange(len(images))
    return np.flatnonzero(first & (seen < 0))


def assign(
    images: Images, known: int, seen: Indices, asked: Indices, leader: Indices, barred: Barred
) -> Assigned:
    """Codes and reasons.

    known: how many ids earlier days have. seen: from `seen_codes`. asked: from `queries`. leader:
    the code [Q] of each query.
    """
    n = len(images)
    of_image = np.full(n, -1, np.int64)
    of_image[asked] = leader
    code = np.where(seen >= 0, seen, of_image[images.twin])
    leads = code == known + np.arange(n)
    same_pixels = images.twin == images.twin[np.maximum(code - known, 0)]
    conditions = [
        _spread(code, barred.taken_down),
        _spread(code, barred.protected),
        code < known,
        leads,
        same_pixels,
    ]
    reasons = [TAKEN_DOWN, PROTECTED, SEEN, OK, EXACT]
    return Assigned(code, np.select(conditions, reasons, NEAR).astype(np.int8))


@dataclass(frozen=True)
class Barred:
    """Images that must not be used, whatever they are a copy of: bool [N] each."""

    taken_down: npt.NDArray[np.bool_]
    protected: npt.NDArray[np.bool_]


def _spread(code: Indices, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Marked images and all other images of their clusters."""
    return np.isin(code, code[marked])
