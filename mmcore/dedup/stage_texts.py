"""Text clusters of a day on Ray: which captions are nearly equal to one another or to those of
earlier days, and which are near an evaluation set's.

Tasks sign texts into scratch files, find candidates a band at a time and verify them where the
shingles are. The driver holds a few numbers for each distinct text, and the verified pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import clusters, minhash, near_texts, shingles, texts
from mmcore.dedup.hashing import Hashes
from mmcore.dedup.minhash import Pairs
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_shuffle import Sorted
from mmcore.dedup.text_index import TextHistory, as_id
from mmcore.dedup.texts import Followers
from mmcore.lake import Dataset, Storage


@dataclass(frozen=True)
class TextClusters:
    """Which texts follow another, and the hashes (sorted) of those that must not be captions:
    of an evaluation set, or near one of it."""

    followers: Followers
    protected: Hashes
    counts: dict[str, int]


@dataclass(frozen=True)
class Lots:
    """Signed texts, in scratch files of two kinds for each lot: `keys` has a batch for each band
    and one of sizes, `sets` one batch of shingle sets."""

    storage: Storage
    folder: str

    def write(self, lot: int, signed: near_texts.Signed) -> None:
        """The files of one lot."""
        columns = [*signed.keys, signed.sets.sizes.astype(np.uint64)]
        batches = [pa.record_batch({"value": column}) for column in columns]
        self._write(f"keys-{lot:05d}", batches)
        sets = pa.LargeListArray.from_arrays(signed.sets.offsets, pa.array(signed.sets.hashes))
        self._write(f"sets-{lot:05d}", [pa.record_batch({"value": sets})])

    def _write(self, name: str, batches: list[pa.RecordBatch]) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        self.storage.write(f"{self.folder}/{name}.arrow", sink.getvalue().to_pybytes())

    def column(self, lots: int, number: int) -> npt.NDArray[np.uint64]:
        """Band `number` of all lots; after the last band, the sizes."""
        return np.concatenate([self._read(f"keys-{lot:05d}", number) for lot in range(lots)])

    def _read(self, name: str, batch: int) -> npt.NDArray[np.uint64]:
        with self.storage.open(f"{self.folder}/{name}.arrow") as file:
            found: npt.NDArray[np.uint64] = pa.ipc.open_file(file).get_batch(batch)[0].to_numpy()
            return found

    def sets(self, lot: int) -> shingles.Shingles:
        """The shingle sets of a lot."""
        with self.storage.open(f"{self.folder}/sets-{lot:05d}.arrow") as file:
            column = pa.ipc.open_file(file).get_batch(0)[0]
            return shingles.Shingles(column.values.to_numpy(), column.offsets.to_numpy())


@dataclass(frozen=True)
class Texts:
    """The distinct texts of all lots in order of rank: those of evaluation sets, then new ones from
    long to short, then known ones. `at` counts through the lots, which begin at `starts`; `known`
    are the clusters of earlier days that have just this text, or -1."""

    hashes: Hashes
    at: Indices
    starts: Indices
    known: Indices
    protected: int

    @classmethod
    def of(cls, signed: list[_Signed], protected: int, history: TextHistory) -> Texts:
        """protected: how many of the lots are of evaluation sets; they come first."""
        hashes = np.concatenate([np.empty(0, np.uint64), *(lot.hashes for lot in signed)])
        chars = np.concatenate([np.empty(0, np.int64), *(lot.chars for lot in signed)])
        starts = np.cumsum([0, *(lot.rows for lot in signed)])
        distinct, first = np.unique(hashes, return_index=True)
        given = first < starts[protected]
        known = np.where(given, -1, history.ids("seen", distinct))
        order = np.lexsort((distinct, -chars[first], known >= 0, ~given))
        return cls(distinct[order], first[order], starts, known[order], int(given.sum()))

    def column(self, lots: Lots, number: int) -> npt.NDArray[np.uint64]:
        """A column of the lots (`Lots.column`), in order of rank."""
        return lots.column(len(self.starts) - 1, number)[self.at]


@dataclass(frozen=True)
class Found:
    """The texts of a day and their clusters. The scratch files of `lots` are still there.

    ids: the cluster of each text in order of rank, -1 of those that must not be captions; new
    clusters count on from those of the history. leads: positions of the leaders of new clusters.
    names: the hash of the leader of each cluster, sorted, and `name_ids`: its id.
    """

    clusters: TextClusters
    lots: Lots
    ranked: Texts
    ids: Indices
    leads: Indices
    names: Hashes
    name_ids: Indices


def find(
    lots: Lots,
    said: Sorted,
    protected: Dataset | None,
    history: TextHistory,
    likeness: Likeness,
    cap: int,
) -> Found:
    """The clusters of all texts in `said`. `lots` are to be written; remove them in the end.

    protected: texts of evaluation sets, in a column `key`. cap: see `minhash.candidates`.
    """
    given = len(protected.parts) if protected else 0
    items = list(range(given + said.files))
    task = partial(_sign, lots, said, protected, likeness)
    # Not named: what the lots told ends with the ranking.
    ranked = Texts.of(
        map_parts(task, items, description="dedup texts", unit="texts"), given, history
    )
    bands = range(likeness.banding.bands) if len(ranked.hashes) else range(0)
    search = partial(_edges, lots, ranked, history, likeness, cap)
    done = map_parts(search, list(bands), description="dedup near texts", unit="pairs")
    return _clustered(lots, ranked, history, done)


@dataclass(frozen=True)
class _Signed:
    rows: int
    hashes: Hashes
    chars: Indices


def _sign(
    lots: Lots, said: Sorted, protected: Dataset | None, likeness: Likeness, lot: int
) -> _Signed:
    """Ray task: the distinct texts of one file of captions or part of an evaluation set."""
    given = len(protected.parts) if protected else 0
    if protected is not None and lot < given:
        keys = protected.read_part(lot, ["key"])["key"]
    else:
        keys = texts.text_key(said.file(lot - given)["text"])
    keys = pc.unique(keys)
    lots.write(lot, near_texts.sign(keys, likeness))
    return _Signed(len(keys), texts.key_hashes(keys), pc.utf8_length(keys).to_numpy().astype(int))


@dataclass(frozen=True)
class _Edges:
    rows: int
    edges: near_texts.Edges
    capped: int


def _edges(
    lots: Lots, ranked: Texts, history: TextHistory, likeness: Likeness, cap: int, band: int
) -> _Edges:
    """Ray task: the verified pairs that share the key of one band."""
    keys = ranked.column(lots, band)
    sizes = ranked.column(lots, likeness.banding.bands).astype(np.int64)
    pairs = _candidates(ranked, history, keys, sizes, likeness, cap, band)
    read = partial(_sets, lots, ranked, history)
    edges = near_texts.verified(pairs, read, likeness.least)
    return _Edges(len(edges.later), edges, minhash.capped(keys, cap))


def _candidates(
    ranked: Texts,
    history: TextHistory,
    keys: Hashes,
    sizes: Indices,
    likeness: Likeness,
    cap: int,
    band: int,
) -> Iterator[Pairs]:
    """Pairs of texts of the day, then of a new one and a leader of an earlier day."""
    new = ranked.known < 0
    for pairs in near_texts.candidates(keys, sizes, likeness, cap):
        # A known text has its cluster; it may only be near one of an evaluation set.
        useful = (pairs.earlier < ranked.protected) | (new[pairs.later] & new[pairs.earlier])
        yield Pairs(pairs.later[useful], pairs.earlier[useful])
    asking = ranked.protected + np.flatnonzero((new & (sizes > 0))[ranked.protected :])
    for pairs in history.candidates(band, keys[asking], cap):
        yield Pairs(asking[pairs.later], pairs.earlier)


def _sets(lots: Lots, ranked: Texts, history: TextHistory, positions: Indices) -> shingles.Shingles:
    """The shingle sets of some texts: of leaders of earlier days, then of the day lot by lot."""
    outside = int(np.searchsorted(positions, 0))
    parts = [history.sets(as_id(positions[:outside]))] if outside else []
    return shingles.joined([*parts, sets_of(lots, ranked, positions[outside:])])


def sets_of(lots: Lots, ranked: Texts, positions: Indices) -> shingles.Shingles:
    """The shingle sets of some texts of the day, read lot by lot."""
    at = ranked.at[positions]
    order = np.argsort(at)
    edges = np.searchsorted(at[order], ranked.starts)
    found = [
        lots.sets(lot).take(at[order[edges[lot] : edges[lot + 1]]] - ranked.starts[lot])
        for lot in range(len(edges) - 1)
        if edges[lot] < edges[lot + 1]
    ]
    return shingles.joined(found).take(np.argsort(order))


def _clustered(lots: Lots, ranked: Texts, history: TextHistory, done: Sequence[_Edges]) -> Found:
    edges = near_texts.edges_of([one.edges for one in done])
    count, inside = len(ranked.hashes), edges.earlier >= 0
    barred = np.arange(count) < ranked.protected
    barred[np.unique(edges.later[inside & (edges.earlier < ranked.protected)])] = True
    free = ~barred[edges.later] & ~(inside & barred[np.maximum(edges.earlier, 0)])
    distance = np.rint((1 - edges.similarity) * 1e6).astype(np.int64)
    leader = clusters.lead(count, edges.later[free], edges.earlier[free], distance[free])
    near_earlier = int((leader < 0).sum())
    ids, leads = _ids(ranked, history, leader, barred)
    del leader
    names, hashes, used = _named(ranked, history, ids, leads)
    follows = np.flatnonzero(names != ranked.hashes)
    follows = follows[np.argsort(ranked.hashes[follows])]
    counts = {
        "distinct": count - ranked.protected,
        "seen_before": int((ranked.known >= 0).sum()),
        "near_earlier": near_earlier,
        "candidate_pairs": edges.candidates,
        "verified_pairs": len(edges.later),
        "capped": sum(one.capped for one in done),
        "near_duplicates": len(follows),
    }
    followers = Followers(ranked.hashes[follows], names[follows])
    found = TextClusters(followers, np.sort(ranked.hashes[barred]), counts)
    return Found(found, lots, ranked, ids, leads, hashes, used)


def _ids(
    ranked: Texts, history: TextHistory, leader: Indices, barred: npt.NDArray[np.bool_]
) -> tuple[Indices, Indices]:
    """The cluster id of each text, -1 of barred ones, and the positions of new leaders."""
    count = len(leader)
    new = (ranked.known < 0) & ~barred
    own = leader == np.arange(count)
    leads = np.flatnonzero(own & new)
    ids = np.where(barred, -1, ranked.known)
    ids[leads] = history.state.ids + np.arange(len(leads))
    inside, outside = np.flatnonzero(new & ~own & (leader >= 0)), np.flatnonzero(new & (leader < 0))
    ids[inside] = ids[leader[inside]]
    ids[outside] = as_id(leader[outside])
    return ids, leads


def _named(
    ranked: Texts, history: TextHistory, ids: Indices, leads: Indices
) -> tuple[Hashes, Hashes, Indices]:
    """The hash of the leader of each text (its own where it has no cluster), then that of each
    cluster, sorted, and the id of each cluster."""
    used = np.unique(ids[ids >= 0])
    old = used[used < history.state.ids]
    # New ids count up in the order of the new leaders, and each is used by its leader at least.
    hashes = np.concatenate([history.leaders(old), ranked.hashes[leads]])
    names = ranked.hashes.copy()
    has = ids >= 0
    names[has] = hashes[np.searchsorted(used, ids[has])]
    order = np.argsort(hashes)
    return names, hashes[order], used[order]
