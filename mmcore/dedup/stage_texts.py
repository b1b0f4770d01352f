"""Text clusters of a day on Ray: which captions are nearly equal, and which are near an evaluation
set's.

Tasks sign texts into scratch files, find candidates a band at a time and verify them where the
shingles are. The driver holds three numbers for each distinct text, and the verified pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import clusters, minhash, near_texts, shingles, texts
from mmcore.dedup.hashing import Hashes
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_shuffle import Sorted
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
class _Lots:
    """Signed texts, in scratch files of two kinds for each lot: `keys` has a batch for each band
    and one of sizes, `sets` one batch of shingle sets."""

    storage: Storage
    folder: str

    def write(self, lot: int, signed: near_texts.Signed) -> None:
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
        with self.storage.open(f"{self.folder}/sets-{lot:05d}.arrow") as file:
            column = pa.ipc.open_file(file).get_batch(0)[0]
            return shingles.Shingles(column.values.to_numpy(), column.offsets.to_numpy())


@dataclass(frozen=True)
class _Texts:
    """The distinct texts of all lots in order of rank: those of evaluation sets, then from long to
    short. `at` counts through the lots, which begin at `starts`."""

    hashes: Hashes
    at: Indices
    starts: Indices
    protected: int

    @classmethod
    def of(cls, signed: list[_Signed], protected: int) -> _Texts:
        """protected: how many of the lots are of evaluation sets; they come first."""
        hashes = np.concatenate([np.empty(0, np.uint64), *(lot.hashes for lot in signed)])
        chars = np.concatenate([np.empty(0, np.int64), *(lot.chars for lot in signed)])
        starts = np.cumsum([0, *(lot.rows for lot in signed)])
        distinct, first = np.unique(hashes, return_index=True)
        given = first < starts[protected]
        order = np.lexsort((distinct, -chars[first], ~given))
        return cls(distinct[order], first[order], starts, int(given.sum()))


def find(
    storage: Storage,
    folder: str,
    said: Sorted,
    protected: Dataset | None,
    likeness: Likeness,
    cap: int,
) -> TextClusters:
    """The clusters of all texts in `said`; `folder` is for scratch files and removed at the end.

    protected: texts of evaluation sets, in a column `key`. cap: see `minhash.candidates`.
    """
    lots = _Lots(storage, folder)
    given = len(protected.parts) if protected else 0
    items = list(range(given + said.files))
    task = partial(_sign, lots, said, protected, likeness)
    signed = map_parts(task, items, description="dedup texts", unit="texts")
    ranked = _Texts.of(signed, given)
    bands = range(likeness.banding.bands) if len(ranked.hashes) else range(0)
    search = partial(_edges, lots, ranked, likeness, cap)
    done = map_parts(search, list(bands), description="dedup near texts", unit="pairs")
    storage.delete(folder)
    return _clustered(ranked, done)


@dataclass(frozen=True)
class _Signed:
    rows: int
    hashes: Hashes
    chars: Indices


def _sign(
    lots: _Lots, said: Sorted, protected: Dataset | None, likeness: Likeness, lot: int
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


def _edges(lots: _Lots, ranked: _Texts, likeness: Likeness, cap: int, band: int) -> _Edges:
    """Ray task: the verified pairs that share the key of one band."""
    count = len(ranked.starts) - 1
    keys = lots.column(count, band)[ranked.at]
    sizes = lots.column(count, likeness.banding.bands)[ranked.at].astype(np.int64)
    pairs = near_texts.candidates(keys, sizes, likeness, cap)
    edges = near_texts.verified(pairs, partial(_sets, lots, ranked), likeness.least)
    return _Edges(len(edges.later), edges, minhash.capped(keys, cap))


def _sets(lots: _Lots, ranked: _Texts, positions: Indices) -> shingles.Shingles:
    """The shingle sets of some texts, read lot by lot."""
    at = ranked.at[positions]
    order = np.argsort(at)
    edges = np.searchsorted(at[order], ranked.starts)
    found = [
        lots.sets(lot).take(at[order[edges[lot] : edges[lot + 1]]] - ranked.starts[lot])
        for lot in range(len(edges) - 1)
        if edges[lot] < edges[lot + 1]
    ]
    return shingles.joined(found).take(np.argsort(order))


def _clustered(ranked: _Texts, done: Sequence[_Edges]) -> TextClusters:
    edges = near_texts.edges_of([one.edges for one in done])
    later, earlier = edges.later, edges.earlier
    barred = np.arange(len(ranked.hashes)) < ranked.protected
    barred[np.unique(later[earlier < ranked.protected])] = True
    free = ~barred[later] & ~barred[earlier]
    distance = np.rint((1 - edges.similarity) * 1e6).astype(np.int64)
    leader = clusters.lead(len(ranked.hashes), later[free], earlier[free], distance[free])
    follows = np.flatnonzero(leader != np.arange(len(leader)))
    follows = follows[np.argsort(ranked.hashes[follows])]
    return TextClusters(
        Followers(ranked.hashes[follows], ranked.hashes[leader[follows]]),
        np.sort(ranked.hashes[barred]),
        {
            "distinct": len(ranked.hashes) - ranked.protected,
            "candidate_pairs": edges.candidates,
            "verified_pairs": len(edges.later),
            "capped": sum(one.capped for one in done),
            "near_duplicates": len(follows),
        },
    )
