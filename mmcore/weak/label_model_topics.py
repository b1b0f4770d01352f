"""Which texts speak of the picture at all: what a thing's presence in it is believed by.

Texts name things and never say what is not there, so presence has no votes against it. But texts
about one picture name the same things: the groups of functions that do are rival answers to "which
texts are about this picture?", an open question that the label model can be fitted on.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.facts import is_uncountable
from mmcore.weak.votes import make_votes

TOPIC = "topic"
WRITTEN = "caption"  # the function that reads annotated captions
_EXISTS = "exists|"
_STEPS = 8  # how far a name may travel from function to function


def presence(votes: pa.Table) -> pa.ChunkedArray:
    """Which `VOTES` say that something is there: tags and the facts `exists`."""
    exists = pc.and_(pc.equal(votes["task"], "fact"), pc.starts_with(votes["slot"], _EXISTS))
    return pc.or_(pc.equal(votes["task"], "tag"), exists)


def without_told(votes: pa.Table, told: NDArray[np.int64]) -> pa.Table:
    """Votes that the model of topics can learn from: not those of images, int64, whose captions
    people have written. Several captions name several things and are no rivals."""
    of_told = pc.is_in(votes["image"], pa.array(told, pa.int64()))
    return votes.filter(pc.invert(pc.and_(presence(votes), of_told)))


def topic_votes(votes: pa.Table) -> pa.Table:
    """`VOTES` of task `topic`, one per image and function that names things: for which group.

    Two functions are in one group if they name a thing in common. Water and background are in many
    pictures and do not count; of tags only those do that are things.
    """
    once = topic_groups(votes)
    once = once.group_by(["image", "source", "group"], use_threads=False).aggregate(
        [("weight", "max")]
    )
    number = once.num_rows
    return make_votes(
        once["image"].to_numpy(),
        TOPIC,
        np.full(number, TOPIC, object),
        once["group"].to_numpy().astype(str).astype(object),
        once["weight_max"].to_numpy(),
        np.array(once["source"].to_pylist(), object),
        np.full(number, "", object),
    )


def topic_groups(votes: pa.Table) -> pa.Table:
    """What texts name, and their groups: `image`, `source`, `weight`, `thing`, `group` (int64).

    A text is known by its image, function and weight, which is all that votes keep of it.
    """
    things = _things(votes)
    if things.num_rows == 0:
        return things.append_column("group", pa.array([], pa.int64()))
    said, name = _codes(things, "image", "source", "weight"), _codes(things, "image", "thing")
    group = np.arange(said.max() + 1)
    for _ in range(_STEPS):
        least = np.full(name.max() + 1, len(group))
        np.minimum.at(least, name, group[said])
        before = group.copy()
        np.minimum.at(group, said, least[name])
        if (group == before).all():
            break
    return things.append_column("group", [group[said]])


def _things(votes: pa.Table) -> pa.Table:
    """(image, source, thing) for what is countable, sorted."""
    votes = votes.filter(presence(votes))
    thing = pc.replace_substring_regex(votes["slot"], r"^exists\|", "")
    rows = votes.select(["image", "source", "weight"]).append_column("thing", thing)
    tag = pc.equal(votes["task"], "tag")
    names = [n for n in pc.unique(thing).to_pylist() if not is_uncountable(n)]
    rows = rows.append_column("tag", tag).filter(pc.is_in(thing, pa.array(names, pa.string())))
    keys = ["image", "thing"]
    nouns = rows.filter(pc.invert(rows["tag"])).group_by(keys, use_threads=False).aggregate([])
    names = ["image", "source", "weight", "thing"]
    rows = rows.select(names).join(nouns, keys, join_type="left semi")
    once = rows.group_by(names, use_threads=False).aggregate([])
    return once.sort_by([(n, "ascending") for n in names])


def _codes(table: pa.Table, *names: str) -> NDArray[np.int64]:
    joined = pc.binary_join_element_wise(*(pc.cast(table[n], pa.string()) for n in names), "\n")
    encoded = pc.dictionary_encode(joined).combine_chunks()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def believe(votes: pa.Table, groups: pa.Table, alone: dict[str, float]) -> pa.Table:
    """The presence votes' slots as rows of `image, task, slot, value, confidence, source, lang`.

    groups: `topic_groups` with `value`, the group's name, and `believed`, how likely it is right. A
    thing is there if the group that names it speaks of the picture; what is no thing ("red") if its
    text's group does. alone: how likely functions are right that name nothing others could name
    too. `source` and `lang` are of the strongest vote.
    """
    rows = _grouped(votes, groups)
    trust = [alone.get(source, alone[""]) for source in rows["source"].to_pylist()]
    lone = pc.is_null(rows["group"])
    rows = rows.set_column(
        rows.column_names.index("believed"),
        "believed",
        pc.if_else(lone, pa.array(trust), rows["believed"]),
    )
    # each function that is alone is a group of its own
    own = pc.binary_join_element_wise("alone", rows["source"], " ")
    rows = rows.set_column(
        rows.column_names.index("group"), "group", pc.if_else(lone, own, rows["group"])
    )
    slots = ["image", "task", "slot", "value"]
    order = [(n, "ascending") for n in slots]
    rows = rows.sort_by(
        [*order, ("weight", "descending"), ("source", "ascending"), ("lang", "ascending")]
    )
    first = rows.group_by(slots, use_threads=False).aggregate(
        [("source", "first"), ("lang", "first")]
    )
    groups = rows.group_by([*slots, "group"], use_threads=False).aggregate([("believed", "max")])
    lone = pc.starts_with(groups["group"], "alone")
    sure = pc.if_else(lone, 0.0, groups["believed_max"])
    miss = pc.if_else(lone, pc.ln(pc.subtract(1.0, groups["believed_max"])), 0.0)
    groups = groups.append_column("sure", sure).append_column("miss", miss)
    # rival groups exclude each other, lone functions are independent
    per = groups.group_by(slots, use_threads=False).aggregate([("sure", "sum"), ("miss", "sum")])
    wrong = pc.multiply(pc.subtract(1.0, per["sure_sum"]), pc.exp(per["miss_sum"]))
    per = per.append_column("confidence", pc.subtract(1.0, wrong))
    out = first.join(per.select([*slots, "confidence"]), slots, join_type="inner")
    out = out.rename_columns([n.removesuffix("_first") for n in out.column_names])
    return out.select([*slots, "confidence", "source", "lang"]).sort_by(order)


def _grouped(votes: pa.Table, groups: pa.Table) -> pa.Table:
    """Presence votes with `group` (string) and `believed`: of the thing, else of the text, else of
    the surest text of that function; null where the function names no thing."""
    thing = pc.replace_substring_regex(votes["slot"], r"^exists\|", "")
    rows = votes.append_column("thing", thing)
    belief = (("believed", "max"), ("value", "first"))
    best = groups.sort_by([("believed", "descending"), ("value", "ascending")])
    found = {"group": pa.nulls(rows.num_rows, pa.string())}
    found["believed"] = pa.nulls(rows.num_rows, pa.float64())
    for keys in (["image", "thing"], ["image", "source", "weight"], ["image", "source"]):
        once = best.group_by(keys, use_threads=False).aggregate(list(belief))
        at = pc.index_in(_joined(rows, keys), _joined(once, keys)).combine_chunks()
        for name, column in (("group", "value_first"), ("believed", "believed_max")):
            found[name] = pc.coalesce(found[name], once[column].take(at).combine_chunks())
    for name, column in found.items():
        rows = rows.append_column(name, column)
    return rows.drop_columns(["thing"])


def _joined(table: pa.Table, names: list[str]) -> pa.Array:
    columns = (pc.cast(table[n].combine_chunks(), pa.string()) for n in names)
    joined = pc.binary_join_element_wise(*columns, "\n")
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])
