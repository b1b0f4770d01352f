"""Votes as patterns: which functions say the same of one thing, whatever the thing is.

A pattern is a text, one line per function and value: the function's name, the number of the value,
the mean weight in tenths, how many votes. Counts of
equal patterns are all that the label model is fitted on, so parts can be counted apart and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.label_model import Patterns
from mmcore.weak.label_model_topics import TOPIC, presence, topic_groups, topic_votes
from mmcore.weak.votes import UNCLEAR

COUNTS = pa.schema(
    [("space", pa.string()), ("pattern", pa.string()), ("gold", pa.int64()), ("count", pa.int64())]
)
"""How many items of a space have a pattern; gold: the known class, -1 if unknown."""

GOLD = pa.schema(
    [("image", pa.int64()), ("task", pa.string()), ("slot", pa.string()), ("value", pa.string())]
)
"""Answers that people gave."""

_FEELINGS = ("negative", "neutral", "positive")
_OPEN_VALUES = 4  # different answers to one question that are told apart; the others share the last
_TENTHS = 10
_MOST_VOTES = 9
_TEMPER = 1.5  # a vote stronger than the function's others counts at most so much more
_MOST_PATTERNS = 1 << 16


@dataclass(frozen=True)
class Space:
    """Questions that have the same answers, and functions that are as good at all of them.

    values: the answers if they are known before, of which `UNCLEAR` is never true; empty: any
    string. answers: how many different answers there could be.
    """

    name: str
    values: tuple[str, ...] = ()
    answers: float = 6.0

    @property
    def width(self) -> int:
        """How many values a pattern tells apart: K."""
        return len(self.values) or _OPEN_VALUES + 1

    @property
    def classes(self) -> int:
        """How many classes: the `values` that can be true; if open, the K values and "none"."""
        return len([v for v in self.values if v != UNCLEAR]) or self.width + 1


def space_of(task: str, fact: str) -> Space:
    """fact: the part of a slot before `|`, for task `fact`."""
    if task == "sentiment":
        return Space("sentiment", (*_FEELINGS, UNCLEAR), len(_FEELINGS))
    if task == TOPIC:
        return Space(TOPIC, answers=20.0)
    return Space(f"{task}/{fact}")


@dataclass(frozen=True)
class Items:
    """The items of one space: `image`, `slot`, `pattern`, `gold`; and the values that were voted
    for: `item`, `code`, `value` and `source`, `lang` of the strongest vote for it."""

    space: Space
    items: pa.Table
    voted: pa.Table

    def count(self) -> pa.Table:
        """`COUNTS` of these items."""
        grouped = self.items.group_by(["pattern", "gold"], use_threads=False)
        per = grouped.aggregate([("image", "count")])
        names = pa.array([self.space.name] * per.num_rows, pa.string())
        return pa.table([names, per["pattern"], per["gold"], per["image_count"]], schema=COUNTS)


def read_items(votes: pa.Table, gold: pa.Table) -> list[Items]:
    """The items of every space of some votes (`VOTES`), with what is known of them (`GOLD`)."""
    topics = topic_votes(votes)
    votes = pa.concat_tables([votes.filter(pc.invert(presence(votes))), topics])
    fact = pc.list_element(pc.split_pattern(votes["slot"], "|", max_splits=1), 0)
    fact = pc.if_else(pc.equal(votes["task"], "fact"), fact, "")
    keyed = votes.append_column("fact", fact)
    kinds = keyed.group_by(["task", "fact"], use_threads=False).aggregate([])
    kinds = kinds.sort_by([("task", "ascending"), ("fact", "ascending")]).to_pylist()
    out = []
    for kind in kinds:
        mine = pc.and_(pc.equal(keyed["task"], kind["task"]), pc.equal(keyed["fact"], kind["fact"]))
        known = gold.filter(pc.equal(gold["task"], kind["task"]))
        out.append(_items(space_of(**kind), keyed.filter(mine), known))
    return out


def count_patterns(votes: pa.Table, gold: pa.Table) -> pa.Table:
    """`COUNTS` of some votes (`VOTES`), with what is known of them (`GOLD`)."""
    return merge_counts([items.count() for items in read_items(votes, gold)])


def gold_feelings(annotated: pa.Table) -> pa.Table:
    """`GOLD` from annotated feelings: columns `image`, `label`."""
    task = pa.array(["sentiment"] * annotated.num_rows, pa.string())
    return pa.table([annotated["image"], task, task, annotated["label"]], schema=GOLD)


def gold_topics(votes: pa.Table, annotated: pa.Table) -> pa.Table:
    """`GOLD` from annotated tags (`image`, `tag`): the group of texts that names them is right.

    Nothing where no text names one, or texts of several groups do: people leave things out, and
    name them otherwise.
    """
    groups = topic_groups(votes)
    keys = ["image", "thing"]
    known = annotated.select(["image", "tag"]).rename_columns(keys)
    known = known.group_by(keys, use_threads=False).aggregate([])
    named = groups.join(known, keys, join_type="left semi")
    named = named.group_by(["image", "group"], use_threads=False).aggregate([])
    per = named.group_by("image", use_threads=False).aggregate(
        [("group", "min"), ("group", "count")]
    )
    per = per.filter(pc.equal(per["group_count"], 1)).sort_by("image")
    task = pa.array([TOPIC] * per.num_rows, pa.string())
    return pa.table([per["image"], task, task, per["group_min"].cast(pa.string())], schema=GOLD)


def _items(space: Space, votes: pa.Table, gold: pa.Table) -> Items:
    keys = ["image", "slot"]
    order = [(n, "ascending") for n in (*keys, "value")]
    order += [("weight", "descending"), ("source", "ascending"), ("lang", "ascending")]
    votes = votes.sort_by(order)
    voted = votes.group_by([*keys, "value"], use_threads=False).aggregate(
        [("weight", "sum"), ("source", "first"), ("lang", "first")]
    )
    code = _codes(space, voted)
    voted = voted.append_column("code", pa.array(code)).filter(pa.array(code >= 0))
    said = votes.group_by([*keys, "value", "source"], use_threads=False).aggregate(
        [("weight", "sum"), ("weight", "count")]
    )
    said = said.join(voted.select([*keys, "value", "code"]), [*keys, "value"], join_type="inner")
    said = said.group_by([*keys, "source", "code"], use_threads=False).aggregate(
        [("weight_sum", "sum"), ("weight_count", "sum")]
    )
    number = np.minimum(said["weight_count_sum"].to_numpy(), _MOST_VOTES)
    mean = said["weight_sum_sum"].to_numpy() / said["weight_count_sum"].to_numpy()
    tenths = np.clip(np.rint(mean * _TENTHS), 1, _TENTHS).astype(np.int64)
    fields = [said["code"], pa.array(tenths), pa.array(number)]
    token = pc.binary_join_element_wise(
        said["source"], *(pc.cast(field, pa.string()) for field in fields), "\t"
    )
    said = said.append_column("token", token)
    said = said.sort_by([(n, "ascending") for n in (*keys, "source", "code")])
    lists = said.group_by(keys, use_threads=False).aggregate([("token", "list")])
    items = pa.table(
        {
            "image": lists["image"],
            "slot": lists["slot"],
            "pattern": pc.binary_join(lists["token_list"], "\n"),
        }
    )
    items = items.append_column("gold", pa.array(_gold_of(space, items, voted, gold)))
    where = {"item": pa.array(_find(items, voted, keys))}
    renamed = {"value": "value", "code": "code", "source_first": "source", "lang_first": "lang"}
    return Items(space, items, pa.table(where | {new: voted[n] for n, new in renamed.items()}))


def _codes(space: Space, voted: pa.Table) -> NDArray[np.int64]:
    """The number of each voted value: its place among `values`, -1 if it is none of them; if open
    its rank by weight among the values of its item, and the last number for `UNCLEAR`."""
    if space.values:
        found = pc.index_in(voted["value"], pa.array(space.values)).combine_chunks()
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)
    item = _numbers(voted, ["image", "slot"])
    unclear = pc.equal(voted["value"], UNCLEAR).to_numpy(zero_copy_only=False)
    # of equal weights first whose function comes first, so that patterns are few
    source, name = (
        np.unique(np.array(voted[n].to_pylist(), object), return_inverse=True)[1]
        for n in ("source_first", "value")
    )
    weight = np.round(voted["weight_sum"].to_numpy(), 9)
    order = np.lexsort([name, source, -weight, unclear, item])
    rank = np.empty(len(item), np.int64)
    rank[order] = np.arange(len(item)) - np.searchsorted(item[order], item[order], side="left")
    return np.where(unclear, _OPEN_VALUES, np.minimum(rank, _OPEN_VALUES - 1))


def _gold_of(space: Space, items: pa.Table, voted: pa.Table, gold: pa.Table) -> NDArray[np.int64]:
    """The class of each item by gold, else -1: int64 [items]. Of an open space it is the number of
    the value in its item, and "none" of a value that nobody voted for."""
    out = np.full(items.num_rows, -1)
    if gold.num_rows == 0:
        return out
    at = _find(gold, items, ["image", "slot"])
    if space.values:
        code = pc.fill_null(pc.index_in(gold["value"], pa.array(space.values)), -1).to_numpy()
    else:
        place = _find(voted, gold, ["image", "slot", "value"])
        code = np.append(voted["code"].to_numpy(), space.classes - 1)[place]
    out[at >= 0] = code[at[at >= 0]]
    return out


def _numbers(table: pa.Table, names: Sequence[str]) -> NDArray[np.int64]:
    joined = pc.binary_join_element_wise(*(pc.cast(table[n], pa.string()) for n in names), "\n")
    encoded = pc.dictionary_encode(joined).combine_chunks()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def _find(table: pa.Table, wanted: pa.Table, names: Sequence[str]) -> NDArray[np.int64]:
    """The first row of `table` with the same `names` as each row of `wanted`, else -1."""
    keys = [
        pc.binary_join_element_wise(*(pc.cast(t[n], pa.string()) for n in names), "\n")
        for t in (wanted, table)
    ]
    found = pc.index_in(keys[0], keys[1].combine_chunks())
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)


def merge_counts(parts: Sequence[pa.Table]) -> pa.Table:
    """`COUNTS` of all parts, sorted, and of each space the most frequent patterns."""
    table = pa.concat_tables([COUNTS.empty_table(), *parts])
    keys = ["space", "pattern", "gold"]
    summed = table.group_by(keys, use_threads=False).aggregate([("count", "sum")])
    summed = summed.rename_columns([n.removesuffix("_sum") for n in summed.column_names])
    order = [("space", "ascending"), ("count", "descending")]
    summed = summed.sort_by([*order, ("pattern", "ascending"), ("gold", "ascending")])
    code = _numbers(summed, ["space"])
    rank = np.arange(len(code)) - np.searchsorted(code, code, side="left")
    return summed.select(COUNTS.names).filter(pa.array(rank < _MOST_PATTERNS)).cast(COUNTS)


def sources_in(patterns: pa.ChunkedArray | pa.Array) -> tuple[str, ...]:
    """The functions that vote in some patterns, sorted."""
    if len(patterns) == 0:
        return ()
    tokens = pc.list_flatten(pc.split_pattern(patterns, "\n"))
    names = pc.list_element(pc.split_pattern(tokens, "\t"), 0)
    return tuple(sorted(pc.unique(names).to_pylist()))


def read_patterns(
    patterns: pa.ChunkedArray | pa.Array, sources: Sequence[str], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean weight, number) of the votes for each value, float64 [P, m, K] each, of pattern texts;
    functions not in `sources` are left out."""
    weight = np.zeros((len(patterns), len(sources), width))
    number = np.zeros_like(weight)
    if len(patterns) == 0:
        return weight, number
    lists = pc.split_pattern(patterns, "\n")
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    row = pc.list_parent_indices(lists).to_numpy()
    fields = pc.split_pattern(pc.list_flatten(lists), "\t")
    source = pc.index_in(pc.list_element(fields, 0), pa.array(sources, pa.string()))
    known = source.is_valid().to_numpy(zero_copy_only=False)
    at = pc.fill_null(source, 0).to_numpy()
    code, tenths, votes = (
        pc.list_element(fields, i).cast(pa.int64()).to_numpy() for i in (1, 2, 3)
    )
    place = row[known], at[known], code[known]
    weight[place] = tenths[known] / _TENTHS
    number[place] = votes[known]
    return weight, number


def possible_classes(space: Space, votes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Before any vote every answer of an open space is as likely: float64 [P, Y]; else None."""
    if space.values:
        return None
    out = np.zeros((len(votes), space.classes))
    out[:, : space.width] = votes.sum(1) > 0
    unseen = np.maximum(space.answers - out.sum(1), 0.5)
    out[:, -1] = unseen
    return np.asarray(out / out.sum(1, keepdims=True))


def tempered(
    strength: NDArray[np.float64], number: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Votes as `label_model` takes them: 1 for a vote of the function's mean weight [m]. Several
    votes of one function are worth less than as many functions."""
    return np.minimum(strength / weight[None, :, None], _TEMPER) * np.sqrt(number)


def to_patterns(
    space: Space,
    counts: pa.Table,
    strength: NDArray[np.float64],
    number: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> Patterns:
    """What `label_model.fit` takes, of the `COUNTS` of one space and what `read_patterns` read."""
    votes = tempered(strength, number, weight)
    return Patterns(
        votes,
        counts["count"].to_numpy().astype(np.float64),
        counts["gold"].to_numpy(),
        possible_classes(space, votes),
        votes * np.sqrt(number),
    )
