"""Captions of an image cluster, merged by text; what stands under too many clusters left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

CAPTION_ROLES = ("caption", "alt", "title")  # most telling first
CAPTION = pa.struct(
    [
        ("text", pa.string()),
        ("lang", pa.string()),
        ("role", pa.string()),
        ("count", pa.int32()),
        ("page_url", pa.string()),
    ]
)
COLUMNS = ["sha256", "role", "text", "lang", "page_url", "places", "kept"]


def caption_rows(texts: pa.Table) -> pa.Table:
    """The kept captions among `texts` rows, with their `key` and `role_rank`."""
    wanted = pc.and_(texts["kept"], pc.is_in(texts["role"], pa.array(CAPTION_ROLES)))
    rows = texts.filter(wanted).drop_columns(["kept"]).combine_chunks()
    rank = pc.index_in(rows["role"], pa.array(CAPTION_ROLES))
    return rows.append_column("key", text_key(rows["text"])).append_column("role_rank", rank)


def text_key(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """What makes two texts the same: NFKC, case folded, one space for any, no stop at the end.

    Arrow has no full case folding; sharp s and final sigma are the two that matter in practice.
    """
    if isinstance(texts, pa.ChunkedArray):
        return pa.chunked_array([text_key(chunk) for chunk in texts.chunks], texts.type)
    ascii = pc.string_is_ascii(texts)
    if pc.all(ascii, min_count=0).as_py():
        return _ascii_key(texts)
    # Apart, because ASCII, most of what there is, needs no normalisation.
    rest = pc.invert(ascii)
    keys = _ascii_key(pc.if_else(ascii, texts, pa.nulls(1, texts.type)[0]))
    return pc.replace_with_mask(keys, rest, _key(pc.filter(texts, rest)))


def _key(texts: pa.Array) -> pa.Array:
    keys = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    keys = pc.replace_substring(keys, "ß", "ss")
    keys = pc.replace_substring(keys, "ς", "σ")
    keys = pc.replace_substring_regex(keys, r"[\s\pZ]+", " ")
    return pc.utf8_rtrim(pc.utf8_ltrim(keys, " "), " .。!…")


def _ascii_key(texts: pa.Array) -> pa.Array:
    keys = pc.ascii_lower(texts)
    uneven = pc.match_substring_regex(keys, r"\s\s|[^\S ]")
    if pc.any(uneven).as_py():
        keys = pc.if_else(uneven, pc.replace_substring_regex(keys, r"\s+", " "), keys)
    return pc.ascii_rtrim(pc.ascii_ltrim(keys, " "), " .!")


def key_hashes(keys: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.uint64]:
    """64-bit hashes of the keys, the same in every process and on every machine."""
    import pandas as pd  # 33 MB that signing a text rarely needs

    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    codes = keys.dictionary_encode()
    distinct = pd.util.hash_array(codes.dictionary.to_numpy(zero_copy_only=False))
    return distinct[codes.indices.to_numpy()]


def widespread(
    hashes: npt.NDArray[np.uint64], clusters: npt.NDArray[np.int64], most: int
) -> npt.NDArray[np.uint64]:
    """Hashes of the keys that stand under more than `most` distinct clusters, sorted."""
    keys, counts = standing(hashes, clusters)
    return keys[counts > most]


def standing(
    hashes: npt.NDArray[np.uint64], clusters: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct hashes, sorted, and under how many distinct clusters each stands."""
    order = np.lexsort((clusters, hashes))
    hashes, clusters = hashes[order], clusters[order]
    changes = (hashes[1:] != hashes[:-1]) | (clusters[1:] != clusters[:-1])
    distinct = hashes[np.concatenate([[True], changes])[: len(hashes)]]
    keys, counts = np.unique(distinct, return_counts=True)
    return keys, counts.astype(np.int64)


@dataclass(frozen=True)
class Followers:
    """Texts that are nearly equal to another: hashes of their keys uint64 [n], sorted, and the hash
    of the text that leads the cluster of each."""

    keys: npt.NDArray[np.uint64]
    leaders: npt.NDArray[np.uint64]

    def clusters(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """The text cluster of each text: the hash of its leader, which may be itself."""
        if not len(self.keys):
            return hashes
        at = np.minimum(np.searchsorted(self.keys, hashes), len(self.keys) - 1)
        return np.where(self.keys[at] == hashes, self.leaders[at], hashes)


NO_FOLLOWERS = Followers(np.empty(0, np.uint64), np.empty(0, np.uint64))


def merge(
    rows: pa.Table,
    clusters: npt.NDArray[np.int64],
    text_clusters: npt.NDArray[np.uint64],
    count: int,
) -> pa.Array:
    """Captions of `count` clusters: list<CAPTION> [count], each text cluster of a cluster once.

    `rows` come from `caption_rows`, `clusters` says 0..count-1 for each. Of nearly equal texts the
    most telling role speaks, then the commonest spelling; `count` adds up the places of all. Lists
    go from telling to less telling roles, from common to rare.
    """
    rows = rows.append_column("cluster", pa.array(clusters))
    rows = rows.append_column("said", pa.array(text_clusters))
    rows = rows.append_column("rare", pc.negate(rows["places"]))
    ordered = _sort(rows, ["cluster", "said", "role_rank", "rare", "text", "page_url", "sha256"])
    one = ordered.group_by(["cluster", "said"], use_threads=False).aggregate(
        [
            *((name, "first", _WITH_NULLS) for name in ("text", "lang", "role", "page_url")),
            ("role_rank", "min"),
            ("places", "sum"),
        ]
    )
    one = one.append_column("rare", pc.negate(one["places_sum"]))
    one = _sort(one, ["cluster", "role_rank_min", "rare", "text_first"])
    captions = pa.StructArray.from_arrays(
        [
            one["text_first"].combine_chunks(),
            one["lang_first"].combine_chunks(),
            one["role_first"].combine_chunks(),
            one["places_sum"].combine_chunks().cast(pa.int32()),
            one["page_url_first"].combine_chunks(),
        ],
        fields=list(CAPTION),
    )
    sizes = np.bincount(one["cluster"].to_numpy(), minlength=count)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), captions)


# An unknown language stays unknown: the language of another text must not slip in.
_WITH_NULLS = pc.ScalarAggregateOptions(skip_nulls=False)


def _sort(table: pa.Table, names: list[str]) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in names])


@dataclass(frozen=True)
class Merged:
    """Captions of some clusters: list<CAPTION> [C], how many in all, how many left out, and how
    many texts were merged into nearly equal ones."""

    captions: pa.Array
    kept: int
    left_out: int
    near: int


def merge_all(
    parts: Iterable[pa.Table],
    keys: pa.Array,
    owner: pa.Array,
    count: int,
    banned: npt.NDArray[np.uint64],
    followers: Followers = NO_FOLLOWERS,
) -> Merged:
    """Merge the captions that `parts` of `texts` (with COLUMNS) hold about some images.

    `keys` are image keys and `owner` the cluster 0..count-1 of each, or null. `banned` are text
    clusters to leave out.
    """
    found = [_about(part, keys) for part in parts]
    if not found:
        return Merged(pa.array([[]] * count, pa.list_(CAPTION)), 0, 0, 0)
    rows = caption_rows(pa.concat_tables(found))
    rows = rows.append_column("owner", owner.take(pc.index_in(rows["sha256"], keys)))
    rows = rows.filter(pc.is_valid(rows["owner"]))
    said = followers.clusters(key_hashes(rows["key"]))
    rows = rows.append_column("said", pa.array(said))
    telling = ~np.isin(said, banned)
    kept = rows.filter(pa.array(telling))
    owners = kept["owner"].to_numpy().astype(np.int64)
    captions = merge(kept.drop_columns(["owner", "said"]), owners, said[telling], count)
    left_out = rows.filter(pa.array(~telling)).group_by(["owner", "said"]).aggregate([])
    distinct = kept.group_by(["owner", "key"]).aggregate([]).num_rows
    total = len(captions.values)
    return Merged(captions, total, left_out.num_rows, distinct - total)


def _about(part: pa.Table, keys: pa.Array) -> pa.Table:
    return part.filter(pc.is_in(part["sha256"], keys))
