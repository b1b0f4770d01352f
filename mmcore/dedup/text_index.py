"""The index of texts across nights: what it holds. No Ray, no writing.

`text_index@DAY` knows every text cluster of DAY and the days before it. It consists of sorted runs
(runs.py, index.py) of these tables:

    seen        hash of a text's key → cluster id   every caption ever compared
    band00..    band key (minhash.py) → cluster id   the text that leads each cluster
    leaders     cluster id → hash of its leader's key, and the shingle set to verify with
    counts      cluster id → under how many image clusters it stood on the day they were new

It holds hashes, no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from mmcore.dedup import index, minhash, runs, shingles
from mmcore.dedup.index import Index
from mmcore.dedup.minhash import Pairs
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.shingles import Hashes, Indices, Shingles

NAME = "text_index"
LEADERS = pa.schema(
    [("key", pa.uint64()), ("text", pa.uint64()), ("shingles", pa.list_(pa.uint64()))]
)
COUNTS = pa.schema([("key", pa.uint64()), ("count", pa.uint32())])

_OUTSIDE = 1 << 31


def as_position(ids: Indices) -> Indices:
    """Cluster ids as positions of leaders from outside: negative, in the order of the ids."""
    return ids - _OUTSIDE


def as_id(positions: Indices) -> Indices:
    """The cluster ids of negative positions."""
    return positions + _OUTSIDE


def band(number: int) -> str:
    """The table of a band."""
    return f"band{number:02d}"


class State(index.State):
    """`index.json`: the parts that make up the index of one night."""

    words: int = 0
    """Of `Likeness`; an index made with another one cannot be asked."""
    least: float = 0

    def compares_as(self, likeness: Likeness) -> bool:
        """Whether texts were compared in this way."""
        return (self.words, self.least) == (likeness.words, likeness.least)


@dataclass(frozen=True)
class TextHistory(Index):
    """What is known of the texts of earlier days."""

    state: State = field(default_factory=State)

    def candidates(self, number: int, keys: Hashes, cap: int) -> Iterator[Pairs]:
        """Pairs (position in `keys`, leader of an earlier day by `as_position`) that share a key
        of one band; with at most the `cap` oldest leaders of each file."""
        order = np.argsort(keys, kind="stable")
        ascending = keys[order]
        for some, batch in self.within(band(number), ascending):
            run, wanted = runs.as_run(batch), ascending[some]
            low = np.searchsorted(run.keys, wanted, "left")
            high = np.searchsorted(run.keys, wanted, "right")
            for item, place in minhash.places(np.minimum(high - low, cap)):
                ids = run.ids[low[item] + place].astype(np.int64)
                yield Pairs(order[some][item], as_position(ids))

    def sets(self, ids: Indices) -> Shingles:
        """Shingle sets of the leaders of ascending cluster ids."""
        where, parts = [np.empty(0, np.int64)], []
        for rows, batch, at in self.rows("leaders", ids):
            where.append(rows)
            parts.append(_shingles(batch["shingles"].take(pa.array(at))))
        return shingles.joined(parts).take(np.argsort(np.concatenate(where)))

    def leaders(self, ids: Indices) -> Hashes:
        """The hash of the key of the text that leads each of some ascending clusters."""
        found = np.zeros(len(ids), np.uint64)
        for rows, batch, at in self.rows("leaders", ids):
            found[rows] = batch["text"].to_numpy()[at]
        return found

    def counts(self, ids: Indices) -> Indices:
        """Under how many image clusters some ascending text clusters have stood."""
        found = np.zeros(len(ids), np.int64)
        for rows, batch, at in self.rows("counts", ids):
            found[rows] += batch["count"].to_numpy()[at]
        return found


def leader_rows(ids: Indices, hashes: Hashes, sets: Shingles) -> pa.Table:
    """Rows of the table `leaders`."""
    lists = pa.ListArray.from_arrays(sets.offsets.astype(np.int32), pa.array(sets.hashes))
    return pa.table([pa.array(ids.astype(np.uint64)), pa.array(hashes), lists], schema=LEADERS)


def count_rows(ids: Indices, counts: Indices) -> pa.Table:
    """Rows of the table `counts`, of ascending ids."""
    columns = [pa.array(ids.astype(np.uint64)), pa.array(counts.astype(np.uint32))]
    return pa.table(columns, schema=COUNTS)


def _shingles(lists: pa.ListArray) -> Shingles:
    offsets = lists.offsets.to_numpy().astype(np.int64)
    hashes = lists.values.to_numpy()[offsets[0] : offsets[-1]]
    return Shingles(hashes, offsets - offsets[0])
