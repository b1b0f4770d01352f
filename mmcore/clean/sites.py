"""Strings that a site repeats: a text under very many of its images, a name behind all its titles.

Counting is exact and needs no whole site in one place: rows become (key, member) pairs of 64-bit
hashes, pairs of one key meet in one place, and distinct members are counted there. Counts below
`FLOOR` are forgotten, which keeps what every worker has to know small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

FLOOR = 10  # smaller counts are never asked for
PAIRS = pa.schema([("key", pa.uint64()), ("member", pa.uint64())])
COUNTS = pa.schema([("key", pa.uint64()), ("count", pa.int32())])

_COUNTED_ROLES = ("alt", "title", "caption")
_NAMED_ROLES = ("alt", "title", "caption", "page_title")
# A dash, bar, dot or colon between blanks parts what is shown from who shows it.
_SEPARATOR = r"\s(?:\||-|–|—|·|•|»|::?)\s"
_TAIL, _BEFORE = rf"^.*\S(?P<name>{_SEPARATOR}.+)$", rf"^(.*\S){_SEPARATOR}.+$"
_HEAD, _BEHIND = rf"^(?P<name>.+?{_SEPARATOR}).+$", rf"^.+?{_SEPARATOR}(.+)$"
_HOST = r"^https?://(?P<host>[^/?#]+)"

_TEXT, _IMAGES, _TEXTS, _AT_END, _AT_START = range(5)  # what a key counts

Hashes = npt.NDArray[np.uint64]


class SiteRules(BaseModel):
    """Which repeated ends of texts are the site's name and no part of a description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_site_name_texts: int = Field(
        default=20,
        ge=FLOOR,
        description="An end such as `| ACME shop` is cut off when so many different texts of a "
        "site have it.",
    )
    min_site_name_share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="… and they are this share of the site's texts of that kind.",
    )


@dataclass(frozen=True)
class Counts:
    """Distinct members per key, from `FLOOR` on; keys sorted."""

    keys: Hashes
    counts: npt.NDArray[np.int32]

    @classmethod
    def of_tables(cls, tables: Iterable[pa.Table]) -> Counts:
        """From COUNTS tables in any order."""
        table = pa.concat_tables([COUNTS.empty_table(), *tables]).sort_by("key")
        return cls(table["key"].to_numpy(), table["count"].to_numpy())

    def of(self, keys: Hashes) -> npt.NDArray[np.int32]:
        """The count of each key; 0 where it was below the floor."""
        if len(self.keys) == 0:
            return np.zeros(len(keys), np.int32)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.counts[place], 0).astype(np.int32)


def pairs(rows: pa.Table) -> pa.Table:
    """PAIRS of rows with `page_url, sha256, role, text`, each once, sorted by key.

    Rows without a host (of a folder) have none.
    """
    named = _Hashed.of(rows)
    counted = named.with_role(_COUNTED_ROLES)
    found = [
        (counted.key(_TEXT, counted.text), counted.image),
        (counted.key(_IMAGES), counted.image),
        (named.key(_TEXTS, named.role), named.text),
    ]
    for kind, end in ((_AT_END, named.tail), (_AT_START, named.head)):
        has = end != 0
        found.append((named.key(kind, named.role, end)[has], named.text[has]))
    both = _distinct(np.stack([np.concatenate([f[i] for f in found]) for i in (0, 1)]))
    return pa.table([both[0], both[1]], schema=PAIRS)


def count(tables: Iterable[pa.Table]) -> pa.Table:
    """COUNTS of PAIRS tables that together hold every pair of their keys."""
    table = pa.concat_tables([PAIRS.empty_table(), *tables])
    both = _distinct(np.stack([table["key"].to_numpy(), table["member"].to_numpy()]))
    keys, counts = np.unique(both[0], return_counts=True)
    often = counts >= FLOOR
    return pa.table([keys[often], counts[often].astype(np.int32)], schema=COUNTS)


def spread_of(rows: pa.Table, counts: Counts) -> tuple[pa.Array, pa.Array]:
    """Per row: under how many images of its site the text stands as an alt text, title or caption
    (int32, 0 below `FLOOR` and for other roles), and the share of the site's images (float32)."""
    counted = _Hashed.of(rows, ends=False).with_role(_COUNTED_ROLES)
    images = np.zeros(rows.num_rows, np.int32)
    share = np.zeros(rows.num_rows, np.float32)
    images[counted.row] = counts.of(counted.key(_TEXT, counted.text))
    total = counts.of(counted.key(_IMAGES))
    share[counted.row] = images[counted.row] / np.maximum(total, 1)
    return pa.array(images), pa.array(share)


def without_names(rows: pa.Table, counts: Counts, rules: SiteRules) -> pa.Array:
    """The `text` of each row without the name its site puts before or behind its texts."""
    texts = _array(rows["text"])
    named = _Hashed.of(rows)
    total = counts.of(named.key(_TEXTS, named.role))
    for kind, end, rest in ((_AT_END, named.tail, _BEFORE), (_AT_START, named.head, _BEHIND)):
        often = counts.of(named.key(kind, named.role, end))
        cut = (end != 0) & (often >= rules.min_site_name_texts)
        cut &= often >= rules.min_site_name_share * total
        if cut.any():
            where = np.zeros(rows.num_rows, bool)
            where[named.row[cut]] = True
            mask = pa.array(where)
            left = pc.replace_substring_regex(texts.filter(mask), rest, r"\1")
            texts = pc.replace_with_mask(texts, mask, left)
    return texts


def _distinct(pairs: Hashes) -> Hashes:
    """Columns of [2, n] each once, sorted."""
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    first = np.ones(pairs.shape[1], bool)
    first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, first]


@dataclass(frozen=True)
class _Hashed:
    """Rows of sites in `_NAMED_ROLES` as hashes, parallel arrays [n]; `head` and `tail` are 0 where
    there is none."""

    row: npt.NDArray[np.intp]  # position in the table
    name: npt.NDArray[np.object_]  # of the role
    host: Hashes
    role: Hashes
    image: Hashes
    text: Hashes
    head: Hashes
    tail: Hashes

    @classmethod
    def of(cls, rows: pa.Table, ends: bool = True) -> _Hashed:
        hosts = pc.struct_field(pc.extract_regex(_array(rows["page_url"]), _HOST), "host")
        here = pc.and_(pc.is_valid(hosts), pc.is_in(rows["role"], pa.array(_NAMED_ROLES)))
        here = _array(here)
        rows, hosts = rows.filter(here), hosts.filter(here)
        texts = _array(rows["text"]).dictionary_encode()
        codes = texts.indices.to_numpy()
        distinct = texts.dictionary
        none = np.zeros(len(distinct), np.uint64)
        return cls(
            np.flatnonzero(here.to_numpy(zero_copy_only=False)),
            rows["role"].to_numpy(),
            _hash(hosts),
            _hash(_array(rows["role"])),
            _hash(_array(rows["sha256"])),
            _hash_distinct(distinct)[codes],
            (_hash_end(distinct, _HEAD) if ends else none)[codes],
            (_hash_end(distinct, _TAIL) if ends else none)[codes],
        )

    def with_role(self, roles: tuple[str, ...]) -> _Hashed:
        some = np.isin(self.name.astype(str), roles)
        return _Hashed(*(getattr(self, name)[some] for name in self.__dataclass_fields__))

    def key(self, kind: int, *parts: Hashes) -> Hashes:
        """A key of what is counted, for each row's host."""
        key = self.host + np.uint64(kind)
        for part in parts:
            key = _mix(key) ^ part
        return _mix(key)


def _hash(values: pa.Array) -> Hashes:
    coded = values.dictionary_encode()
    return _hash_distinct(coded.dictionary)[coded.indices.to_numpy()]


def _hash_distinct(values: pa.Array) -> Hashes:
    """64 bits a string (SipHash with a fixed key: the same on every machine)."""
    import pandas as pd  # late: reading a recipe stays quick

    strings = values.to_numpy(zero_copy_only=False)
    return np.asarray(pd.util.hash_array(strings, categorize=False), np.uint64)


def _hash_end(texts: pa.Array, pattern: str) -> Hashes:
    ends = pc.struct_field(pc.extract_regex(texts, pattern), "name")
    return np.where(
        pc.is_valid(ends).to_numpy(zero_copy_only=False), _hash(pc.fill_null(ends, "")), 0
    ).astype(np.uint64)


def _mix(keys: Hashes) -> Hashes:
    """The finalizer of SplitMix64: every bit of the input moves every bit of the output."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
