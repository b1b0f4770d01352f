"""One label model per kind of question, fitted on counts of vote patterns, and labels by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.label_model import LabelModel, Patterns, fit
from mmcore.weak.label_model_patterns import (
    GOLD,
    Items,
    Space,
    possible_classes,
    read_items,
    read_patterns,
    sources_in,
    space_of,
    tempered,
    to_patterns,
)
from mmcore.weak.label_model_topics import TOPIC, WRITTEN, believe, presence, topic_groups
from mmcore.weak.votes import LABELS, UNCLEAR

_BELIEVED = pa.schema([("image", pa.int64()), ("value", pa.string()), ("believed", pa.float64())])
_HIGHEST = 0.99
_TOLD = 0.95  # captions that people have written for a picture
_ALONE = 0.75  # a function that names nothing that others could name


@dataclass(frozen=True)
class SpaceModel:
    """The model of one space: its functions, their mean weight [m] (that of a vote of full effect),
    and what they are found to be: share of their votes right by the model, and by gold."""

    space: Space
    sources: tuple[str, ...]
    weight: NDArray[np.float64]
    model: LabelModel
    items: int
    table: tuple[dict[str, Any], ...]

    def probabilities(self, patterns: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
        """Class probabilities float64 [P, Y] of pattern texts."""
        votes = tempered(*read_patterns(patterns, self.sources, self.space.width), self.weight)
        return self.model.predict(votes, possible_classes(self.space, votes))


def fit_all(counts: pa.Table) -> dict[str, SpaceModel]:
    """The models by name of space, from the merged `COUNTS` of all parts."""
    return {
        name: _fit_space(space_of(*_split(name)), counts.filter(pc.equal(counts["space"], name)))
        for name in sorted(pc.unique(counts["space"]).to_pylist())
    }


def model_table(models: dict[str, SpaceModel]) -> dict[str, dict[str, Any]]:
    """What the models found out about each function, by `task/function`."""
    rows = [row for model in models.values() for row in model.table]
    return {f"{row['task']}/{row['function']}": row for row in rows}


def _split(name: str) -> tuple[str, str]:
    task, _, fact = name.partition("/")
    return task, fact


def _fit_space(space: Space, counts: pa.Table) -> SpaceModel:
    sources = sources_in(counts["pattern"])
    strength, number = read_patterns(counts["pattern"], sources, space.width)
    items = counts["count"].to_numpy().astype(np.float64)
    weight = _mean_weight(strength, number * items[:, None, None])
    patterns = to_patterns(space, counts, strength, number, weight)
    model = fit(patterns, space.classes, space.answers)
    belief = model.predict(patterns.votes, patterns.possible)
    table = _table(space, sources, patterns, belief, model)
    return SpaceModel(space, sources, weight, model, int(items.sum()), table)


def _mean_weight(strength: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.float64]:
    total = (strength * number).sum((0, 2))
    return np.asarray(total / np.maximum(number.sum((0, 2)), 1))


def _table(
    space: Space,
    sources: Sequence[str],
    patterns: Patterns,
    belief: NDArray[np.float64],
    model: LabelModel,
) -> tuple[dict[str, Any], ...]:
    """A row per function: how much of the space it votes on, and how often it is right."""
    both, count = min(space.width, space.classes), patterns.count
    said = (patterns.votes > 0).astype(np.float64)
    known = patterns.gold >= 0
    truth = np.eye(space.classes)[patterns.gold[known]]
    voted = np.einsum("pmk,p->m", said, count)
    right = np.einsum("pmk,pk,p->m", said[:, :, :both], belief[:, :both], count)
    checked = np.einsum("pmk,p->m", said[known], count[known])
    good = np.einsum("pmk,pk,p->m", said[known][:, :, :both], truth[:, :both], count[known])
    covered = said.any(2).T @ count / count.sum()
    linked = model.dependencies.correlation > 0
    return tuple(
        {
            "task": space.name,
            "function": source,
            "coverage": round(float(covered[j]), 4),
            "votes": int(voted[j]),
            "accuracy": round(float(right[j] / voted[j]), 4),
            "gold": int(checked[j]),
            "gold_accuracy": round(float(good[j] / checked[j]), 4) if checked[j] else None,
            "correlated_with": ", ".join(np.array(sources)[linked[j]].tolist()),
        }
        for j, source in enumerate(sources)
    )


def label(
    votes: pa.Table,
    models: dict[str, SpaceModel],
    least: float,
    told: NDArray[np.int64] | None = None,
) -> pa.Table:
    """One label per (image, task, slot) whose likeliest answer has probability `least` or more, as
    `LABELS`, sorted by those; `source` and `lang` are those of the strongest vote for it. told:
    images whose captions people have written for them: all of those speak of the picture."""
    spaces = [i for i in read_items(votes, GOLD.empty_table()) if i.space.name in models]
    tables = [
        _label_items(items, models[items.space.name])
        for items in spaces
        if items.space.name != TOPIC
    ]
    present = _present(votes, spaces, models, np.array([], np.int64) if told is None else told)
    labels = pa.concat_tables([LABELS.empty_table(), *tables, present.cast(LABELS)])
    labels = _of_present_things(labels, present)
    sure = np.round(np.minimum(labels["confidence"].to_numpy(), _HIGHEST), 4)
    labels = labels.set_column(LABELS.names.index("confidence"), "confidence", pa.array(sure))
    labels = labels.filter(pa.array(sure >= least))
    return labels.sort_by([(name, "ascending") for name in LABELS.names[:4]])


def _present(
    votes: pa.Table,
    spaces: list[Items],
    models: dict[str, SpaceModel],
    told: NDArray[np.int64],
) -> pa.Table:
    """Every thing and tag that is named, with the probability that it is there."""
    named = votes.filter(presence(votes))
    groups = topic_groups(votes)
    groups = groups.append_column("value", pc.cast(groups["group"], pa.string()))
    beliefs = _all_believed(spaces, models)
    groups = groups.join(beliefs, ["image", "value"], join_type="left outer")
    written = pc.and_(
        pc.is_in(groups["image"], pa.array(told)), pc.equal(groups["source"], WRITTEN)
    )
    sure = pc.if_else(written, _TOLD, groups["believed"])
    groups = groups.set_column(groups.column_names.index("believed"), "believed", sure)
    groups = groups.filter(groups["believed"].is_valid())
    alone = {"": _ALONE}
    if beliefs.num_rows:
        alone |= {str(row["function"]): float(row["accuracy"]) for row in models[TOPIC].table}
    return believe(named, groups, alone)


def topic_beliefs(votes: pa.Table, models: dict[str, SpaceModel]) -> pa.Table:
    """`image`, `value` (a group of `topic_votes`) and `believed`, how likely it is right."""
    return _all_believed(read_items(votes, GOLD.empty_table()), models)


def _all_believed(spaces: list[Items], models: dict[str, SpaceModel]) -> pa.Table:
    topics = [items for items in spaces if items.space.name == TOPIC and TOPIC in models]
    found = [_believed(items, models[TOPIC]) for items in topics]
    table = pa.concat_tables([_BELIEVED.empty_table(), *found])
    once = table.group_by(["image", "value"], use_threads=False).aggregate([("believed", "max")])
    return once.rename_columns(_BELIEVED.names)


def _believed(items: Items, model: SpaceModel) -> pa.Table:
    belief, voted = _belief(items, model), items.voted
    image = items.items["image"].take(voted["item"])
    sure = belief[voted["item"].to_numpy(), voted["code"].to_numpy()]
    return pa.table([image, voted["value"], pa.array(sure)], names=_BELIEVED.names).cast(_BELIEVED)


def _of_present_things(labels: pa.Table, present: pa.Table) -> pa.Table:
    """What is said of a thing is true only if the thing is there: probabilities multiplied."""
    thing = pc.replace_substring_regex(labels["slot"], r"^[^|]*\|", "exists|")
    about = pc.and_(pc.equal(labels["task"], "fact"), pc.not_equal(thing, labels["slot"]))
    keys = [
        pc.binary_join_element_wise(pc.cast(image, pa.string()), slot, "\n")
        for image, slot in ((labels["image"], thing), (present["image"], present["slot"]))
    ]
    at = pc.index_in(keys[0], keys[1].combine_chunks()).combine_chunks()
    there = pc.fill_null(present["confidence"].take(at), 1.0)
    joint = pc.multiply(labels["confidence"], pc.if_else(about, there, 1.0))
    return labels.set_column(LABELS.names.index("confidence"), "confidence", joint)


def _belief(items: Items, model: SpaceModel) -> NDArray[np.float64]:
    """Class probabilities float64 [items, Y]: each distinct pattern is worked out once."""
    encoded = pc.dictionary_encode(items.items["pattern"]).combine_chunks()
    at = encoded.indices.to_numpy(zero_copy_only=False)
    return model.probabilities(encoded.dictionary)[at]


def _label_items(items: Items, model: SpaceModel) -> pa.Table:
    """The likeliest answer of each item, `UNCLEAR` and ties excepted, as `LABELS`."""
    belief = _belief(items, model)
    item, code = items.voted["item"].to_numpy(), items.voted["code"].to_numpy()
    # the last number of an open space may be shared by several answers: none of them wins
    shared = np.bincount(item * belief.shape[1] + code, minlength=1)
    possible = (code < belief.shape[1]) & (shared[item * belief.shape[1] + code] == 1)
    sure = np.where(possible, belief[item, np.minimum(code, belief.shape[1] - 1)], 0.0)
    best = belief.max(1)[item]
    unclear = pc.equal(items.voted["value"], UNCLEAR).to_numpy(zero_copy_only=False)
    wins = (sure >= best) & ~unclear & (sure > 0)
    voted = items.voted.filter(pa.array(wins))
    rows = items.items.take(voted["item"])
    task = _split(model.space.name)[0]
    table = pa.table(
        [
            rows["image"],
            pa.array([task] * voted.num_rows, pa.string()),
            rows["slot"],
            voted["value"],
            pa.array(sure[wins]),
            voted["source"],
            voted["lang"],
        ],
        schema=LABELS,
    )
    once = table.group_by(["image", "task", "slot"], use_threads=False).aggregate(
        [(n, "first") for n in ("value", "confidence", "source", "lang")]
    )
    return once.rename_columns([n.removesuffix("_first") for n in once.column_names]).cast(LABELS)
