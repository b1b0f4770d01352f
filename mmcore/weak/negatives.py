"""What is not in a picture: hard negatives that keep "yes" from being the answer to everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.draws import draw
from mmcore.weak.lexicon import groups, implied

_TRIES = 64
_ROUNDS, _DAMPING = 8, 0.7
_TINY = 1e-12
_ROWS = 1024  # of the matrix of values that may be drawn at a time


def group_of(key: str) -> str:
    """Words that may name the same thing: an image of a "boy" may show a "person"."""
    last = key.rpartition(" ")[2]
    group = groups().get(last, last)
    return last if group == "shape" else group  # a circle is never a square


class Mentions:
    """Which groups (`group_of`) the texts of each image name."""

    def __init__(self, image: NDArray[np.int64], group: NDArray[np.object_], images: int) -> None:
        """image, group: one entry per mention, in any order, repeats allowed."""
        self._image, self._group, self._images = image, pa.array(group, pa.string()), images

    def matrix(self, groups: list[str]) -> NDArray[np.bool_]:
        """Whether each image names each group: bool [images, len(groups)]."""
        listed = list(dict.fromkeys([*groups, *implied()]))
        column = pc.index_in(self._group, pa.array(listed, pa.string()))
        known = column.is_valid().to_numpy(zero_copy_only=False)
        out = np.zeros((self._images, len(listed)), bool)
        out[self._image[known], column.drop_null().to_numpy()] = True
        for group, others in implied().items():
            for other in set(others).intersection(groups):
                out[:, listed.index(other)] |= out[:, listed.index(group)]
        return out[:, : len(groups)]


@dataclass(frozen=True)
class Pools:
    """Values to draw from, for each key its own, as often as the corpus has them there.

    place: key -> its number j; values: object [n]; edges: float64 [n], where those of key j are
    j + the cumulative share of its values.
    """

    place: dict[str, int]
    values: NDArray[np.object_]
    edges: NDArray[np.float64]

    @classmethod
    def of(cls, counts: dict[str, int]) -> Pools:
        """From counts of `key|value`, for the keys that have two values at least."""
        by_key: dict[str, list[tuple[str, int]]] = {}
        for term in sorted(counts):
            key, _, value = term.rpartition("|")
            by_key.setdefault(key, []).append((value, counts[term]))
        usable = {key: pairs for key, pairs in by_key.items() if len(pairs) > 1}
        place = {key: j for j, key in enumerate(usable)}
        values = [value for pairs in usable.values() for value, _ in pairs]
        shares = [np.array([n for _, n in pairs], float) for pairs in usable.values()]
        edges = [j + np.cumsum(share / share.sum()) for j, share in enumerate(shares)]
        return cls(place, np.array(values, object), np.concatenate([np.zeros(0), *edges]))

    def numbers(self, keys: NDArray[np.object_]) -> NDArray[np.int64]:
        """The number of each key; of a compound that has none that of its head; else -1."""
        heads = (key.rpartition(" ")[2] for key in keys)
        found = [self.place.get(k, self.place.get(h, -1)) for k, h in zip(keys, heads, strict=True)]
        return np.array(found, np.int64)


@dataclass(frozen=True)
class Pool:
    """Values to ask about, true or in vain.

    values: object [n]; weight: float64 [n], how often to try each in vain; keep: float64 [n], which
    share of the true ones to ask about, 1 but for what can be denied for too few images.
    """

    values: NDArray[np.object_]
    weight: NDArray[np.float64]
    keep: NDArray[np.float64]

    def share_kept(self, values: NDArray[np.object_]) -> NDArray[np.float64]:
        """`keep` of each value, 0 for those that are never asked about in vain."""
        kept = dict(zip(self.values, self.keep, strict=True))
        return np.array([kept.get(value, 0.0) for value in values])


def balance(values: NDArray[np.object_], present: NDArray[np.float64], sampled: Mentions) -> Pool:
    """A pool from which each value is denied about as often as it is affirmed.

    present: float64 [n], how many images have each value; sampled: what a few images name. What
    most of them name ("man") can be denied for few, so there it is tried more often (a few rounds
    of iterative proportional fitting; more would let the rarest chance crowd out the rest), and
    what is still denied too seldom is affirmed less often.
    """
    groups, group = np.unique([group_of(v) for v in values], return_inverse=True)
    free = ~sampled.matrix(groups.tolist())[:, group]
    usable = free.any(axis=0) if len(free) else np.zeros(len(values), bool)
    values, present, free = values[usable], present[usable], free[:, usable].astype(np.float32)
    wanted = present / max(present.sum(), 1.0)
    weight, share = wanted, wanted
    for _ in range(_ROUNDS):
        tried = free @ weight.astype(np.float32)
        share = weight * (free.T @ (1 / np.maximum(tried, _TINY)).astype(np.float32))
        share = share / max(share.sum(), _TINY)
        weight = weight * np.clip(wanted / np.maximum(share, _TINY), 0.5, 2.0) ** _DAMPING
        weight = weight / weight.sum()
    keep = np.minimum(share / np.maximum(wanted, _TINY), 1.0)
    return Pool(values, np.round(weight, 9), np.round(keep, 6))


def draw_absent(
    image: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    pool: Pool,
    mentions: Mentions,
    salt: str,
) -> NDArray[np.object_]:
    """One value of the pool for each row that its image's texts do not name, "" if none is found.

    image: int64 [n]; hashes: uint64 [n], the dice of each row.
    """
    out = np.full(len(hashes), "", object)
    if not len(pool.values):
        return out
    groups, group = np.unique([group_of(v) for v in pool.values], return_inverse=True)
    named = mentions.matrix(groups.tolist())
    dice = draw(hashes, salt)
    for start in range(0, len(out), _ROWS):
        rows = slice(start, start + _ROWS)
        free = np.where(named[image[rows]][:, group], 0.0, pool.weight)
        edges = np.cumsum(free, axis=1)
        at = (edges <= (dice[rows] * edges[:, -1])[:, None]).sum(axis=1)
        found = edges[:, -1] > 0
        out[rows][found] = pool.values[np.minimum(at, len(pool.values) - 1)[found]]
    return out


def draw_absent_of(
    image: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    keys: NDArray[np.object_],
    pools: Pools,
    mentions: Mentions,
    salt: str,
) -> NDArray[np.object_]:
    """Likewise, from the pool of each row's key: a dog is asked for in the colours of dogs."""
    number = pools.numbers(keys)
    out = np.full(len(hashes), "", object)
    rows = np.flatnonzero(number >= 0)
    start = number[rows].astype(np.float64)
    out[rows] = _draw(image[rows], hashes[rows], start, pools.values, pools.edges, mentions, salt)
    return out


def _draw(
    image: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    start: NDArray[np.float64],
    values: NDArray[np.object_],
    edges: NDArray[np.float64],
    mentions: Mentions,
    salt: str,
) -> NDArray[np.object_]:
    """Rejection sampling: draws at start + [0, 1) among `edges` until the value is not named."""
    out = np.full(len(hashes), "", object)
    if not len(values) or not len(hashes):
        return out
    names = [group_of(value) for value in values]
    groups = {name: j for j, name in enumerate(dict.fromkeys(names))}
    named = mentions.matrix(list(groups))
    group = np.array([groups[name] for name in names])
    open_rows = np.arange(len(hashes))
    for attempt in range(_TRIES):
        dice = start[open_rows] + draw(hashes[open_rows], f"{salt}{attempt}")
        at = np.minimum(np.searchsorted(edges, dice, side="right"), len(values) - 1)
        free = ~named[image[open_rows], group[at]]
        out[open_rows[free]] = values[at[free]]
        open_rows = open_rows[~free]
        if not len(open_rows):
            break
    return out
